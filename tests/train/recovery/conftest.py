"""The AWS stand-in with the stack and its function, and the builds that wait."""

from __future__ import annotations

import re
from collections.abc import Iterator

import boto3
import pytest

import http_api
import standins
from modelbuild.buildkite import rate_limiter
from recovery import Builds, TrainingStack


@pytest.fixture(scope="session")
def builds() -> Iterator[Builds]:
    """The builds, over HTTP."""
    page = Builds()

    class Handler(http_api.JsonHandler):
        def do_GET(self) -> None:
            if "/builds?" in self.path:
                self.answer([{"number": 1, "state": "running"}], 200 if page.pipeline else 404)
                return
            number = self._number()
            if number in page.deleted:
                self.answer({"message": "Not Found"}, 404)
                return
            state = page.states.get(number, "blocked")
            step = {"id": "j", "type": "manual", "step_key": "training_finished", "state": state}
            listed = "/jobs?" in self.path
            over = number in page.over
            build = {"state": "failed" if over else "running", "blocked": not over}
            self.answer({"items": [step]} if listed else build, page.status)

        def do_PUT(self) -> None:
            number = self._number()
            fields, status = self.body()["fields"], page.status
            if status == 200:
                page.fields[number] = fields
                page.states[number] = "unblocked"
            self.answer({"id": "j"}, status)

        def _number(self) -> int:
            assert self.headers["Authorization"] == "Bearer the-rest-token"
            number = int(re.findall(r"/builds/(\d+)", self.path)[0])
            page.calls.append(number)
            return number

    with http_api.served(Handler) as server:
        page.url = f"{http_api.url(server)}/v2"
        yield page


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory, builds: Builds) -> Iterator[TrainingStack]:
    """A stand-in with infra/training.yaml, where ``python -m modelbuild`` is this modelbuild."""
    with standins.started_aws(tmp_path_factory.mktemp("aws"), "--vcpus", "64") as running:
        standins.deploy_training(running.url, BuildkiteApiUrl=builds.url)
        yield TrainingStack(running.url, builds)


@pytest.fixture
def stack(deployed: TrainingStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrainingStack]:
    """The stand-in, also as the environment of this process; the rule is on, Buildkite answers."""
    standins.use(monkeypatch, deployed.url)
    monkeypatch.setenv("BUILDKITE_API_URL", deployed.builds.url)
    monkeypatch.setenv("BUILDKITE_SECRET_ARN", "modelbuild/buildkite")
    monkeypatch.delenv("BUILDKITE_API_TOKEN", raising=False)
    # These builds take any number of calls: the turns, which are held elsewhere, need not be waited for,
    # neither here nor by the function, for which no program has had a turn yet.
    monkeypatch.setattr(rate_limiter, "SLICE_SECONDS", 0.05)
    boto3.resource("s3").Bucket(standins.BUCKET).objects.filter(Prefix="buildkite/turns/").delete()
    yield deployed
    deployed.builds.status, deployed.builds.pipeline = 200, True


@pytest.fixture
def stack_without_rule(stack: TrainingStack) -> Iterator[TrainingStack]:
    """The stand-in without the rule, as if every function had failed."""
    stack.client("events").disable_rule(Name="modelbuild-ended")
    yield stack
    stack.client("events").enable_rule(Name="modelbuild-ended")
