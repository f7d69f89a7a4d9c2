"""What a W&B run is made with."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from modelbuild.flow.tracking.description import of_checkout, of_experiment


def test_an_experiment_has_the_commit_of_its_checkout(tmp_path: Path) -> None:
    """Commit and branch are those of the checkout, and nothing outside of one."""
    assert of_checkout(tmp_path) == {}
    for command in (["init", "-q", "-b", "trial"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        named = ["-c", "user.name=ada", "-c", "user.email=ada@example.com"]
        subprocess.run(["git", "-C", str(tmp_path), *named, *command], check=True)
    found = of_checkout(tmp_path)
    assert found["branch"] == "trial"
    assert len(str(found["commit"])) == 40
    subprocess.run(["git", "-C", str(tmp_path), "checkout", "-q", "--detach"], check=True)
    assert of_checkout(tmp_path) == {**found, "branch": ""}


def test_experiments_of_other_names_have_other_ids() -> None:
    """W&B refuses some characters in an id; without them two names would be one run, which the second one
    would continue. The id of a name that has none of them is the name.
    """
    names = ["plain-1.0_b", "größer", "grüßer", "实验一", "实验二", "a/b", "a b", "a?b", "bytes \udcff", "-"]
    ids = [of_experiment("sentiment", name, {}, {}, project="comments").id for name in names]
    assert len({*ids}) == len(names)
    assert ids[0] == "sentiment-plain-1.0_b"
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", id) for id in ids)
