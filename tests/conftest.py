"""The fixtures of every test, and the AWS stand-in that folders of tests share."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

import job_agent
import standins
from modelbuild_local.aws import descriptions

# An example that takes long is no failure: machines are busy. In CI the same commit meets the same examples,
# so that a red run is red again; wherever people work there are new ones each time.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

descriptions.share()

collect_ignore = ["fixtures"]

# A process of the tests has some hundred megabytes of modules, which the collector of garbage need not visit.
gc.set_threshold(50_000)

_END_TO_END = "tests/e2e/"

_LONGEST = [
    f"{_END_TO_END}test_{name}.py" for name in ("several_models", "goes_on", "way_of_a_model", "ends_red")
]
"""The files that begin first, so that no process is busy with one when the others have none left."""

_WITH_LAPTOP = ("gw0", "gw1")
"""The processes of `pytest -n 3` that begin with the end-to-end tests: each starts a laptop."""


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start: in the background it is ignored, which children inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Let nothing interrupt a process of pytest-xdist that has reported its results.

    Five seconds after the last result execnet sends SIGINT to a process that has not ended. On a busy machine
    that process still collects garbage, and the interrupt is reported as an exception of a callback.
    """
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Two processes begin with the end-to-end tests, which often wait, the others with the rest.

    A process that has done its unit takes the next one of its kind, or one of the other kind if there is
    none. A unit is a file, because a file's tests share what its fixtures start.
    """

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.split("::")[0]

    def _assign_work_unit(self, node: Any) -> None:
        with_laptop = node.gateway.id in _WITH_LAPTOP
        own_kind = (file for file in self.workqueue if file.startswith(_END_TO_END) == with_laptop)
        if file := next(own_kind, None):
            self.workqueue.move_to_end(file, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Scheduling:
    """Return the scheduler that pytest-xdist uses."""
    return Scheduling(config, log)


def pytest_collection_finish() -> None:
    """Keep modules and tests, which live until the end, out of all later collections of garbage."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the end-to-end tests, the longest files first."""

    def place(item: pytest.Item) -> tuple[bool, int]:
        file = item.nodeid.split("::")[0]
        return not file.startswith(_END_TO_END), _LONGEST.index(file) if file in _LONGEST else len(_LONGEST)

    items.sort(key=place)


@dataclass(frozen=True)
class StandIn:
    """The address of the AWS stand-in, and its images, to which a folder of tests may add some."""

    url: str
    images: Path


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """The AWS stand-in with the stack of the trainings, once for all folders of tests that need no other.

    Each folder uses names of its own: of buckets, pipelines, build numbers, endpoints or users.
    """
    folder = tmp_path_factory.mktemp("aws")
    shutil.copytree(standins.ROOT / "docker", folder / "images")
    with standins.started_aws(folder, images=folder / "images") as running:
        standins.deploy_training(running.url)
        yield StandIn(running.url, folder / "images")


@pytest.fixture
def on_stand_in(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> str:
    """That AWS is also the one of this process, as the data lake's account; its address."""
    standins.use(monkeypatch, stand_in.url)
    return stand_in.url


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> job_agent.JobAgent:
    """What this process finds as ``buildkite-agent``: a recorder."""
    return job_agent.first_on_path(tmp_path / "agent", monkeypatch)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """``golden(name, text)``: the text is that of a file in golden/ beside the test.

    UPDATE_GOLDEN=1 writes it there.
    """

    def check(name: str, text: str) -> None:
        path = request.path.parent / "golden" / name
        if os.environ.get("UPDATE_GOLDEN"):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), "if this is right, run again with UPDATE_GOLDEN=1"

    return check
