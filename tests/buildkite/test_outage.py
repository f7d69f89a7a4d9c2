"""Ten minutes without Buildkite, in the callback's own time; and several processes that deliver the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import standins
from modelbuild.buildkite import rest
from modelbuild.buildkite.access import ApiAccess
from modelbuild.callback.delivery import deliver
from modelbuild.clock import Clock
from modelbuild.contract import TrainingRequest, TrainingResult
from waiting import SECONDS

MINUTES_10 = 600.0
SILENCE_SECONDS = rest._READ_SECONDS
RESULT = TrainingResult(status="failed", reason="step train failed: ValueError: no")


KINDS: dict[str, list[dict[str, Any]]] = {
    "429 with Retry-After": [{"status": 429, "headers": {"Retry-After": "20"}}],
    "429 with a reset": [{"status": 429, "headers": {"RateLimit-User-Reset": "41"}}],
    "500": [{"status": 500, "body": "<html>"}],
    "silence": [{"silent": True}],
    "reset connections": [{"reset": True}],
    "one after the other": [
        {"status": 429, "headers": {"Retry-After": "7"}},
        {"status": 502},
        {"silent": True},
        {"garbage": True},
        {"lost": True},
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_ten_minutes_of_outage(
    serve: Any, training: TrainingRequest, names: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Over real HTTP, in time that only waiting moves: after ten minutes of outage the step is unblocked
    once, with the right status, soon after, and the outage saw few requests.
    """
    service = serve(names.service())

    class Outage(names.faults):  # type: ignore[misc]
        """One kind of fault until ten minutes are over, and then none."""

        taken = 0

        def __bool__(self) -> bool:
            return bool(service.now < MINUTES_10)

        def next(self) -> Any:
            """The faults come in turn, again and again."""
            return self[(self.taken + 1) % len(self)] if self else None

        def pop(self, index: Any = -1) -> Any:
            """Take the next fault; a silent one takes time."""
            del index
            fault = self.next()
            self.taken += 1
            service.now += SILENCE_SECONDS if fault.silent else 0.0
            self._set_patience()
            return fault

    service.faults = Outage([names.fault(**fault) for fault in KINDS[kind]], monkeypatch)
    deliver(
        training,
        RESULT,
        access=ApiAccess(service.url, names.token),
        clock=Clock(lambda: service.now, service.sleep, random.Random(kind).random),
    )
    assert service.applied == [RESULT.to_fields()]
    # A head that was refused for the number of requests comes back at a random moment of ten minutes.
    limited = any(fault.get("status") == 429 for fault in KINDS[kind])
    assert MINUTES_10 <= service.now < MINUTES_10 + (620 if limited else 60)
    assert len(service.calls) < 60


TELL = """
import os, sys
from modelbuild.buildkite.access import ApiAccess
from modelbuild.callback.delivery import deliver
from modelbuild.contract import TrainingRequest, TrainingResult
request, result = (open(name).read() for name in sys.argv[1:])
print("ready", flush=True)
sys.stdin.readline()
request, result = TrainingRequest.model_validate_json(request), TrainingResult.model_validate_json(result)
deliver(request, result, access=ApiAccess.read(os.environ))
"""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Buildkite's stand-in."""
    folder = tmp_path_factory.mktemp("buildkite")
    with standins.started("buildkite", "--data", folder, secrets={"api_token": "rest"}) as service:
        yield service.url


def ask(url: str, method: str, value: Any = None) -> Any:
    """One call of its API."""
    data = None if value is None else json.dumps(value).encode()
    headers = {"Authorization": "Bearer rest", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, data, headers, method=method)) as answer:
        return json.loads(answer.read())


def test_six_concurrent_deliveries_unblock_once(
    local: str, training: TrainingRequest, tmp_path: Path
) -> None:
    """Five processes that tell at the same moment, and one later, unblock the step once; the connection
    breaks for two of them, for one after its step was unblocked.
    """
    steps = f"steps:\n- block: training\n  key: {training.unblock}\n  fields:\n"
    steps += "".join(f"  - {{text: x, key: {key}, required: false}}\n" for key in RESULT.to_fields())
    pipelines = f"{local}/v2/organizations/local/pipelines"
    ask(pipelines, "POST", {"name": "demo", "repository": "r", "configuration": steps})
    number = ask(f"{pipelines}/demo/builds", "POST", {"commit": "c", "branch": "main"})["number"]
    path = f"{pipelines}/demo/builds/{number}"
    build = training.build.model_copy(update={"number": number})
    (tmp_path / "request").write_text(training.model_copy(update={"build": build}).to_json())
    (tmp_path / "result").write_text(RESULT.to_json())
    for fault in (
        {"request": "PUT */unblock", "count": 1, "lost": True},
        {"request": "GET */jobs?*", "count": 1},
    ):
        ask(f"{local}/laptop/faults", "POST", fault)

    def start() -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, "-c", TELL, str(tmp_path / "request"), str(tmp_path / "result")],
            env={**os.environ, "BUILDKITE_API_URL": f"{local}/v2", "BUILDKITE_API_TOKEN": "rest"},
            stdin=pipe,
            stdout=pipe,
            text=True,
        )

    tellers = [start() for _ in range(6)]
    for teller in tellers:
        assert teller.stdout is not None
        assert teller.stdout.readline() == "ready\n"
    for teller in tellers[:5]:
        assert teller.stdin is not None
        teller.stdin.write("\n")
        teller.stdin.flush()
    lines = [teller.communicate(timeout=2 * SECONDS)[0] for teller in tellers[:5]]
    lines.append(tellers[5].communicate("\n", timeout=2 * SECONDS)[0])
    assert [teller.returncode for teller in tellers] == [0] * 6
    (job,) = ask(f"{path}/jobs?step_key={training.unblock}", "GET")["items"]
    assert job["state"] == "unblocked"
    meta_data = ask(path, "GET")["meta_data"]
    assert {key: meta_data[key] for key in RESULT.to_fields()} == RESULT.to_fields()
    assert [fault["struck"] for fault in ask(f"{local}/laptop/faults", "GET")] == [1, 1]
    lost = sum("after a request of this program without an answer" in text for text in lines)
    unblocked = sum("unblocked step " in text for text in lines)
    already = sum("is unblocked already by" in text for text in lines)
    # The answer to the first request was lost. A second one, on its way at that moment, may be executed
    # before it; then the first finds the step unblocked.
    assert (lost, lost + unblocked + already) == (1, 6)
    assert unblocked <= 1
