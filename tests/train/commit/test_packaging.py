from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import flow_files
from modelbuild.train.commit import packaging, source


def test_steps_see_what_the_commit_has(repository: Any, tmp_path: Path) -> None:
    """Metaflow packs every file beside the flow, whatever its name, executables and links as well."""
    names = [
        "data.csv",
        "Makefile",
        "deep/er/w.bin",
        ".env-sample",
        "deep/.gitkeep",
        "naïve, or not.txt",
        "run",
    ]
    beside = {f"flows/{name}": "x" for name in names}
    repository.commit({**flow_files.files("plain"), "lib/shared.py": "x", "lib/.hidden": "x", **beside})
    (repository.folder / "flows" / "run").chmod(0o755)
    (repository.folder / "flows" / "lib").symlink_to("../lib")
    (repository.folder / "flows" / "link.csv").symlink_to("data.csv")
    commit = repository.commit({})
    archived = source.archive(repository.folder, commit, flow="flows/flow.py").content
    source.extract(archived, tmp_path / "out")
    folder = tmp_path / "out" / "flows"
    environ = {
        **{"PATH": os.environ["PATH"], "HOME": str(tmp_path), "METAFLOW_USER": "ada"},
        packaging.VARIABLE: packaging.suffixes(tmp_path / "out"),
    }
    saved = tmp_path / "package.tgz"
    command = [sys.executable, "flow.py", "--no-pylint", "package", "save", str(saved)]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    job = tmp_path / "job"
    job.mkdir()
    # As the job of a step does it.
    subprocess.run(["tar", "-xzf", str(saved), "-C", str(job)], check=True)
    for name in [*names, "flow.py", "lib/shared.py", "lib/.hidden", "link.csv"]:
        assert (job / name).is_file(), name
    assert os.access(job / "run", os.X_OK)
    assert not os.access(job / "data.csv", os.X_OK)
