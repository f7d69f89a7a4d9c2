"""Flows are checked and tested each on its own, so that two may have modules of one name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A folder with what checks flows, and with flows of which two have modules of one name."""
    shutil.copytree(ROOT / "tests/fixtures/two_flows", tmp_path, dirs_exist_ok=True)
    for folder in ("python/src", "local/src", "plugins/lib", "scripts", "bench"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / f"{folder.replace('/', '_')}.py").touch()
    for name in ("pyproject.toml", "scripts/typecheck", "tests/flows/conftest.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def ran(folder: Path, *command: str) -> tuple[int, str]:
    """Exit code and output of a command, which finds the programs of this environment."""
    environ = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # What mypy knows of the standard library is there after `make lint`, and no plugin is needed.
        "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache"),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_types_of_each_flow(clone: Path) -> None:
    """Each folder of flows/ is found and checked against its own modules; a wrong type in one is named."""
    code, output = ran(clone, "scripts/typecheck")
    assert code == 1
    (error,) = output.splitlines()
    assert error.startswith("flows/torn/rows.py:3: error: Incompatible types in assignment")


def test_tests_of_each_flow(clone: Path) -> None:
    """The tests of each flow import its own modules, in one run of pytest with tests of no flow."""
    code, output = ran(clone, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert code == 0, output
    assert "3 passed" in output
