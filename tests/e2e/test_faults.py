"""Whatever goes wrong around a build: one training, and a colour that is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from laptop import PREPARED, Laptop

pytestmark = pytest.mark.e2e

_FLOW = "flows/sentiment/flow.py"
_TRAIN = '"""Fit the model on the documents that are not held out."""\n'
_GREEDY = f"""{_TRAIN}        import time

        taken = []
        while True:
            taken.append(b"x" * (64 << 20))
            time.sleep(0.05)
"""


def _steps(change: Callable[[list[dict[str, object]]], None]) -> Callable[[str], str]:
    """A change of the pipeline's steps, as one of its text."""

    def changed(text: str) -> str:
        pipeline = json.loads(text)
        change(pipeline["steps"])
        return json.dumps(pipeline)

    return changed


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="memory is read from /proc")
def test_a_step_that_takes_too_much_memory_turns_the_build_red(prepared: Laptop) -> None:
    """A step is killed for memory: the build is red with Batch's reason.

    The build's step that trains runs twice at the same time, as when two retries race: there is one head.
    """

    def twice(steps: list[dict[str, object]]) -> None:
        plugins: list[dict[str, dict[str, object]]] = steps[0]["plugins"]  # type: ignore[assignment]
        plugins[0]["./plugins/train"]["resources"] = {"train": {"memory": 900}}
        steps.insert(1, {**steps[0], "key": "again"})

    before = (prepared.repository / PREPARED).read_text()
    prepared.commit("Greedy", {_FLOW: lambda text: text.replace(_TRAIN, _GREEDY, 1), PREPARED: _steps(twice)})
    try:
        with prepared.build("--pipeline", PREPARED) as build:
            build.over()
            (head,) = build.heads()
            logs = [build.job_log(build.reaches(key, "passed")) for key in ("train", "again")]
            assert sorted(f"submitted job {head['jobId']}" in log for log in logs) == [False, True]
            assert all(f"Batch job  {head['jobId']}" in log for log in logs)
            reason = build.get()["meta_data"]["training/reason"]
            assert reason == "step train failed: OutOfMemoryError: Container killed due to memory usage"
            assert reason in build.annotations()["training"]["body_html"]
            assert (build.get()["state"], build.process.wait(30)) == ("failed", 1)
            assert build.jobs("deploy")[0]["started_at"] is None
    finally:
        prepared.commit(
            "Modest", {_FLOW: lambda text: text.replace(_GREEDY, _TRAIN, 1), PREPARED: lambda _: before}
        )
