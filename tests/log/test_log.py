"""What the product prints, and what it says of exceptions."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import modelbuild
from modelbuild import cli, log
from modelbuild.annotation import clip
from modelbuild.errors import AwsError, describe
from modelbuild.process import encoding

PRODUCT = Path(modelbuild.__file__).parent
PRINTING = {
    "print",
    "click.echo",
    "click.secho",
    "sys.stdout.write",
    "sys.stdout.buffer.write",
    "sys.stderr.write",
    "traceback.print_exc",
}
# Documents for programs, in which JSON has escaped everything.
JSON = {
    "cli/leaderboard.py": 1,
    "cli/trace.py": 1,
    "train/submit/plan.py": 1,
}


def test_only_the_log_module_prints() -> None:
    """Nothing of the product but the log prints, except for programs that print JSON."""
    found: dict[str, int] = {}
    for file in PRODUCT.rglob("*.py"):
        name = file.relative_to(PRODUCT).as_posix()
        if name == "log/__init__.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in PRINTING:
                found[name] = found.get(name, 0) + 1
    assert found == JSON


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="utf-8")))
def test_any_text_is_one_line(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Whatever is said is one line, and no group but the one that is meant."""
    capsys.readouterr()
    log.info(text)
    log.group(text)
    output = capsys.readouterr().out
    assert output.count("\n") == 2
    assert len(output.splitlines()) == 2
    first, second = output.splitlines()
    assert not first.lstrip().startswith(("--- ", "+++ ", "~~~ ", "^^^ "))
    assert second.startswith("--- ")


def test_secrets_of_the_process_are_not_shown(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable's secret, and one that was read from elsewhere, are blacked out in lines and titles."""
    monkeypatch.setenv("BUILDKITE_API_TOKEN", "bkua_in-a-variable\n")
    monkeypatch.setattr(log, "_hidden", set())
    log.hide("read-from elsewhere")
    for log_line in (log.info, log.warn, log.group, log.open_group):
        log_line("b'Bearer bkua_in-a-variable\\n' read-from elsewhere read-from")
    captured = capsys.readouterr()
    assert "bkua_in-a-variable" not in captured.out + captured.err
    assert "read-from" not in captured.out + captured.err


def test_secret_with_a_control_sequence_in_it_is_not_shown(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that a program has coloured is one when the line has lost its colours."""
    monkeypatch.setenv("BUILDKITE_API_TOKEN", "bkua_in-a-variable")
    log.info("token bkua_\x1b[31min-a\x1b[0m-variable")
    assert capsys.readouterr().out == "token [redacted]\n"


def test_secrets_are_not_shown_on_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The build page shows a secret, or the token in the address of a repository, as little as the log."""
    monkeypatch.setenv("WANDB_API_KEY", "key-of-wandb")
    shown = clip("refused key-of-wandb at https://x-token:ghp_hidden@git.example.org/a", 1_000)
    assert shown == "refused [redacted] at https://[redacted]@git.example.org/a"


def test_secrets_read_once_are_those_of_the_beginning_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is made with the secrets that there were when it was begun, and after it all are known again."""
    monkeypatch.setenv("FIRST_TOKEN", "first-secret")
    with log.secrets_read_once():
        monkeypatch.setenv("SECOND_TOKEN", "second-secret")
        assert log.redact("first-secret second-secret") == "[redacted] second-secret"
    assert log.redact("first-secret second-secret") == "[redacted] [redacted]"


def broken() -> None:
    """A defect whose text holds a header."""
    raise ValueError("Invalid header value b'Bearer bkua_secret\\n'; environ({'A': 'bkua_secret'})")


def test_defect_is_reported_by_type_and_line() -> None:
    """Of an exception that is no error of ours, its text is never used: it may hold anything."""
    with pytest.raises(ValueError, match="Invalid header") as caught:
        broken()
    message = describe(caught.value)
    assert message.startswith("a defect of modelbuild: ValueError at log/test_log.py:")
    assert "bkua_secret" not in message


def test_defect_names_lines_of_the_product_and_of_the_library() -> None:
    """Where something else raised for the product, both places are named."""
    with pytest.raises(AttributeError) as caught:
        log.hide(None)  # type: ignore[arg-type]
    assert "AttributeError at modelbuild/text.py:" in describe(caught.value)


def test_errno_is_reported() -> None:
    """Of an error of the operating system, its number says what is the matter."""
    with pytest.raises(OSError, match="No such") as caught:
        Path("/no/such/file").read_text()
    assert "FileNotFoundError (No such file or directory)" in describe(caught.value)


def test_error_is_its_own_sentence() -> None:
    """An error of ours says what it says."""
    assert describe(AwsError("S3 is away")) == "S3 is away"


def test_command_line_ends_without_the_text_of_a_defect(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect ends a command with 1 and a sentence; its places follow, and not its text."""
    monkeypatch.setattr(cli, "cli", lambda **_: broken())
    monkeypatch.setattr(encoding, "require_utf8", lambda: None)
    monkeypatch.setenv("BUILDKITE", "true")
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert lines[0] == "^^^ +++"
    assert lines[1].startswith("modelbuild: a defect of modelbuild: ValueError at ")
    assert any("in broken" in line for line in lines)
    assert "bkua_secret" not in captured.out + captured.err


def test_error_cannot_open_a_group(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an error says from elsewhere stays on its line."""
    monkeypatch.setenv("BUILDKITE", "true")
    log.fail(AwsError("no\n+++ :rocket: deployed\x1b[2J\r--- x"))
    assert capsys.readouterr().err == "^^^ +++\nmodelbuild: no +++ :rocket: deployed --- x\n"
