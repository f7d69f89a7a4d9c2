"""The folder of laptop mode, and the state of a running one."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from modelbuild import cache, git
from modelbuild.errors import ConfigurationError
from modelbuild_local.service.session import with_key

ORGANIZATION = "local"
DATA_LAKE_ACCOUNT = "123456789012"
PRODUCTION_ACCOUNT = "222222222222"
OWNER_ROLE = "OrganizationAccountAccessRole"
"""The role that AWS Organizations creates in each account, for the person who sets it up."""
REGION = "us-east-1"


class State(BaseModel):
    """A running laptop mode: its processes, addresses and tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pid: int
    services: dict[str, int]
    repository: Path
    data: Path
    buildkite_url: str
    aws_url: str
    console_url: str
    wandb_url: str
    agent_token: str
    api_token: str
    wandb_key: str
    aws_key_id: str
    aws_secret: str
    page_key: str

    def page(self, url: str) -> str:
        """The address of a page of a service, with the key that opens it in a browser."""
        return with_key(url, self.page_key)


def repository(folder: Path) -> Path:
    """The root of the git repository that ``folder`` lies in.

    Raises:
        ConfigurationError: there is no repository.
    """
    return git.root(folder)


def state_folder(repository: Path) -> Path:
    """The folder of laptop mode for a repository, which only the user can read.

    Its name has no white space, because jobs run in it, and the shell commands of Metaflow's steps do not
    quote the path of the folder they run in.
    """
    digest = hashlib.sha256(os.fsencode(repository)).hexdigest()[:16]
    name = re.sub(r"[^\w.-]+", "-", repository.name, flags=re.ASCII)
    folder = cache.folder(os.environ) / "local" / f"{name}-{digest}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def state_file(repository: Path) -> Path:
    """The file with the state of a running laptop mode."""
    return state_folder(repository) / "state.json"


def lock_file(repository: Path) -> Path:
    """The file that laptop mode locks as long as it runs; the system releases the lock when it is killed."""
    return state_folder(repository) / "lock"


def write_state(state: State) -> None:
    """Write the state atomically, to a file that only the user can read."""
    path = state_file(state.repository)
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(
        os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(state.model_dump_json(indent=2) + "\n")
    partial.replace(path)


def running(repository: Path) -> State | None:
    """The state of the laptop mode that runs for this repository, or None."""
    try:
        state = State.model_validate_json(state_file(repository).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValidationError):
        return None
    return state if _is_locked(repository) else None


def _is_locked(repository: Path) -> bool:
    with lock_file(repository).open("a", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def require_running(repository: Path) -> State:
    """The state of the laptop mode that runs for this repository. Raises: ConfigurationError: none does."""
    state = running(repository)
    if state is None:
        raise ConfigurationError(f"nothing runs for {repository}: start it with modelbuild local up")
    return state
