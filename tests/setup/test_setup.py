"""``scripts/setup``: what it asks for, and what it leaves alone."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [
    "requirements/torch.txt",
    "requirements/flow.txt",
    "requirements/serving.txt",
    "requirements/notify.txt",
    "requirements/local.txt",
]
PARTS = {
    "uv": ["requirements/uv.txt"],
    "packages": ["scripts/environment.bash", "python/pyproject.toml", "local/pyproject.toml", *PACKAGES],
    "buildkite-agent": [
        "requirements/agent.txt",
        "local/src/modelbuild_local/agent/module/go.mod",
        "local/src/modelbuild_local/agent/module/go.sum",
    ],
}
SCRIPTS = ["scripts/setup", "scripts/install", "scripts/environment.bash", "scripts/pip_settings.py"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What set-up reads of this repository."""
    for file in [*SCRIPTS, *(file for files in PARTS.values() for file in files)]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


TOOLS = ["env", "bash", "dirname", "git", "make", "cat", "grep", "mkdir", "tr", "sed", "awk", "sleep", "tail"]


def installed(checkout: Path) -> None:
    """Leave behind what a finished set-up does, without the packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", checkout / ".venv"], check=True)
    (checkout / ".venv/bin/pip").write_text(f"#!{checkout}/.venv/bin/python\n")
    (checkout / ".venv/.modelbuild").mkdir()
    for name, files in PARTS.items():
        hashes = subprocess.run(
            ["git", "hash-object", *files], cwd=checkout, capture_output=True, text=True, check=True
        )
        source = hashes.stdout.replace("\n", " ") + (" " if name == "packages" else "")
        (checkout / ".venv/.modelbuild" / name).write_text(source)


def setup(checkout: Path, **environ: str) -> tuple[int, str]:
    """Exit code and output of set-up for the demonstration, with the interpreter of these tests."""
    done = subprocess.run(
        [checkout / "scripts/setup", "demo"],
        env={**os.environ, "PYTHON": sys.executable, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def test_what_is_there_is_left_alone(checkout: Path) -> None:
    """With everything installed from the present files, set-up says nothing and takes under a second of
    computing, however busy the machine is.
    """
    installed(checkout)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert setup(checkout) == (0, "")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


@pytest.mark.parametrize(
    ("file", "part"), [("requirements/torch.txt", "packages"), ("requirements/uv.txt", "uv")]
)
def test_only_what_changed_is_installed(checkout: Path, file: str, part: str) -> None:
    """A changed requirements file has its part installed again, and no other; a failure is reported."""
    installed(checkout)
    with (checkout / file).open("a", encoding="utf-8") as text:
        text.write("# changed\n")
    # There is neither pip nor uv to install with.
    code, output = setup(checkout, PATH=tools(checkout / "tools", *TOOLS))
    assert code == 1
    lines = output.splitlines()
    assert lines[0].split() == ["setup:", part, "failed"]
    assert lines[-1].startswith(f"setup: {part} could not be installed")
    assert "uv" in output


def test_another_index_of_torch_is_another_installation(checkout: Path) -> None:
    """Naming an index for torch installs torch again, even where the pinned one is there."""
    installed(checkout)
    path = tools(checkout / "tools", *TOOLS)
    code, output = setup(checkout, PATH=path, TORCH_INDEX_URL="http://127.0.0.1:9/simple")
    assert code == 1
    assert output.splitlines()[0].split() == ["setup:", "packages", "failed"]


def test_moved_environment_is_made_anew(checkout: Path, tmp_path: Path) -> None:
    """An environment that was moved, so that its programs do not start, is not used."""
    installed(checkout)
    moved = checkout.with_name("moved")
    checkout.rename(moved)
    # pip takes seconds to get into an environment, and what is installed then is not asked here.
    quick = tmp_path.with_name("quick-python")
    quick.write_text(
        '#!/bin/sh\n[ "$1 $2" != "-m venv" ] || set -- -m venv --without-pip "$3"\n'
        f'exec {sys.executable} "$@"\n',
        encoding="utf-8",
    )
    quick.chmod(0o755)
    _, output = setup(moved, PYTHON=str(quick), PATH=tools(moved / "tools", *TOOLS))
    assert output.splitlines()[0].endswith("so it is made anew")
    assert (moved / ".venv/bin/python").exists()


def tools(folder: Path, *names: str) -> str:
    """A PATH with only these programs."""
    folder.mkdir()
    for name in names:
        program = shutil.which(name)
        assert program is not None
        (folder / name).symlink_to(program)
    return str(folder)


@pytest.mark.parametrize(
    ("there", "sentence"),
    [
        (["bash", "dirname", "make"], "git is missing: install git"),
        (["bash", "dirname", "git"], "make is missing: install make"),
    ],
)
def test_a_missing_tool_is_named(checkout: Path, tmp_path: Path, there: list[str], sentence: str) -> None:
    """What set-up needs and does not find is one line, before anything is made."""
    path = tools(tmp_path / "tools", "env", *there)
    assert setup(checkout, PATH=path) == (1, f"setup: {sentence}\n")
    assert not (checkout / ".venv").exists()


def test_node_is_for_the_hooks_tests_only(checkout: Path, tmp_path: Path) -> None:
    """Without Node.js the demonstration can be set up, and the tests cannot: one line says why."""
    installed(checkout)
    path = tools(tmp_path / "tools", *TOOLS)
    assert setup(checkout, PATH=path) == (0, "")
    everything = subprocess.run(
        [checkout / "scripts/setup"],
        env={**os.environ, "PYTHON": sys.executable, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert everything.returncode == 1
    assert everything.stderr.startswith("setup: node is missing: install Node.js")


def test_an_old_python_is_refused(checkout: Path, tmp_path: Path) -> None:
    """An interpreter before 3.10 is named with its version, and so is the way to name another."""
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2 && exit\nexit 1\n')
    old.chmod(0o755)
    code, output = setup(checkout, PYTHON=str(old))
    assert code == 1
    assert (
        output
        == f"setup: Python 3.10 or newer is needed, and {old} is Python 3.9.2; name another with PYTHON\n"
    )


def test_without_python_the_environment_keeps_its_own(checkout: Path, tmp_path: Path) -> None:
    """Who set up with PYTHON, as python3 is older or another one, need not name it each time."""
    installed(checkout)
    path = tools(tmp_path / "tools", *TOOLS)
    old = tmp_path / "tools/python3"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2 && exit\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    assert setup(checkout, PYTHON="", PATH=path) == (0, "")
