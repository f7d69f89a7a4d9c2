"""Builds in each state that the page shows, made by an engine whose agents are moved by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modelbuild.contract import TrainingResult
from modelbuild_local.buildkite import agents
from modelbuild_local.buildkite.state import Annotation, Artifact, Build, Job

LONG = (
    "s3://modelbuild-123456789012/models/sentiment/"
    + "a-very-long-name-without-a-space/" * 4
    + "model.tar.gz"
)
FIELDS = [{"text": key, "key": key, "required": False} for key in TrainingResult.field_keys()]
STEPS: list[object] = [
    {"label": ":weight_lifter: train", "key": "train", "command": "train"},
    {
        "block": ":hourglass: training",
        "key": "training_finished",
        "depends_on": "train",
        "blocked_state": "running",
        "fields": FIELDS,
    },
    {"label": ":memo: notify", "key": "notify", "depends_on": "training_finished", "command": "notify"},
    {
        "block": ":question: deploy?",
        "key": "approve",
        "depends_on": "notify",
        "prompt": "Look at the figures in the annotation before this model is served.",
        "fields": [{"text": "Why", "key": "why", "hint": "people read it in the trace"}],
    },
    {
        "label": ":rocket: deploy the sentiment endpoint of the production account",
        "key": "deploy",
        "depends_on": "approve",
        "command": "deploy",
    },
]
FIGURES = f"""\
<p><strong>Better than the model that is served.</strong> <a href="https://wandb.example">W&amp;B run</a></p>
<table>
<tr><th>On 2,000 rows it never saw</th>
<th>macro-F1</th><th>model better by</th><th>accuracy</th><th>model better by</th></tr>
<tr><td>this model</td><td>0.9134</td><td></td><td>0.9211</td><td></td></tr>
<tr><td>the one that is served</td><td>0.8871</td><td>+0.0263</td><td>0.8902</td><td>+0.0309</td></tr>
</table>
<table>
<tr><th>Model</th><td><a href="https://example.org">{LONG}</a> (54,321 bytes)</td></tr>
<tr><th>Commit</th><td><code>{"0123456789abcdef" * 4}</code></td></tr>
</table>
<details><summary>Parameters</summary><pre><code>learning_rate: 0.001 # {"x" * 200}</code></pre></details>
"""
LOG = f"""\
~~~ Preparing the working directory
$ git clone -v -- /repository .
+++ Submitting the training
Source     {LONG}
Job        {"0123456789-" * 20}
"""


def _training(bench: Any) -> Build:
    build: Build = bench.build(STEPS)
    build.message = "Try a lower learning rate, and a message that is long enough to need a second line"
    build.commit = "0123456789abcdef" * 2
    job = bench.begin(bench.agent())
    job.log.add(0, LOG.encode())
    bench.clock.passed += 5
    agents.finish(bench.engine, job, 0, "", "")
    _note(build, job, "training", "info", FIGURES)
    build.meta_data["train/job/url"] = "http://127.0.0.1:1/job"
    bench.clock.passed += 64
    return build


def _blocked(bench: Any) -> Build:
    build = _training(bench)
    _report(bench, build, "succeeded")
    bench.drain(bench.agent())
    _note(build, build.steps[0].job, "training", "success", FIGURES)
    return build


def _failed(bench: Any) -> Build:
    build = _training(bench)
    _report(bench, build, "failed", reason="flow.py, line 12: ValueError: unknown label\n" + "x" * 120)
    job = bench.begin(bench.agent())
    job.log.add(0, LOG.encode())
    agents.finish(bench.engine, job, 1, "", "")
    _note(build, job, "training", "error", "<p><strong>The training failed.</strong></p><blockquote>" + LONG)
    return build


def _canceled(bench: Any) -> Build:
    build = _training(bench)
    bench.engine.cancel_build(build)
    return build


def _passed(bench: Any) -> Build:
    build = _blocked(bench)
    bench.engine.unblock(_job(build, "approve"), {"why": "better"}, bench.engine.user)
    bench.drain(bench.agent())
    job = build.steps[0].job
    file = ("logs/" + "long-name-" * 12 + ".txt", "/", "*", 123_456, "a" * 40, "b" * 64, "text/plain", "u")
    build.artifacts.append(Artifact(job, *file, bench.clock.now()))
    return build


def _unattended(bench: Any) -> Build:
    build = _blocked(bench)
    bench.engine.unblock(_job(build, "approve"), {"why": "better"}, bench.engine.user)
    for agent in bench.agents:
        agents.disconnect(bench.engine, agent)
    return build


def _report(bench: Any, build: Build, status: str, reason: str = "") -> None:
    """What a training does at its end."""
    result = TrainingResult(status=status, reason=reason)
    bench.engine.unblock(_job(build, "training_finished"), result.to_fields(), bench.engine.bot)


def _job(build: Build, key: str) -> Job:
    return next(step.job for step in build.steps if step.key == key)


def _note(build: Build, job: Job, context: str, style: str, body: str) -> None:
    """An annotation on a build."""
    when = build.created_at
    build.annotations[("build", context)] = Annotation(context, body, style, 3, "build", job.id, when, when)


SCENES: dict[str, Callable[[Any], Build]] = {
    "training": _training,
    "blocked": _blocked,
    "failed": _failed,
    "canceled": _canceled,
    "passed": _passed,
    "unattended": _unattended,
}
"""What makes a build in a state that the page shows, by a name for the state."""
