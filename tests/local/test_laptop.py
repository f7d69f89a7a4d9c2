"""The state of laptop mode, by which commands find the one that runs."""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

import pytest

from modelbuild_local import laptop


def state_of(repository: Path) -> laptop.State:
    """A state whose process is this one."""
    names = ("buildkite_url", "aws_url", "console_url", "wandb_url", "agent_token", "api_token", "wandb_key")
    texts = dict.fromkeys((*names, "aws_key_id", "aws_secret", "page_key"), "x")
    return laptop.State.model_validate(
        {"pid": os.getpid(), "services": {}, "repository": repository, "data": repository, **texts}
    )


def test_a_state_counts_while_its_lock_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that a killed laptop mode left does not count, also when its process id is in use again."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    state = state_of(tmp_path / "repository")
    assert laptop.running(state.repository) is None
    laptop.write_state(state)
    assert laptop.running(state.repository) is None
    with laptop.lock_file(state.repository).open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert laptop.running(state.repository) == state
    assert laptop.running(state.repository) is None


def test_a_repository_with_white_space_has_a_folder_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs run below that folder, and the shell commands of Metaflow's steps do not quote its path."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folders = [
        laptop.state_folder(Path(name)) for name in ("/x/my  model's", "/x/my-model's", "/x/Modell\t1")
    ]
    assert all(re.fullmatch(r"[\w./-]+", str(folder.relative_to(tmp_path))) for folder in folders)
    assert len(set(folders)) == 3
