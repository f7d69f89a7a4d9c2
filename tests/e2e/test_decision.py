"""Five models of one endpoint, as a person decides on them: the first, a worse, a better and an equal one,
and one that was evaluated on more rows.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from laptop import QUICK, SMALL, Laptop
from modelbuild.contract import Decision
from modelbuild.contract.report import Comparison, Report
from pipeline_changes import for_endpoint
from running_build import Running

pytestmark = pytest.mark.e2e

ENDPOINT = "decision"
GATES = [{"metric": "macro_f1", "maximum-drop": 0.05}]


def reviews(rows: int = 2_400) -> str:
    """Texts, in each of which one word of seven tells the label; fewer are the first of more."""
    chance = random.Random(1)

    def words(number: int) -> list[str]:
        return ["".join(chance.choices("abcdefghij", k=6)) for _ in range(number)]

    fillers, telling = words(100), {label: words(40) for label in ("negative", "positive")}
    lines = ["text,label"]
    for _ in range(rows):
        label = chance.choice(["negative", "positive"])
        text = [*chance.choices(fillers, k=6), chance.choice(telling[label])]
        chance.shuffle(text)
        lines.append(f"{' '.join(text)},{label}")
    return "\n".join(lines) + "\n"


def written(text: str, _: str) -> str:
    """A change of a file to this text."""
    return text


def with_gates(pipeline: str) -> str:
    """The pipeline with an endpoint of its own, and a gate against the model that is live there."""
    changed: Any = for_endpoint(json.loads(pipeline), ENDPOINT)
    notify = next(step for step in changed["steps"] if step.get("key") == "notify")
    notify["plugins"][0]["./plugins/notify"]["gates"] = GATES
    return json.dumps(changed)


@pytest.fixture(scope="module")
def endpoint(laptop: Laptop) -> Iterator[Laptop]:
    """A laptop whose quick pipeline has a gate, and whose small flow has rows that can show a difference."""
    laptop.commit_prepared_pipelines()
    files: dict[str, Callable[[str], str]] = {
        QUICK: with_gates,
        f"{SMALL}/data.csv": partial(written, reviews()),
    }
    with laptop.changed("Rows that can show a difference, and a gate", files):
        yield laptop


@contextmanager
def build(laptop: Laptop, epochs: int, learning_rate: float, data: str | None = None) -> Iterator[Running]:
    """A build with these parameters and, if given, other rows, once its report is on the page."""
    text = f"training:\n  epochs: {epochs}\n  learning_rate: {learning_rate}\n"
    files: dict[str, Callable[[str], str]] = {f"{SMALL}/params.yaml": partial(written, text)}
    if data is not None:
        files[f"{SMALL}/data.csv"] = partial(written, data)
    with (
        laptop.changed(f"{epochs} epochs", files),
        laptop.build("--pipeline", QUICK) as running,
    ):
        running.reaches("notify", "passed", "failed")
        yield running


def decide(running: Running, decision: str, reason: str) -> None:
    """Unblock the deployment as a person does on the page."""
    job = running.reaches("approve", "blocked")
    fields = {"deploy/decision": decision, "deploy/reason": reason}
    running.laptop.client.put(f"{running.path}/jobs/{job['id']}/unblock", {"fields": fields})
    running.over()


def report_of(running: Running) -> Report:
    """The report on the model of a build."""
    return Report.model_validate_json(running.object("report.json"))


def live_of(report: Report) -> Comparison:
    """The comparison with the live model."""
    found = report.compared_with("live")
    assert found is not None
    return found


def interval_of(comparison: Comparison) -> tuple[float, float]:
    """The interval of the primary metric."""
    found = comparison.metrics[comparison.primary].interval
    assert found is not None
    return found.low, found.high


def test_a_person_decides_on_five_models(endpoint: Laptop) -> None:
    """The first is deployed; a worse one stops at the gate; a better one is deployed; an equal one shows no
    difference, and is rejected with a reason; one of more rows is compared on all of them, which the live
    model's own server has scored.
    """
    with build(endpoint, 3, 0.1) as first:
        decide(first, "deploy", "the first one")
        assert first.get()["state"] == "passed", first.log.read_text()
        assert report_of(first).verdict.outcome == "first"

    with build(endpoint, 1, 0.01) as worse:
        worse.over()
        (notify,) = worse.jobs("notify")
        assert (notify["state"], notify["exit_status"]) == ("failed", 16)
        report = report_of(worse)
        assert live_of(report).model_id == first.model_id
        assert report.verdict.outcome == "worse"
        assert interval_of(live_of(report))[1] < 0
        assert worse.jobs("approve")[-1]["state"] not in ("blocked", "unblocked")
        page = worse.annotations()["training"]
        assert page["style"] == "error"
        assert "Not met: the gate for macro-F1." in page["body_html"]
        assert f"Worse than the live model sentiment {first.model_id}" in page["body_html"]

    with build(endpoint, 20, 0.5) as better:
        report = report_of(better)
        assert report.verdict.outcome == "better"
        assert interval_of(live_of(report))[0] > 0
        assert report.changes is not None
        assert {change.name for change in report.changes.parameters} == {
            "training.epochs",
            "training.learning_rate",
        }
        assert report.changes.commits
        decide(better, "deploy", "better by far")
        assert better.get()["state"] == "passed", better.log.read_text()

    with build(endpoint, 20, 0.5) as equal:
        report = report_of(equal)
        assert live_of(report).model_id == better.model_id
        assert report.verdict.outcome == "no difference"
        decide(equal, "reject", "nothing gained")
        (deploy,) = equal.jobs("deploy")
        assert (deploy["state"], deploy["exit_status"]) == ("failed", 17)
        decision = Decision.model_validate_json(equal.object(f"decisions/{ENDPOINT}.json"))
        assert (decision.decision, decision.reason) == ("reject", "nothing gained")
        assert decision.approver.name
        assert "nothing gained" in equal.annotations()[f"deployment/{ENDPOINT}"]["body_html"]

    with build(endpoint, 20, 0.5, reviews(3_600)) as newer:
        report = report_of(newer)
        live, evaluation = live_of(report), report.manifest.evaluation
        assert live.unscored == ""
        assert live.rows == evaluation.overall.rows > 1.3 * better.manifest().evaluation.overall.rows
        found = re.fullmatch(r"on all [\d,]+ rows, which job (\S+) scored with the live model", live.reason)
        assert found is not None, live.reason
        filters = [{"name": "JOB_NAME", "values": [found[1]]}]
        batch = endpoint.aws("batch")
        [job] = batch.list_jobs(jobQueue="modelbuild-default", filters=filters)["jobSummaryList"]
        assert job["status"] == "SUCCEEDED"
        assert found[1] in newer.annotations()["training"]["body_html"]
        decide(newer, "reject", "looked at only")

    config = endpoint.aws("sagemaker", endpoint.production).describe_endpoint(EndpointName=ENDPOINT)
    assert config["EndpointConfigName"].startswith(f"{ENDPOINT}-{better.model_id}-")
