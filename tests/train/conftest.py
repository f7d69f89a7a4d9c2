from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import http_api
import samples
import standins


@dataclass(frozen=True)
class Laptop:
    """The AWS stand-in, and the folder that is first on the PATH of its jobs."""

    url: str
    bin: Path

    def environ(self) -> dict[str, str]:
        """What a client needs to reach it."""
        return standins.variables(self.url)


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """The AWS stand-in with the queue of heads; what a job runs is the script ``python`` in its ``bin``."""
    root = tmp_path_factory.mktemp("aws")
    for name in ("default", "other"):
        (root / "images" / name).mkdir(parents=True)
        (root / "images" / name / "Dockerfile").write_text("FROM scratch\nENV IN_IMAGE=1\n")
    (root / "bin").mkdir()
    with standins.started_aws(
        root, "--vcpus", "64", images=root / "images", first_on_path=root / "bin"
    ) as running:
        standins.deploy_training(running.url)
        yield Laptop(running.url, root / "bin")


@pytest.fixture
def aws(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    """The AWS stand-in, as the environment of this process."""
    standins.use(monkeypatch, laptop.url)
    return laptop


class Repository:
    """A git repository with a flow and its parameters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        """Run git, and return what it prints."""
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        done = subprocess.run(
            ["git", "-C", str(self.folder), *identity, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, files: dict[str, str]) -> str:
        """Write files, commit all, and return the commit's id."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a commit")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty repository."""
    return Repository(tmp_path / "repository")


@dataclass
class Buildkite:
    """A build whose step ``training_finished`` waits, at an address of its own."""

    url: str = ""
    state: str = "blocked"
    over: bool = False
    fields: list[dict[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)


@pytest.fixture
def buildkite() -> Iterator[Buildkite]:
    """The two REST calls of the callback, for one build that waits."""
    build = Buildkite()

    class Handler(http_api.JsonHandler):
        def do_GET(self) -> None:
            build.tokens.add(self.headers["Authorization"])
            job = {"id": "j1", "type": "manual", "step_key": "training_finished", "state": build.state}
            listed = "/jobs?" in self.path
            over = build.over
            left = {"state": "failed" if over else "running", "blocked": not over}
            self.answer({"items": [job]} if listed else left)

        def do_PUT(self) -> None:
            build.fields.append(self.body()["fields"])
            build.state = "unblocked"
            self.answer({"id": "j1"})

    with http_api.served(Handler) as server:
        build.url = f"{http_api.url(server)}/v2"
        yield build


@pytest.fixture
def request_for() -> Any:
    """``request_for(artifacts, **changes)``: a valid request."""
    return samples.request_for
