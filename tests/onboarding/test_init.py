from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelbuild.cli import onboarding
from modelbuild.errors import ConfigurationError
from modelbuild.formats import agent_yaml
from modelbuild.onboarding import data
from modelbuild.onboarding.check import PLACEHOLDER, findings
from modelbuild.onboarding.init import write
from modelbuild.onboarding.pipeline import read

ROOT = Path(__file__).parents[2]


def repository(parent: Path, name: str) -> Path:
    """A folder of this name with what ``init`` writes."""
    folder = parent / name
    folder.mkdir()
    write(folder)
    return folder


def test_written_pipeline_is_right(tmp_path: Path) -> None:
    """``modelbuild check`` finds nothing but the placeholder in the pipeline that ``modelbuild init``
    writes: once in each plugin, and nothing when it is filled in.
    """
    file = repository(tmp_path, "shop") / ".buildkite" / "pipeline.yml"
    found = [finding.text for finding in findings(read(file))]
    assert len(found) == 3
    assert all(text.endswith(f"put whose repository it is in place of {PLACEHOLDER}") for text in found)
    file.write_text(file.read_text().replace(PLACEHOLDER, "acme"))
    assert findings(read(file)) == []
    assert "flow: flows/shop/flow.py" in file.read_text()


@pytest.mark.parametrize(
    ("folder", "flow", "class_name"),
    [
        ("My.App_2", "my-app-2", "MyApp2Flow"),
        ("2nd", "2nd", "Model2ndFlow"),
        ("2026", "model-2026", "Model2026Flow"),
        ("0x1f", "0x1f", "Model0x1fFlow"),
        ("2026-01-01", "2026-01-01", "Model20260101Flow"),
        ("1e3", "1e3", "Model1e3Flow"),
        ("null", "null", "NullFlow"),
        ("日本", "model", "ModelFlow"),
        ("a" * 39 + "-" + "b" * 9, "a" * 39, "A" + "a" * 38 + "Flow"),
    ],
)
def test_names_come_from_the_folder(folder: str, flow: str, class_name: str, tmp_path: Path) -> None:
    """Any folder's name gives a flow, a class and an endpoint that Python and AWS accept."""
    made = repository(tmp_path, folder)
    pipeline = made / ".buildkite" / "pipeline.yml"
    pipeline.write_text(pipeline.read_text().replace(PLACEHOLDER, "acme"))
    assert findings(read(pipeline)) == []
    tree = ast.parse((made / "flows" / flow / "flow.py").read_text())
    assert [node.name for node in tree.body if isinstance(node, ast.ClassDef)] == [class_name]


def test_written_flow_runs_on_its_own(tmp_path: Path) -> None:
    """The written flow trains with Metaflow, without any account, and the model has learnt something."""
    folder = repository(tmp_path, "shop")
    result = subprocess.run(
        [sys.executable, "flows/shop/flow.py", "run"],
        cwd=folder,
        # As in a container: Metaflow itself refuses to run without a user, and as root.
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "USER": "root"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    [line] = [line for line in result.stdout.splitlines() if re.search(r"\] all +14 ", line)]
    assert float(line.split()[-2]) > 0.8, "macro-F1"
    assert "its model is kept by Metaflow only" in result.stdout


def test_written_flow_refuses_a_wrong_parameter(tmp_path: Path) -> None:
    """The written parameters are typed: a wrong one is a sentence with its name."""
    folder = repository(tmp_path, "shop")
    params = folder / "flows" / "shop" / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 20", "epochs: many"))
    result = subprocess.run(
        [sys.executable, "flows/shop/flow.py", "run"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "METAFLOW_USER": "ada"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode != 0
    assert "training.epochs" in result.stdout + result.stderr
    assert "Traceback" not in result.stdout + result.stderr


def test_written_code_is_tidy(tmp_path: Path) -> None:
    """What a user is given passes this repository's own linter."""
    folder = repository(tmp_path, "shop")
    config = ("--config", str(ROOT / "pyproject.toml"))
    for command in (["check", *config], ["format", "--check", *config]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--no-cache", str(folder / "flows")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("there", ["flows/shop/parameters.py", "flows/shop/flow.py"])
def test_overwrites_nothing(there: str, tmp_path: Path) -> None:
    """Where one of the files is there already, it is named, it stays, and no other is written."""
    folder = tmp_path / "shop"
    (folder / there).parent.mkdir(parents=True)
    (folder / there).write_text("mine")
    with pytest.raises(ConfigurationError, match=f"{there} is there already, and nothing was written"):
        write(folder)
    assert (folder / there).read_text() == "mine"
    assert [path for path in folder.rglob("*") if path.is_file()] == [folder / there]


@pytest.mark.parametrize("there", [".buildkite/pipeline.yml", ".buildkite/pipeline.yaml", "buildkite.json"])
def test_second_pipeline_of_a_repository(there: str, tmp_path: Path) -> None:
    """A repository with a pipeline keeps it, wherever agents find it, and gets a second file, which they do
    not find: of two they would take neither. The sentences say how it is uploaded, and name it.
    """
    other = tmp_path / there
    other.parent.mkdir(exist_ok=True)
    other.write_text("mine")
    written = write(tmp_path)
    assert other.read_text() == "mine"
    assert written.pipeline == tmp_path / ".buildkite" / "modelbuild.yml"
    assert "flow: flows/" in written.pipeline.read_text()
    text = "\n".join(written.next_steps())
    assert f"{other} stays as it is" in text
    assert "`buildkite-agent pipeline upload .buildkite/modelbuild.yml`" in text
    assert "modelbuild local run --pipeline .buildkite/modelbuild.yml" in text
    assert f"modelbuild check {written.pipeline}" in text
    assert f"modelbuild doctor --pipeline {written.pipeline}" in text
    with pytest.raises(ConfigurationError, match=r"modelbuild\.yml is there already"):
        write(tmp_path)


def test_commands_are_ready_for_a_shell(tmp_path: Path) -> None:
    """Paths with spaces are quoted, so that a line can be copied as it is."""
    folder = tmp_path / "my shop"
    folder.mkdir()
    (folder / "buildkite.yml").write_text("mine")
    text = "\n".join(write(folder).next_steps())
    assert f"python '{folder}/flows/my-shop/flow.py' run" in text
    assert f"modelbuild check '{folder}/.buildkite/modelbuild.yml'" in text
    assert f"modelbuild doctor --pipeline '{folder}/.buildkite/modelbuild.yml'" in text


def test_what_a_run_leaves_is_ignored(tmp_path: Path) -> None:
    """After a run of the flow the checkout still is its commit, which a training asks for; a
    ``.gitignore`` that is there stays, and the sentences say what to add to it.
    """
    folder = repository(tmp_path, "shop")
    assert (folder / ".gitignore").read_text().split()[-2:] == [".metaflow/", "__pycache__/"]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / ".gitignore").write_text("mine")
    written = write(tmp_path / "old")
    assert (tmp_path / "old" / ".gitignore").read_text() == "mine"
    assert any("Have git ignore .metaflow/" in text for text in written.next_steps())


def test_a_file_that_git_ignores_is_named(tmp_path: Path) -> None:
    """A repository that ignores all CSV files would commit a flow without its rows."""
    folder = tmp_path / "shop"
    folder.mkdir()
    subprocess.run(["git", "-C", str(folder), "init", "-q"], check=True)
    (folder / ".gitignore").write_text("*.csv\n")
    written = write(folder)
    assert written.excluded == (folder / "flows" / "shop" / "data.csv",)
    assert any(text.endswith("git add --force flows/shop/data.csv") for text in written.next_steps())


@pytest.mark.parametrize(
    ("lines", "options", "expected"),
    [
        (["id,comment,label", "1,a,x", "2,b,y"], {"text": "comment"}, ("comment", "label")),
        (["comment,label", "a,x", "a,y"], {"text": "comment"}, ("comment", "label")),
        (["comment,label", "a,x", "a,y", "c,z"], {}, ("comment", "label")),
        (["text,mood", "a,x", "a,y", "c,z"], {}, ("text", "mood")),
        (["words,mood", "a,x", "b,y", "c,y"], {}, ("words", "mood")),
        (["mood,words", "x,a", "y,b", "y,c"], {"label": "mood"}, ("words", "mood")),
        (["text,label", "x,a", "y,b"], {"text": "label"}, ("label", "text")),
    ],
)
def test_columns_are_those_with_the_names(
    lines: list[str], options: dict[str, str], expected: tuple[str, str], tmp_path: Path
) -> None:
    """Options come first, then the names ``text`` and ``label``, then of two columns the other one."""
    file = tmp_path / "rows.csv"
    file.write_text("\n".join(lines))
    found = data.read(file, options.get("text"), options.get("label"))
    assert (found.text, found.label) == expected


@pytest.mark.parametrize("lines", ["text,label,text\na,x,b\n", "text,text\na,x\n", "words,words\na,x\n"])
def test_a_name_of_two_columns_is_a_sentence(lines: str, tmp_path: Path) -> None:
    """Nothing is written that would learn from a column which was not meant."""
    file = tmp_path / "rows.csv"
    file.write_text(lines)
    with pytest.raises(ConfigurationError, match=r"2 columns have the name '(text|words)'"):
        data.read(file, None, None)


@pytest.mark.parametrize(
    "name", ["te\u2028xt", "te\x85xt", "a\x7fb", "\x9bx", '"a": # b', "Text 😀", "$x ${y}"]
)
def test_any_name_of_a_column_is_written(name: str, tmp_path: Path) -> None:
    """The flow's parameters have it as the file has it, also with characters that YAML folds or refuses."""
    file = tmp_path / "rows.csv"
    quoted = name.replace('"', '""')
    file.write_text(f'"{quoted}",label\na,x\nb,y\n', encoding="utf-8")
    folder = tmp_path / "shop"
    folder.mkdir()
    write(folder, rows=data.read(file, None, None))
    params = agent_yaml.load_written((folder / "flows" / "shop" / "params.yaml").read_text(encoding="utf-8"))
    assert params["data"]["text"] == name


def test_folder_inside_a_repository_is_a_sentence(tmp_path: Path) -> None:
    """Agents look for a pipeline at the root only, so nothing is written below it."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "src").mkdir()
    with pytest.raises(ConfigurationError, match=f"run modelbuild init {tmp_path}"):
        write(tmp_path / "src")
    assert list((tmp_path / "src").iterdir()) == []
    assert write(tmp_path).pipeline.is_file()


def test_bare_repository_is_a_sentence(tmp_path: Path) -> None:
    """Nothing is written where git keeps its own files."""
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path)], check=True)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ConfigurationError, match=r"is a folder of git itself, without .*: name a checkout$"):
        write(tmp_path)
    assert sorted(tmp_path.iterdir()) == before


def test_no_folder_is_a_sentence(tmp_path: Path) -> None:
    """A folder that is not there is refused, and not made."""
    with pytest.raises(ConfigurationError, match="there is no folder"):
        write(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_file_that_cannot_be_written_leaves_none(tmp_path: Path) -> None:
    """What was written before it is removed, so that the command can be run again."""
    (tmp_path / "flows").write_text("a file")
    with pytest.raises(ConfigurationError, match="and no file was written"):
        write(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["flows"]
    (tmp_path / "flows").unlink()
    assert write(tmp_path).pipeline.is_file()


def test_what_stands_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    """A file where a folder must be is named with the reason."""
    (tmp_path / ".buildkite").write_text("a file")
    with pytest.raises(ConfigurationError, match=r"cannot write .*pipeline\.yml"):
        write(tmp_path)


def test_command_line(tmp_path: Path) -> None:
    """The command lists what it wrote and what is next; the second time it refuses with 10."""
    command = [sys.executable, "-m", "modelbuild", "init"]
    first = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert first.returncode == 0
    assert "wrote .buildkite/pipeline.yml\n" in first.stdout
    assert "1. Try the flow on this machine" in first.stdout
    assert "modelbuild local up, and in another terminal modelbuild local run\n" in first.stdout
    assert f"in place of {PLACEHOLDER} in .buildkite/pipeline.yml" in first.stdout
    assert first.stdout.endswith("whether the account is ready: modelbuild doctor\n")
    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert second.returncode == 10
    assert "is there already" in second.stderr


def test_labels_that_occur_once_are_pointed_out(tmp_path: Path) -> None:
    """Where most labels occur once, the column is hardly the one with the labels; one rare label is fine."""
    shown = {}
    for column, labels in (("id", "1234"), ("topic", "aab")):
        folder = tmp_path / column
        folder.mkdir()
        lines = [f"text {number},{label}" for number, label in enumerate(labels)]
        (folder / "rows.csv").write_text("\n".join([f"text,{column}", *lines]))
        command = [str(folder), "--data", str(folder / "rows.csv")]
        shown[column] = CliRunner().invoke(onboarding.init, command, catch_exceptions=False).output
    assert "labels of column 'id' occur in one row only" in shown["id"]
    assert "in one row only" not in shown["topic"]


def test_team_that_may_deploy(tmp_path: Path) -> None:
    """With the team, only its members unblock the deployment; without it, init asks for one."""
    with_team, without = tmp_path / "one", tmp_path / "two"
    for folder in (with_team, without):
        folder.mkdir()
    named, open_ = write(with_team, "ml-approvers"), write(without)
    [step] = [step for step in read(named.pipeline).steps if step.key == "approve"]
    assert step.values["allowed_teams"] == ["ml-approvers"]
    [step] = [step for step in read(open_.pipeline).steps if step.key == "approve"]
    assert "allowed_teams" not in step.values
    message = "name the team that may deploy in allowed_teams of step approve"
    assert [any(message in step for step in one.next_steps()) for one in (named, open_)] == [False, True]
    third = tmp_path / "three"
    third.mkdir()
    with pytest.raises(ConfigurationError, match="'ML approvers' is no slug of a team"):
        write(third, "ML approvers")
