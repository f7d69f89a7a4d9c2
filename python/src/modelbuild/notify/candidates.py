"""Checks the gates for each candidate of a sweep that can be deployed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from modelbuild.comparison.models import Model, Scored, compare_models
from modelbuild.contract import CandidateGates, Manifest
from modelbuild.contract.report import Comparison, GateResult
from modelbuild.handoff.candidates import Candidates
from modelbuild.notify import gates, models
from modelbuild.settings.notify import NotifySettings
from modelbuild.store.objects import Objects

_THREADS = 2
"""Each reads and compares the predictions of a model, which takes memory."""
_CHARACTERS = 500


def check_candidates(
    candidates: Candidates,
    best: Sequence[GateResult],
    settings: NotifySettings,
    live_comparison: Comparison | None,
    live: Model | None,
    scored: Scored | None,
    lake: Objects,
) -> CandidateGates:
    """The gates that candidates do not meet, so that none is deployed unchecked.

    Args:
        candidates: those that can be deployed.
        best: the results for the best one.
        settings: the options of the step.
        live_comparison: the comparison of the best one with the live model; None if no model is live.
        live: the live model; None if it cannot be read.
        scored: what the live model answers to the evaluation rows of the best one; None if not asked.
        lake: S3 of the account that trains.
    """
    rows = candidates.best.manifest.evaluation.dataset_sha256
    compares = any(gate.maximum_drop is not None for gate in settings.gates)

    def check(manifest: Manifest) -> Sequence[GateResult]:
        comparison = live_comparison
        if live is not None and compares:
            same = manifest.evaluation.dataset_sha256 == rows
            ours, _ = models.read_model(manifest, lake)
            comparison = compare_models("live", ours, live, scored if same else None)
        return gates.check(settings.gates, manifest, comparison)

    with ThreadPoolExecutor(_THREADS) as threads:
        others = list(threads.map(lambda one: check(one.manifest), candidates.offered[1:]))
    failed = {}
    for one, results in zip(candidates.offered, [best, *others], strict=True):
        titles = ", ".join(dict.fromkeys(result.title for result in results if not result.passed))
        if titles:
            failed[one.manifest.request.model_id] = titles[:_CHARACTERS]
    return CandidateGates(required=settings.on_failure == "fail", failed=failed)
