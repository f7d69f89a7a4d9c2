"""The page of a sweep: the best candidate, the others beside it, and what is pinned of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

import samples
import sweeps
import trained
from compiled_reports import OPTIONS
from memory import MemoryObjects
from modelbuild.aws.storage import Storage
from modelbuild.buildkite import job
from modelbuild.comparison import predictions
from modelbuild.comparison.models import Scored, compare_models
from modelbuild.contract import (
    CandidateGates,
    Leaderboard,
    Manifest,
    Offer,
    Report,
    TrainingRequest,
    TrainingResult,
)
from modelbuild.errors import GateFailed, TrainingFailed, VerificationFailed
from modelbuild.handoff.candidates import Candidates
from modelbuild.handoff.manifest import Handoff
from modelbuild.notify import command, gates, models, page
from modelbuild.notify.candidates import check_candidates
from modelbuild.report.build import HeadJob
from modelbuild.settings.notify import NotifySettings
from modelbuild.store.model import ModelStore
from modelbuild.store.pipeline import PipelineStore
from modelbuild.store.sweep import SweepStore

PARAMETERS: dict[str, Any] = {"model": {"buckets": 4096, "ngrams": 2}}
PRODUCTION = f"{trained.LAKE}/production"
TRUTH = trained.truth_of(400)
RIGHT = (0.9, 0.3, 0.8)
"""Which part of the predictions of the offered candidates is right, the best first."""
HEAD = HeadJob(id="job-1", url="", logs_url="https://logs.example/12", artifacts=f"{trained.LAKE}/c/s/12")


def stored_sweep(objects: Any, number: int, **changes: Any) -> sweeps.Stored:
    """A sweep whose offered candidates answer as well as ``RIGHT`` says."""
    shares = iter(RIGHT)

    def publish(manifest: Manifest) -> Manifest:
        found = trained.evaluated(TRUTH, trained.guesses(TRUTH, next(shares), number))
        objects.write(manifest.predictions.path, found.predictions)
        digest = hashlib.sha256(found.predictions).hexdigest()
        file = manifest.predictions.model_copy(
            update={"sha256": digest, "bytes": len(found.predictions), "rows": len(TRUTH)}
        )
        return manifest.model_copy(update={"predictions": file, "evaluation": found.evaluation})

    base = trained.evaluated(TRUTH, TRUTH)
    model = trained.store_model(MemoryObjects(), number, base, parameters=PARAMETERS)
    return sweeps.store_sweep(objects, model, publish, {"constraints": ()}, **changes)


class Build:
    """Build 12 with a sweep, where model 11 is live."""

    def __init__(self, agent: Any, storage: Storage, environ: Mapping[str, str]) -> None:
        self.agent, self.storage = agent, storage
        live = trained.evaluated(TRUTH, trained.guesses(TRUTH, 0.7, 1))
        trained.deploy(storage, storage, trained.store_model(storage, 11, live), root=PRODUCTION)
        self.sweep = stored_sweep(storage, 12)
        self.best = self.sweep.manifests[0].request
        own = {"BUILDKITE_ORGANIZATION_SLUG": "local", "BUILDKITE_BUILD_ID": "0190-12"}
        self._environ = {**environ, **own, "BUILDKITE_COMMIT": self.best.build.commit}

    def notify(self, **options: Any) -> None:
        """Run the plugin."""
        fields, noted = self.sweep.result.to_fields(), samples.train_step_meta_data(self.sweep.request)
        self.agent.meta_data = {**self.agent.meta_data, **fields, **noted}
        compared: Any = {"endpoint": "sentiment", "artifacts": PRODUCTION}
        command.run(NotifySettings.from_options({"compare-with": compared, **options}), self._environ)


@pytest.fixture
def build(agent: Any, storage: Storage, environ: Mapping[str, str]) -> Build:
    """A sweep that succeeded."""
    return Build(agent, storage, environ)


def test_the_page_is_about_the_best_candidate(build: Build) -> None:
    """Verdict and report are of the best one, with the others beside it; their test figures are nowhere."""
    build.notify()
    body = build.agent.annotations[-1].body
    assert "Better than the live model sentiment 11" in body
    assert f"<strong>sentiment {build.best.model_id} with model.buckets" in body
    assert "Ranks 1 to 3 were trained again on all training rows, and can be deployed." in body
    prefix = build.best.artifacts
    report = Report.model_validate_json(build.storage.read(f"{prefix}/report.json"))
    assert report.leaderboard == build.sweep.leaderboard
    assert report.manifest == build.sweep.manifests[0]
    assert [point.model_id for point in report.trend] == ["11", build.best.model_id]
    others = [one.evaluation.overall.metrics["macro_f1"] for one in build.sweep.manifests[1:]]
    assert not any(f"{value:.3f}" in body for value in others)


def test_all_offered_candidates_are_pinned(build: Build) -> None:
    """Deploy finds each by its rank, with the hashes of what the page showed."""
    build.notify()
    offer = Offer.model_validate_json(build.agent.meta_data["notify/candidates"])
    assert [(one.model_id, one.manifest_sha256) for one in offer.candidates] == [
        (one.request.model_id, hashlib.sha256(one.to_json().encode()).hexdigest())
        for one in build.sweep.manifests
    ]
    assert "notify/manifest/sha256" not in build.agent.meta_data


def test_a_candidate_that_is_forged_is_refused_on_the_page(build: Build) -> None:
    """What was handed over is not of this build: the page is red and says so, and nothing is pinned."""
    forged = build.sweep.manifests[2]
    request = forged.request.model_copy(update={"parameters": {"model": {"buckets": 1, "ngrams": 1}}})
    content = forged.model_copy(update={"request": request}).to_json().encode()
    build.storage.write(f"{forged.request.artifacts}/manifest.json", content)
    with pytest.raises(VerificationFailed, match=r"is not the one of this build \(parameters\)"):
        build.notify()
    assert build.agent.annotations[-1].style == "error"
    assert "notify/candidates" not in build.agent.meta_data


@pytest.mark.parametrize("on_failure", ["fail", "block"])
@pytest.mark.parametrize("gate", [{"minimum": 0.6}, {"maximum-drop": 0.05}], ids=["minimum", "drop"])
def test_gates_hold_for_each_candidate(build: Build, on_failure: str, gate: dict[str, float]) -> None:
    """A candidate that does not meet a gate is told to deploy, also where the best one meets it."""
    build.notify(gates=[{"metric": "macro_f1", **gate}], **{"on-failure": on_failure})
    second = build.sweep.manifests[1].request.model_id
    found = CandidateGates.model_validate_json(build.agent.meta_data["notify/candidates/gates"])
    assert found == CandidateGates(required=on_failure == "fail", failed={second: "macro-F1"})
    assert build.agent.meta_data["notify/gates/failed"] == "none"
    assert "\u2717</span>&nbsp;macro-F1" in build.agent.annotations[-1].body


def test_a_metric_whose_gates_both_fail_is_named_once(build: Build) -> None:
    """The page, and deploy, name what a candidate does not meet."""
    gates = [{"metric": "macro_f1", "minimum": 0.6}, {"metric": "macro_f1", "maximum-drop": 0.05}]
    build.notify(gates=gates)
    found = CandidateGates.model_validate_json(build.agent.meta_data["notify/candidates/gates"])
    assert set(found.failed.values()) == {"macro-F1"}


def test_gates_of_candidates_are_of_the_rows_that_the_live_model_scored() -> None:
    """What the live model answers to new evaluation rows counts for each candidate, by one job."""
    lake = MemoryObjects()
    sweep = stored_sweep(lake, 12)
    other = trained.evaluated(TRUTH, trained.guesses(TRUTH, 0.7, 1), first=10_000)
    live, _ = models.read_model(trained.store_model(lake, 11, other), lake, sweep.manifests[0])
    succeeded = TrainingResult(status="succeeded")
    offered = tuple(
        Handoff(ModelStore(lake, one.request.artifacts), succeeded, one, b"") for one in sweep.manifests
    )
    best, _ = models.read_model(sweep.manifests[0], lake)
    assert best.predictions is not None
    answers = trained.evaluated(TRUTH, trained.guesses(TRUTH, 0.7, 1)).predictions
    scored = Scored(job="score-1", predictions=predictions.read(answers, "scores"))
    gate: Any = {"metric": "macro_f1", "maximum-drop": 0.05}
    settings = NotifySettings.from_options({**OPTIONS, "gates": [gate]})
    comparison = compare_models("live", best, live, scored)
    found = check_candidates(
        Candidates(sweep.leaderboard, offered),
        gates.check(settings.gates, best.manifest, comparison),
        settings,
        comparison,
        live,
        scored,
        lake,
    )
    second = sweep.manifests[1].request.model_id
    assert found == CandidateGates(required=True, failed={second: "macro-F1"})


def test_a_best_candidate_that_misses_a_gate_fails_the_step(build: Build) -> None:
    """The page is about the best one, and so is the step."""
    with pytest.raises(GateFailed, match="macro-F1"):
        build.notify(gates=[{"metric": "macro_f1", "minimum": 0.99}])


def test_of_an_earlier_sweep_the_best_candidate_is_compared() -> None:
    """Figures on the test rows are for one candidate of a sweep; a sweep without one is passed over."""
    lake = MemoryObjects()
    first, second = stored_sweep(lake, 7), stored_sweep(lake, 8)
    trained.store_model(lake, 5, trained.evaluated(TRUTH, TRUTH), parameters=PARAMETERS)
    root = first.request.artifacts.rsplit("/", 2)[0]
    own = second.manifests[0].request
    found, problems = models.find_earlier(PipelineStore(lake, root), own.model, own.model_id)
    ids = [one.manifest.request.model_id for one in found]
    assert ids == [first.manifests[0].request.model_id, "5"]
    lake.delete(f"{first.request.artifacts}/leaderboard.json")
    found, problems = models.find_earlier(PipelineStore(lake, root), own.model, own.model_id)
    assert [one.manifest.request.model_id for one in found] == ["5"]
    assert problems == ()


def test_of_an_earlier_sweep_the_candidate_that_was_deployed_is_in_the_trend() -> None:
    """It is marked there, although another candidate of the sweep is better on the validation rows."""
    lake = MemoryObjects()
    first, second = stored_sweep(lake, 7), stored_sweep(lake, 8)
    chosen, own = first.manifests[2], second.manifests[0]
    trained.deploy(lake, lake, chosen)
    root = first.request.artifacts.rsplit("/", 2)[0]
    earlier, _ = models.find_earlier(PipelineStore(lake, root), own.request.model, own.request.model_id)
    points = models.trend(earlier, own)
    assert [(point.model_id, point.deployed) for point in points] == [
        (chosen.request.model_id, True),
        (own.request.model_id, False),
    ]


def failed_leaderboard() -> Leaderboard:
    """How the candidates of a sweep ended of which none can be offered."""
    base = trained.request_of(12, parameters=PARAMETERS)
    request: TrainingRequest = sweeps.request_of(base, candidates=12)
    return sweeps.leaderboard(
        request,
        offered=0,
        failures=(*["step train failed: <b>CUDA</b> out of memory"] * 3, "no rows", "a\n\nb"),
    )


def test_a_failed_sweep_is_what_the_golden_file_shows(
    environ: Mapping[str, str], golden: Callable[[str, str], None]
) -> None:
    """The page says how many candidates failed, and why."""
    result = TrainingResult(status="failed", reason="none of 12 candidates can be offered")
    golden("failed-sweep.md", page.failed(result, HEAD, job.read(environ), None, failed_leaderboard()))


def test_a_failed_sweep_says_how_its_candidates_ended(
    agent: Any, storage: Storage, environ: Mapping[str, str]
) -> None:
    """The leaderboard is read where the train step noted; one that cannot be read costs no page."""
    request = sweeps.request_of(trained.request_of(12, parameters=PARAMETERS))
    SweepStore(storage, request.artifacts).write_leaderboard(failed_leaderboard(), b"")
    result = TrainingResult(status="failed", reason="none can be offered")
    agent.meta_data = {**result.to_fields(), **samples.train_step_meta_data(request)}
    with pytest.raises(TrainingFailed, match="none can be offered"):
        command.run(NotifySettings(), environ)
    assert "12 candidates: 7 have a rank, 5 failed." in agent.annotations[-1].body
    storage.write(f"{request.artifacts}/leaderboard.json", json.dumps({}).encode())
    with pytest.raises(TrainingFailed, match="none can be offered"):
        command.run(NotifySettings(), environ)
    assert "none can be offered" in agent.annotations[-1].body
