from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from metaflow import FlowSpec, step  # type: ignore[attr-defined]

import flow_files
from modelbuild.aws.instance import Instance
from modelbuild.contract import StepInstance, StepRun
from modelbuild.flow.batch import on_batch
from modelbuild.flow.process import step_runs
from modelbuild.flow.process.step_runs import merged, run_until_now


def test_a_step_is_kept_with_what_its_job_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a build, sizes are those of the flow with those of the build in their place."""
    monkeypatch.setenv("MODEL_ID", "12")
    monkeypatch.setenv("STEP_RESOURCES", json.dumps({"train": {"memory": 9000}}))
    monkeypatch.setattr(step_runs, "this_instance", lambda: Instance("m5.large", spot=True, vcpus=2))

    class Flow(FlowSpec):
        @on_batch(cpu=2, memory=4096)
        @step
        def train(self) -> None:
            """A step on Batch."""

        @step
        def end(self) -> None:
            """A step in the head."""

    found = run_until_now(Flow, "train", "3")
    assert (found.step, found.task, found.cpu, found.memory, found.gpu) == ("train", "3", 2, 9000, 0)
    assert found.instance == StepInstance(type="m5.large", spot=True, vcpus=2)
    assert found.seconds > 0
    later = run_until_now(Flow, "end", "4")
    assert (later.cpu, later.memory, later.gpu) == (None, None, 0)
    assert later.instance is None
    assert later.seconds >= found.seconds


def test_branches_are_merged_once() -> None:
    """What two branches have in common counts once, and one that kept nothing is none."""
    start, one, other = ({"step": name, "task": name, "seconds": 1.0} for name in ("start", "1", "2"))
    branches = [SimpleNamespace(step_runs=[start, one]), SimpleNamespace(step_runs=[start, other])]
    assert merged([*branches, SimpleNamespace()]) == [start, one, other]


def test_a_flow_keeps_its_steps_also_through_a_join(tmp_path: Path) -> None:
    """Each task is kept with its time, and branches that differ in it can be merged as before."""
    done = subprocess.run(
        [sys.executable, str(flow_files.FOLDER / "branched" / "flow.py"), "--no-pylint", "run"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "METAFLOW_USER": "ada"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [kept] = re.findall(r"kept value (\[.*\])", done.stdout)
    runs = [StepRun.model_validate(one) for one in json.loads(kept)]
    assert [run.step for run in runs] == ["start", "train", "train", "merge"]
    assert all(run.seconds > 0 and run.cpu is None for run in runs)
