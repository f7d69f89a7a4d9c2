"""The reports whose annotations are golden files, by their names."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import reports
from modelbuild.contract import Quality, Report
from modelbuild.contract.report import Change, Comparison, Example, Examples
from reports import changed, judged, report_beside_live
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


def gates_failed() -> Report:
    """A model that is better and still fails two gates."""
    return report_beside_live(0.018, gates=reports.gates(failed=True))


def wandb_unavailable() -> Report:
    """A model whose run is not in W&B."""
    about = reports.model_manifest()
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

    report = better()
    request = changed(report.manifest.request, parameters={"note": "a", "name": "b"})
    report = replaced(changed(report, manifest=changed(report.manifest, request=request)), next_text)
    request = report.manifest.request
    origins = dict.fromkeys(request.parameters, "build")
    request = changed(request, origins=origins)
    return changed(report, manifest=changed(report.manifest, request=request))  # type: ignore[no-any-return]


def non_latin() -> Report:
    """Names and texts of several scripts."""
    labels = ("負面的評論", "محايد", "позитивный", "हिन्दी", "บวก", "👍🏽 gut")
    report = report_beside_live(0.018, reports.classes_manifest(labels))
    mistakes = (
        Example(id="1", input="這部電影一點也不差", truth="позитивный", prediction="負面的評論", score=0.97),
        Example(id="2", input="لا بأس به على الإطلاق", truth="محايد", prediction="👍🏽 gut", score=0.91),
    )
    return changed(  # type: ignore[no-any-return]
        report,
        confusion=reports.confusion(labels, rows=1_200),
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
    report = report_beside_live(0.018, reports.classes_manifest(labels))
    return changed(report, confusion=reports.confusion(labels, rows=20_000))  # type: ignore[no-any-return]


def regression() -> Report:
    """A model that predicts numbers; a lower metric is the better one."""
    about = reports.regression_manifest()
    report = report_beside_live(0.019, about)
    mistakes = (Example(id="7", input={"region": "north", "day": 3}, truth=120_000.0, prediction=61_000.5),)
    return changed(  # type: ignore[no-any-return]
        report, confusion=None, calibration=(), trend=(), examples=Examples(mistakes=mistakes)
    )


SCENES: dict[str, Callable[[], Report]] = {
    scene.__name__.replace("_", "-"): scene
    for scene in (
        first,
        better,
        worse,
        no_difference,
        not_comparable,
        gates_failed,
        wandb_unavailable,
        three_megabytes,
        hostile,
        non_latin,
        private_data,
        class_missing,
        hundred_classes,
        regression,
    )
}
