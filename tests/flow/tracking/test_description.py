"""What a W&B run is made with."""

from __future__ import annotations

import subprocess
from pathlib import Path

from modelbuild.flow.tracking.description import of_checkout


def test_an_experiment_has_the_commit_of_its_checkout(tmp_path: Path) -> None:
    """Commit and branch are those of the checkout, and nothing outside of one."""
    assert of_checkout(tmp_path) == {}
    for command in (["init", "-q", "-b", "trial"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        named = ["-c", "user.name=ada", "-c", "user.email=ada@example.com"]
        subprocess.run(["git", "-C", str(tmp_path), *named, *command], check=True)
    found = of_checkout(tmp_path)
    assert found["branch"] == "trial"
    assert len(str(found["commit"])) == 40
