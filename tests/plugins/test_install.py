"""The installation of the hooks' requirements: what it takes from the host, and what may happen meanwhile."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import importlib.util
import os
import shutil
import signal
import stat
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from waiting import SECONDS, wait_until

FILE = Path(__file__).parents[2] / "plugins/lib/install.py"
NAME = "0123456789abcdef"

# The installer, with an environment in the place of pip's that takes as long as the file ``go`` is missing.
SLOW = """
import importlib.util, sys, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("install", sys.argv.pop(1))
install = importlib.util.module_from_spec(spec)
spec.loader.exec_module(install)

def build(requirements, partial):
    with open("builds", "a") as builds:
        builds.write(f"{partial}\\n")
    (partial / "half").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    (partial / "bin").mkdir()
    (partial / "bin/python").touch(0o755)

install._build = build
install.main()
"""


@pytest.fixture(scope="module")
def install() -> ModuleType:
    """The installer as a module."""
    spec = importlib.util.spec_from_file_location("install", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _unshared() -> list[str]:
    """A command that gives what it runs a process table of its own, in which it is process 1."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    for more in ([], ["--user", "--map-root-user"]):
        if (
            shutil.which("unshare")
            and subprocess.run([*command, *more, "true"], capture_output=True).returncode == 0
        ):
            return [*command, *more]
    return []


@pytest.fixture(params=["this host", "containers"])
def starter(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts an installation that goes on when the file ``go`` is there, as a process or in a container."""
    prefix = _unshared() if request.param == "containers" else []
    if request.param == "containers" and not prefix:
        pytest.skip("this machine has no unshare(1) that may make a PID namespace")
    started = []

    def start() -> subprocess.Popen[str]:
        command = [
            *prefix,
            sys.executable,
            "-c",
            SLOW,
            str(FILE),
            "requirements",
            str(tmp_path / "cache" / NAME),
        ]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _builds(folder: Path) -> int:
    file = folder / "builds"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_second_installation_waits_for_the_first(
    starter: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    """Two installations at once install once, wherever they run."""
    first = starter()
    wait_until(lambda: _builds(tmp_path) == 1)
    second = starter()
    assert second.stderr is not None
    assert "Waiting for another process" in second.stderr.readline()
    (tmp_path / "go").touch()
    assert [first.wait(SECONDS), second.wait(SECONDS)] == [0, 0]
    assert _builds(tmp_path) == 1
    assert os.listdir(tmp_path / "cache") == [NAME]


def test_killed_installation_is_made_anew_at_once(
    starter: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    """What is killed holds no lock, and what it left is removed."""
    killed = starter()
    wait_until(lambda: _builds(tmp_path) == 1)
    killed.kill()
    killed.wait(SECONDS)
    assert len(os.listdir(tmp_path / "cache")) == 1
    (tmp_path / "go").touch()
    assert starter().wait(SECONDS) == 0
    assert _builds(tmp_path) == 2
    assert os.listdir(tmp_path / "cache") == [NAME]


@pytest.mark.parametrize("starter", ["this host"], indirect=True)
def test_cancelled_installation_leaves_nothing(
    starter: Callable[[], subprocess.Popen[str]], tmp_path: Path
) -> None:
    """SIGTERM ends an installation with 143, and removes what it has made."""
    cancelled = starter()
    wait_until(lambda: _builds(tmp_path) == 1)
    cancelled.send_signal(signal.SIGTERM)
    assert cancelled.wait(SECONDS) == 143
    assert os.listdir(tmp_path / "cache") == []


def _makes(install: ModuleType, monkeypatch: pytest.MonkeyPatch, during: Callable[[], object]) -> None:
    def build(_: Path, partial: Path) -> None:
        during()
        (partial / "bin").mkdir()
        (partial / "bin/python").touch(0o755)

    monkeypatch.setattr(install, "_build", build)


def test_without_locks_the_first_rename_wins(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without locks, two installations do each other no harm, and only what is old is swept."""

    def refuse(_: int, __: int) -> None:
        raise OSError("Bad file descriptor")

    folder = tmp_path / NAME
    young, old = tmp_path / f"{NAME}.partial-young", tmp_path / f"{NAME}.partial-old"
    young.mkdir()
    old.mkdir()
    os.utime(old, (0, 0))

    def other() -> None:
        (folder / "bin").mkdir(parents=True)
        (folder / "bin/python").touch(0o755)
        (folder / "first").touch()

    monkeypatch.setattr(fcntl, "flock", refuse)
    _makes(install, monkeypatch, other)
    install.install(tmp_path / "requirements", folder)
    assert (folder / "first").exists()
    assert sorted(os.listdir(tmp_path)) == [NAME, young.name]


def test_frozen_installation_is_not_waited_for_for_ever(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A lock that is never given back costs a limited time, and what its holder makes is left alone."""
    monkeypatch.setattr(install, "_WAIT_SECONDS", 0.1)
    monkeypatch.setattr(install, "_LOOK_AGAIN_SECONDS", 0.01)
    _makes(install, monkeypatch, lambda: None)
    theirs = tmp_path / f"{NAME}.partial-theirs"
    theirs.mkdir()
    holder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    try:
        install.install(tmp_path / "requirements", tmp_path / NAME)
    finally:
        os.close(holder)
    assert sorted(os.listdir(tmp_path)) == [NAME, theirs.name]


def test_environment_without_interpreter_is_made_anew(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An environment of which a part was removed does not stand in the way."""
    (tmp_path / NAME / "lib").mkdir(parents=True)
    _makes(install, monkeypatch, lambda: None)
    install.install(tmp_path / "requirements", tmp_path / NAME)
    assert os.listdir(tmp_path) == [NAME]
    assert os.listdir(tmp_path / NAME) == ["bin"]


def test_failed_installation_leaves_nothing(
    install: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A full disk ends in a sentence, and takes no more of the disk."""

    def full() -> None:
        raise OSError(28, "No space left on device")

    _makes(install, monkeypatch, full)
    with pytest.raises(
        install.Failure, match=r"cannot write to .* \(No space left on device\); set MODELBUILD_"
    ):
        install.install(tmp_path / "requirements", tmp_path / NAME)
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_imported_is_no_environment(install: ModuleType, tmp_path: Path) -> None:
    """A module that cannot be loaded, as on a noexec mount, is reported with the remedy before the rename."""
    made = tmp_path / "a partial"
    venv.create(made, symlinks=True)
    site = next(made.glob("lib/python*/site-packages"))
    (site / "good.py").write_text("")
    install._require_imports(made)
    (site / "native.py").write_text(
        "raise ImportError('native.so: failed to map segment from shared object')"
    )
    with pytest.raises(install.Failure, match=r"failed to map segment.*mounted noexec, set MODELBUILD_CACHE"):
        install._require_imports(made)


def test_settings_by_which_pip_reaches_an_index_are_kept(install: ModuleType) -> None:
    """A mirror, its proxy and certificates stand; what changes where or what pip installs does not."""
    listed = (
        "For variant 'global', will try loading '/etc/pip.conf'\n"
        ":env:.target='/elsewhere'\n"
        "global.index-url='https://a@one.example/simple'\n"
        "global.extra-index-url='\\nhttps://two.example\\nhttps://three.example'\n"
        "global.cert='/etc/ca.pem'\n"
        "global.user='true'\n"
        "global.constraint='/etc/constraints.txt'\n"
        "install.index-url='https://install.example/simple'\n"
        "install.no-binary=':all:'\n"
        "download.proxy='http://other.example'\n"
    )
    variables = {
        "PIP_CERT": "/its/own.pem",
        "PIP_USER": "1",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_PYTHON": "x",
    }
    assert install.reach(listed, variables) == {
        "PIP_INDEX_URL": "https://install.example/simple",
        "PIP_EXTRA_INDEX_URL": "\nhttps://two.example\nhttps://three.example",
        "PIP_CERT": "/its/own.pem",
    }


def _wheel(folder: Path) -> str:
    """Write the package ``ours``, and return the line that requires it."""
    file = folder / "ours-1.0-py3-none-any.whl"
    files = {
        "ours/__init__.py": "where = __file__\n",
        "ours-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: ours\nVersion: 1.0\n",
        "ours-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "ours-1.0.dist-info/RECORD"
    lines = [f"{record},,"]
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        lines.append(f"{name},sha256={digest},{len(text)}")
    with zipfile.ZipFile(file, "w") as wheel:
        for name, text in {**files, record: "\n".join(lines) + "\n"}.items():
            wheel.writestr(name, text)
    return f"ours==1.0 --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}\n"


def test_host_that_is_set_up_for_something_else(tmp_path: Path) -> None:
    """The host's settings neither change nor break what is installed, and pip uses the host's mirror."""
    home, elsewhere, site = tmp_path / "home", tmp_path / "elsewhere", tmp_path / "site"
    (home / ".config/pip").mkdir(parents=True)
    (tmp_path / "mirror").mkdir()
    # pip takes what it can import for installed.
    for name in ("ours", "ours-1.0.dist-info"):
        (site / name).mkdir(parents=True)
    (site / "ours/__init__.py").touch()
    (site / "ours-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 1.0\n")
    (site / "ours-1.0.dist-info/INSTALLER").write_text("pip\n")
    (site / "sitecustomize.py").write_text("raise SystemExit('sitecustomize was imported')\n")
    (tmp_path / "requirements.txt").write_text(_wheel(tmp_path / "mirror"))
    (home / ".config/pip/pip.conf").write_text(
        f"[global]\nno-index = true\nfind-links = {tmp_path}/mirror\nquiet = 1\nrequire-virtualenv = true\n"
        f"[install]\nuser = true\ntarget = {elsewhere}\nno-binary = :all:\n"
    )
    folder = tmp_path / "a 'cache'\n" / NAME
    done = subprocess.run(
        [sys.executable, "-I", str(FILE), str(tmp_path / "requirements.txt"), str(folder)],
        cwd=site,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))},
            "HOME": str(home),
            "PYTHONPATH": str(site),
            "PYTHONHOME": str(elsewhere),
            "PIP_PREFIX": str(elsewhere),
            "PIP_CONSTRAINT": str(elsewhere),
            "VIRTUAL_ENV": str(elsewhere),
        },
        capture_output=True,
        text=True,
        umask=0o077,
    )
    assert done.returncode == 0, done.stderr
    assert os.listdir(folder.parent) == [NAME]
    where = subprocess.run(
        [str(folder / "bin/python"), "-I", "-c", "import ours; print(ours.where, end='')"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert Path(where).is_relative_to(folder)
    assert not elsewhere.exists()
    for path in (folder.parent, folder, Path(where)):
        assert stat.S_IMODE(path.stat().st_mode) & 0o055 == (0o055 if path.is_dir() else 0o044), path
