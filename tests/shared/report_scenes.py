"""The reports whose annotations are golden files, by their names."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import report_manifests
import report_parts
import reports
import sweeps
from modelbuild.contract import CandidateGates, Quality, Report, Sweep
from modelbuild.contract.report import Change, Comparison, Example, Examples
from report_manifests import changed
from reports import judged, report_beside_live
from text_places import replaced

HOSTILE = (
    "</td></tr></table></details><script>alert(1)</script>\r\n \r\n# Approved [click](https://evil.example) "
    "<img src=x onerror=alert(1)> $\\frac{1}{0}$ {{ 7 * 7 }} ```term\n \u202e\ud800\x1b[31m|"
)


def first() -> Report:
    """The first model ever."""
    return reports.first_report()


def better() -> Report:
    """A model to deploy."""
    return report_beside_live(0.018)


def worse() -> Report:
    """A model not to deploy."""
    return report_beside_live(-0.021)


def no_difference() -> Report:
    """A model that the rows cannot tell from live."""
    return report_beside_live(0.002)


def not_comparable() -> Report:
    """A model that was evaluated on other rows than live."""
    report = report_beside_live(0.01)
    reason = "they have no evaluation row in common"
    live = Comparison(role="live", name="sentiment 6", model_id="6", reason=reason, primary="macro_f1")
    return judged(changed(report, comparisons=(live, *report.comparisons[1:])))


def beside_scored_live(**changes: Any) -> Report:
    """A better model, compared with live on other rows than those of both."""
    report = better()
    live = changed(report.comparisons[0], **changes)
    return judged(changed(report, comparisons=(live, *report.comparisons[1:])))


def scored() -> Report:
    """A model whose evaluation rows the live model has scored."""
    job = "score-comments-sentiment-6-0f3c1a2b4d5e"
    return beside_scored_live(reason=f"on all 2,345 rows, which job {job} scored with the live model")


def not_scored() -> Report:
    """A model some of whose evaluation rows the live model could not score."""
    return beside_scored_live(
        reason="on the 2,100 of 2,345 rows that it was evaluated on as well",
        rows=2_100,
        unscored="the model does not take row 7, which has no field 'area'; send the fields area, rooms",
    )


def gates_failed() -> Report:
    """A model that is better and still fails two gates."""
    return report_beside_live(0.018, gates=report_parts.gates(failed=True))


def wandb_unavailable() -> Report:
    """A model whose run is not in W&B."""
    about = report_manifests.model_manifest()
    about = changed(about, wandb=changed(about.wandb, url=""))
    unavailable = ("the best experimental run: W&B did not answer within 10 s",)
    report = report_beside_live(0.018, about, unavailable=unavailable)
    kept = tuple(one for one in report.comparisons if one.role != "experiment")
    return changed(report, comparisons=kept)  # type: ignore[no-any-return]


def three_megabytes() -> Report:
    """More of everything than an annotation holds."""
    report = better()
    long = "&\u20ac" * 250_000
    quality = report.manifest.evaluation.overall
    values = {f"{number:03}{long[:500]}": quality for number in range(100)}
    slices = {f"{number:02}{long[:500]}": values for number in range(20)}
    about = changed(
        report.manifest,
        request=changed(report.manifest.request, parameters={"text": long}, flow=long[:5000], origins={}),
        evaluation=changed(report.manifest.evaluation, slices=slices),
        data=changed(report.manifest.data, source=long),
        runtime=changed(report.manifest.runtime, packages=dict.fromkeys(values, long[:500])),
    )
    changes = tuple(Change(name=long[:2000], before=long[:2000], after=long[:2000]) for _ in range(60))
    mistakes = tuple(
        Example(id=str(number), input=long[:5000], truth=long[:500], prediction=long[:500], score=0.9)
        for number in range(100)
    )
    return changed(  # type: ignore[no-any-return]
        report,
        manifest=about,
        changes=changed(report.changes, parameters=changes, data=changes, packages=changes),
        examples=Examples(mistakes=mistakes, differences=mistakes),
        warnings=(long[:2000],) * 100,
    )


def hostile() -> Report:
    """Text from outside that would be markup."""
    return everywhere(HOSTILE)


def everywhere(*texts: str) -> Report:
    """A report that has these texts, one after the other, in every place that takes text.

    A number before each text keeps the order of what is sorted by name.
    """
    places = count()

    def next_text(_: str) -> str:
        place = next(places)
        return f"{place:04} {texts[place % len(texts)]}"

    report = beside_candidates(6, better(), offered=2, noise=1, failures=("a",), unfit=("b",))
    request = changed(report.manifest.request, parameters={"note": "a", "name": "b"})
    report = replaced(changed(report, manifest=changed(report.manifest, request=request)), next_text)
    request = report.manifest.request
    origins = dict.fromkeys(request.parameters, "build")
    request = changed(request, origins=origins)
    return changed(report, manifest=changed(report.manifest, request=request))  # type: ignore[no-any-return]


def non_latin() -> Report:
    """Names and texts of several scripts."""
    labels = ("負面的評論", "محايد", "позитивный", "हिन्दी", "บวก", "👍🏽 gut")
    report = report_beside_live(0.018, report_manifests.classes_manifest(labels))
    mistakes = (
        Example(id="1", input="這部電影一點也不差", truth="позитивный", prediction="負面的評論", score=0.97),
        Example(id="2", input="لا بأس به على الإطلاق", truth="محايد", prediction="👍🏽 gut", score=0.91),
    )
    return changed(  # type: ignore[no-any-return]
        report,
        confusion=report_parts.confusion(labels, rows=1_200),
        examples=Examples(mistakes=mistakes),
    )


def private_data() -> Report:
    """A model whose pipeline hides examples."""
    return changed(better(), examples=None)  # type: ignore[no-any-return]


def class_missing() -> Report:
    """The evaluation rows have no row of a class that live knows, and live knows a class less."""
    report = better()
    live = report.comparisons[0]
    classes = dict(live.slices["class"])
    del classes["positive"]
    classes["sarcastic"] = changed(classes.pop("neutral"), value=0.0)
    live = changed(
        live, slices={**live.slices, "class": classes}, rows=2_100, reason="rows that both models know"
    )
    evaluation = report.manifest.evaluation
    values = {**evaluation.slices["class"], "positive": Quality(rows=0, metrics={})}
    about = changed(
        report.manifest, evaluation=changed(evaluation, slices={**evaluation.slices, "class": values})
    )
    return judged(changed(report, manifest=about, comparisons=(live, *report.comparisons[1:])))


def hundred_classes() -> Report:
    """A classifier of a hundred labels."""
    labels = [f"topic {number:03}" for number in range(100)]
    report = report_beside_live(0.018, report_manifests.classes_manifest(labels))
    return changed(report, confusion=report_parts.confusion(labels, rows=20_000))  # type: ignore[no-any-return]


def regression() -> Report:
    """A model that predicts numbers; a lower metric is the better one."""
    about = report_manifests.regression_manifest()
    report = report_beside_live(0.019, about)
    mistakes = (Example(id="7", input={"region": "north", "day": 3}, truth=120_000.0, prediction=61_000.5),)
    return changed(  # type: ignore[no-any-return]
        report, confusion=None, calibration=(), trend=(), examples=Examples(mistakes=mistakes)
    )


def sweep() -> Report:
    """The best of 40 candidates, of which some are within noise of it."""
    return beside_candidates(40, better())


def sweep_with_failures() -> Report:
    """Candidates failed, were stopped, miss a constraint or a gate, or have a parameter that others lack."""
    report = beside_candidates(
        60,
        gates_failed(),
        space={
            "model.buckets": {"minimum": 1024, "maximum": 65536, "scale": "log"},
            "model.ngrams": [1, 2, 3],
            "training.loss": ["softmax", "hinge"],
            "training.margin": {"minimum": 0.1, "maximum": 2.0, "when": {"training.loss": "hinge"}},
            "training.shuffle": [True, False],
            "training.batch": {"minimum": 16, "maximum": 256},
        },
        offered=10,
        noise=0,
        failures=(*["step train failed: CUDA out of memory"] * 4, "the loss is not a number"),
        unfit=[f"model_bytes is {size:,}, above 900,000" for size in range(901_000, 907_000, 1_000)],
        stopped=["rung 1: worse than two thirds"] * 12,
    )
    assert report.leaderboard is not None
    failed = {row.model_id: "macro-F1 of domain tweets" for row in report.leaderboard.offered[::2]}
    return changed(report, candidate_gates=CandidateGates(required=False, failed=failed))  # type: ignore[no-any-return]


def sweep_hostile() -> Report:
    """Parameters whose names and values would be markup, or are very long."""
    return beside_candidates(
        12,
        better(),
        method="grid",
        candidates=None,
        constraints=[],
        space={
            f"model.{HOSTILE[:150]}": [HOSTILE, "x" * 5_000, None, {"a": [HOSTILE]}],
            "model.</table>": [1, "1", True],
        },
        failures=(HOSTILE,),
    )


def beside_candidates(count: int, report: Report, **changes: Any) -> Report:
    """A report on the best of some candidates; ``changes`` are of the sweep, or of its leaderboard."""
    of_sweep = Sweep.model_fields.keys() - {"offered"}
    asked = {name: changes.pop(name) for name in [*changes] if name in of_sweep}
    request = sweeps.request_of(report.manifest.request, **{"candidates": count, **asked})
    board = sweeps.leaderboard(request, **changes)
    best = board.rows[0]
    number = int(best.model_id.partition(".")[2])
    parameters = {**request.parameters, **best.values}
    own = changed(request, parameters=parameters).candidate(number, best.values)
    manifest = changed(report.manifest, request=own)
    return changed(report, manifest=manifest, leaderboard=board)  # type: ignore[no-any-return]


SCENES: dict[str, Callable[[], Report]] = {
    scene.__name__.replace("_", "-"): scene
    for scene in (
        first,
        better,
        worse,
        no_difference,
        not_comparable,
        scored,
        not_scored,
        gates_failed,
        wandb_unavailable,
        three_megabytes,
        hostile,
        non_latin,
        private_data,
        class_missing,
        hundred_classes,
        regression,
        sweep,
        sweep_with_failures,
        sweep_hostile,
    )
}
