"""A clone in a folder whose name is not ASCII: what is installed from it is found in every locale."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCALES = [
    {"LC_ALL": "C.UTF-8"},
    {"LC_ALL": "POSIX"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "0"},
    {"LC_ALL": "POSIX", "PYTHONUTF8": "1"},
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with an environment in which its two packages, of a module each, are installed in POSIX."""
    clone = tmp_path_factory.mktemp("Müller's models")
    shutil.copytree(ROOT / "scripts", clone / "scripts")
    for folder, module in (("python", "modelbuild"), ("local", "modelbuild_local")):
        (clone / folder / "src" / module).mkdir(parents=True)
        (clone / folder / "src" / module / "__init__.py").touch()
        shutil.copy(ROOT / folder / "pyproject.toml", clone / folder)
    python = clone / ".venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", clone / ".venv"], check=True)
    packages = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    # setuptools is found where these tests find it.
    Path(packages, "tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    script = 'root="$PWD" venv="$PWD/.venv" python=python3; source scripts/environment.bash; install_clone'
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=clone,
        env={**_environ(), "LC_ALL": "POSIX", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return clone


def _environ() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LC_", "LANG"))
    }


@pytest.mark.parametrize("locale", LOCALES, ids=lambda locale: " ".join(locale.values()))
def test_packages_are_found_in_every_locale(clone: Path, locale: dict[str, str]) -> None:
    """Python finds both packages in the clone, whatever the locale was that they were installed in."""
    done = subprocess.run(
        [
            clone / ".venv/bin/python",
            "-c",
            "import os, sys, modelbuild, modelbuild_local\n"
            "for module in (modelbuild, modelbuild_local):\n"
            "    sys.stdout.buffer.write(os.fsencode(module.__file__) + b'\\n')",
        ],
        cwd="/",
        env={**_environ(), **locale},
        capture_output=True,
        check=False,
    )
    assert done.stdout.decode().splitlines() == [
        f"{clone}/python/src/modelbuild/__init__.py",
        f"{clone}/local/src/modelbuild_local/__init__.py",
    ], done.stderr.decode(errors="replace")
