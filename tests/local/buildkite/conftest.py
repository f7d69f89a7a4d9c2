"""An engine with a clock of its own, and a started server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import httpx
import pytest

import standins
from modelbuild_local.buildkite import agents
from modelbuild_local.buildkite.app import create_app
from modelbuild_local.buildkite.engine import Engine
from modelbuild_local.buildkite.identity import User, user_id
from modelbuild_local.buildkite.scheduling.clock import Clock
from modelbuild_local.buildkite.state import Agent, Build, Job
from rest_client import URL, Rest

AGENT_TOKEN = "agent-token"
API_TOKEN = "api-token"


class HandClock(Clock):
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        """Noon of a day, and what the test turned."""
        return datetime(2026, 1, 1, 12, tzinfo=timezone.utc) + timedelta(seconds=self.passed)

    def seconds(self) -> float:
        """What the test turned."""
        return self.passed


@dataclass
class Bench:
    """An engine with one pipeline, and agents that do what the test says."""

    engine: Engine
    clock: HandClock
    agents: list[Agent] = field(default_factory=list)

    def build(self, steps: list[object]) -> Build:
        """A build that begins with these steps."""
        name = f"p{len(self.engine.pipelines)}"
        pipeline = self.engine.create_pipeline(name, "/repository", json.dumps({"steps": steps}))
        return self.engine.create_build(pipeline, commit="HEAD", branch="main")

    def agent(self, *tags: str) -> Agent:
        """A new agent with these tags."""
        agent = agents.register(self.engine, f"agent-{len(self.agents)}", "host", "3.138.3", tags, 0)
        self.agents.append(agent)
        return agent

    def begin(self, agent: Agent) -> Job | None:
        """The agent takes and starts the next job, if there is one."""
        job = agents.ping(self.engine, agent)
        if job is not None:
            agents.accept(agent, job)
            agents.start(self.engine, job)
        return job

    def run(self, agent: Agent, exit_status: int = 0) -> str | None:
        """The agent runs the next job to its end; the key of its step."""
        job = self.begin(agent)
        if job is None:
            return None
        self.clock.passed += 1
        agents.finish(self.engine, job, exit_status, "", "")
        return job.step.key

    def drain(self, agent: Agent, exit_statuses: dict[str, int] | None = None) -> list[str]:
        """The agent runs until there is no job left; the keys in the order they ran."""
        ran: list[str] = []
        while (job := self.begin(agent)) is not None:
            key = job.step.key or job.step.definition.label
            ran.append(key)
            self.clock.passed += 1
            agents.finish(self.engine, job, (exit_statuses or {}).get(key, 0), "", "")
        return ran


@pytest.fixture
def make_bench(tmp_path: Path) -> Callable[[], Bench]:
    """Makes benches, each with an engine of its own."""

    def new_bench() -> Bench:
        clock = HandClock()
        user = User(user_id("ada@example.org"), "Ada", "ada@example.org")
        return Bench(Engine("local", user, tmp_path, clock), clock)

    return new_bench


@pytest.fixture
def bench(make_bench: Callable[[], Bench]) -> Bench:
    """One bench."""
    return make_bench()


@dataclass(frozen=True)
class Server:
    """A started server and its clients."""

    url: str
    rest: httpx.Client
    agent_api: httpx.Client
    browser: httpx.Client

    def create_pipeline(self, name: str, steps: list[object], repository: str = "/repository") -> str:
        """A new pipeline of these steps; the path of its builds."""
        body = {"name": name, "repository": repository, "configuration": json.dumps({"steps": steps})}
        answer = self.rest.post("/pipelines", json=body)
        assert answer.status_code == 201, answer.text
        return f"/pipelines/{answer.json()['slug']}/builds"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server as a process of its own, as everybody starts it."""
    secrets = {"agent_token": AGENT_TOKEN, "api_token": API_TOKEN}
    data = tmp_path_factory.mktemp("buildkite")
    with (
        standins.started(
            "buildkite", "--user", "Ada <ada@example.org>", "--data", data, secrets=secrets
        ) as running,
        httpx.Client(
            base_url=f"{running.url}/v2/organizations/local", headers={"Authorization": f"Bearer {API_TOKEN}"}
        ) as rest,
        httpx.Client(base_url=f"{running.url}/v3") as agent_api,
        httpx.Client(cookies=standins.PAGE_COOKIES) as browser,
    ):
        yield Server(running.url, rest, agent_api, browser)


@pytest.fixture
def rest(bench: Bench) -> Rest:
    """A client of the REST API of the bench's engine."""
    secrets = {
        "agent_token": "agent",
        "api_token": "secret",
        "bot_token": "bot",
        "page_key": "page",
        "web_identity_key": "key",
    }
    return Rest(create_app(bench.engine, URL, rate_limit=0, **secrets))
