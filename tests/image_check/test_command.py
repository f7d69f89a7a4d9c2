from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import engines
from model_servers import RightServer, running
from modelbuild.cli import cli
from modelbuild.errors import ConfigurationError
from modelbuild.image_check import command
from modelbuild.image_check.model import CheckedModel
from models import Published


def call(*arguments: object) -> Result:
    """Run modelbuild check-image."""
    return CliRunner().invoke(cli, ["check-image", *map(str, arguments)])


def refusal(*arguments: object) -> str:
    """The sentence with which the command refuses what it was given."""
    error = call(*arguments).exception
    assert isinstance(error, ConfigurationError), error
    assert error.exit_code == 10
    assert "\n" not in str(error)
    return str(error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model"], "give IMAGE and MODEL_DIR, or --url and MODEL_DIR"),
        (["image", "model", "more"], "give IMAGE and MODEL_DIR, or --url and MODEL_DIR"),
        (
            ["image", "model", "--url", "http://127.0.0.1:1"],
            "give IMAGE and MODEL_DIR, or --url and MODEL_DIR",
        ),
        (["image", "model", "--model-id", "3"], "say what the server at --url must name"),
        (["model", "--url", "http://127.0.0.1:1", "--engine", "podman"], "--engine runs IMAGE"),
        (["image", "model", "--engine", "runc"], "'runc' is not one of 'docker', 'podman'"),
        (["image", "model", "--timeout", "0"], "0.0 is not in the range 1<=x<=3600"),
    ],
)
def test_a_wrong_command_line_exits_with_2(arguments: list[str], message: str) -> None:
    """What click cannot parse, or does not fit together, is a usage error."""
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_what_is_no_model_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing folder, an archive, an empty folder, and one with everything in it are told apart."""
    archive, empty, home = tmp_path / "model.tar.gz", tmp_path / "empty", tmp_path / "home"
    archive.write_bytes(b"")
    for folder in (empty, home):
        folder.mkdir()
    for number in range(4):
        (home / str(number)).touch()
    monkeypatch.setattr("modelbuild.image_check.model._MAX_FILES", 3)
    assert "does not exist" in refusal("image", tmp_path / "nowhere")
    assert "unpack it into a folder, with tar -xzf" in refusal("image", archive)
    assert "holds no files" in refusal("image", empty)
    assert "holds more than 3 files" in refusal("image", home)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8080", "https://host", "http://", "http://host:x", "http://[", "http://a/b"]
)
def test_an_address_must_be_one_of_a_server(url: str, published: Published) -> None:
    """Paths would be ignored, and https is not what SageMaker speaks with a container."""
    assert "--url is" in refusal("--url", url, published.directory)


def test_wrong_values_of_options_are_sentences(published: Published, tmp_path: Path) -> None:
    """Each names the option and what to give."""
    (tmp_path / "other.json").write_text("{}")
    directory = published.directory
    assert "--instance is not JSON" in refusal("image", directory, "--instance", "It works.")
    assert '--instance "" does not fit' in refusal("image", directory, "--instance", '""')
    fields = refusal("image", directory, "--instance", '{"text": "a"}')
    assert fields.endswith(
        "does not fit the input that model.json declares: it must be a text, not an object"
    )
    assert "cannot read --manifest" in refusal("image", directory, "--manifest", tmp_path / "nowhere")
    assert "is not the manifest.json" in refusal("image", directory, "--manifest", tmp_path / "other.json")
    with running(RightServer()) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        assert "--model-id is 'x'" in refusal("--url", url, directory, "--model-id", "x")


def test_the_exit_code_says_whether_a_check_failed(published: Published) -> None:
    """A right server gives 0, a wrong one 14, and so does one that is not there."""
    with running(RightServer()) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        right = call("--url", url, published.directory, "--instance", '"It works."')
        wrong = call("--url", url, published.directory, "--pipeline", "other")
    assert (right.exit_code, wrong.exit_code) == (0, 14), right.output + wrong.output
    assert "failed      model id: the server answers with custom attributes" in wrong.output
    gone = call("--url", url, published.directory, "--timeout", "1")
    assert gone.exit_code == 14
    assert "failed      start:" in gone.output


def test_a_model_directory_that_cannot_be_copied_is_a_sentence(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk or a file without rights is no defect of modelbuild."""
    engines.first_on_path(tmp_path / "engine", monkeypatch, {"image": []})

    def full(*_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modelbuild.image_check.model.shutil.copyfile", full)
    assert "No space left on device" in refusal("image", published.directory)


def test_without_numpy_the_rest_is_checked(published: Published) -> None:
    """An agent has no numpy, which reads the declared input; the command names it and checks the rest."""
    program = (
        "import sys; sys.modules['numpy'] = None\n"
        "from pathlib import Path\n"
        "import modelbuild.image_check.command\n"
        "from modelbuild.image_check.model import read_model\n"
        f"print(read_model(Path({str(published.directory)!r}), None, []).unknown)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "reading model.json needs numpy, which is not installed here\n"


def test_names_come_from_options_ping_or_the_first_answer(
    model: CheckedModel, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a running server the header of /ping says which model it is, or an answer; options come first."""

    class Nameless(RightServer):
        def headers(self) -> dict[str, str]:
            return super().headers() if next(requests) else {}

    with running(RightServer()) as found:
        url = f"http://127.0.0.1:{found.server_port}"
        assert command.check_server(url, model, {}, 5.0)
        assert "name model tone 12.3 of comments" in capsys.readouterr().out
        assert not command.check_server(url, model, {"model_id": "13"}, 5.0)
        assert "but those of model tone 13 of comments are" in capsys.readouterr().out
    # The first two answers are those of /ping.
    requests = itertools.chain([0, 0], itertools.repeat(1))
    with running(Nameless()) as found:
        assert command.check_server(f"http://127.0.0.1:{found.server_port}", model, {}, 5.0)
        assert "name model tone 12.3 of comments" in capsys.readouterr().out


def test_what_needs_an_image_is_said(model: CheckedModel, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a running server the other model id, SIGTERM and changed models cannot be tried, and it says so."""
    with running(RightServer()) as found:
        assert command.check_server(f"http://127.0.0.1:{found.server_port}/", model, {}, 5.0)
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("not checked")] == [
        f"not checked {subject}: give IMAGE in place of --url"
        for subject in ("start", "SIGTERM", "other model id", "changed model.json", "changed file", "pickle")
    ]
    assert lines[-1] == "11 ok, 0 failed, 6 not checked"
