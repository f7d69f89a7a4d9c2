"""The annotation: what it says of each kind of model, and what Buildkite takes."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from markdown_it import MarkdownIt

import reports
from modelbuild.annotation import LIMIT_BYTES
from modelbuild.contract import Report
from modelbuild.report.annotation import render_annotation
from modelbuild.report.build import DOCUMENT_FILE, RECORD_FILE
from modelbuild.report.pictures import expected_pictures
from modelbuild_local.buildkite.pages.markdown import to_html
from page_structure import Structure
from report_manifests import changed
from report_scenes import SCENES

LONG = re.compile(r"(?:&amp;\u20ac){20,}(?:&amp;)?|(?:&\u20ac){20,}&?")


def annotation(report: Report) -> str:
    """The annotation with all files of the report."""
    pictures = [picture.file for picture in expected_pictures(report)]
    return render_annotation(report, reports.JOB, [*pictures, DOCUMENT_FILE, RECORD_FILE])


def cleaned(body: str) -> Structure:
    """What a build page shows of an annotation."""
    files = dict.fromkeys(re.findall(r'artifact://([^"]+)', body), "/file")
    return Structure(to_html(body, files))


@pytest.mark.parametrize("scene", SCENES)
def test_annotation_is_what_the_golden_file_shows(scene: str, golden: Callable[[str, str], None]) -> None:
    """Everything needed to decide is on the page, and no change of it goes unseen."""
    golden(f"{scene}.md", LONG.sub("[long]", annotation(SCENES[scene]())))


@pytest.mark.parametrize("scene", SCENES)
def test_buildkite_takes_the_annotation(scene: str) -> None:
    """It has at most one MiB and 10 artifacts, no part is read as Markdown, and nothing is cleaned away."""
    body = annotation(SCENES[scene]())
    assert len(body.encode()) <= LIMIT_BYTES
    assert "\n\n" not in body
    assert MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(body) == body
    assert body.count("artifact://") <= 10
    written, shown = Structure(body), cleaned(body)
    assert shown.classes == written.classes
    # A cleaned page has the bodies of its tables in a tag of their own, and links that pass on no referrer.
    kept = [tag for tag in shown.tags if tag[0] not in ("tbody", "/tbody")]
    assert [(tag, [name for name in names if name != "rel"]) for tag, names in kept] == [
        (tag, list(names)) for tag, names in written.tags
    ]


@pytest.mark.parametrize("scene", sorted(SCENES.keys() - {"wandb-unavailable"}))
def test_the_verdict_comes_first_and_the_first_link_is_of_wandb(scene: str) -> None:
    """Verdict, model id and W&B run are what a person reads before everything else."""
    report = SCENES[scene]()
    shown = cleaned(annotation(report))
    assert shown.links[0] == report.manifest.wandb.url
    wandb = shown.text.index("W&B run")
    assert shown.text.index(f"{report.model} {report.manifest.request.model_id}") < wandb


def test_builds_of_one_commit_are_told_apart() -> None:
    """The title names the parameters that the build itself set, and no more than three of them."""
    report = SCENES["better"]()
    assert "sentiment 12 with training.learning_rate 0.1 ·" in cleaned(annotation(report)).text
    request = changed(
        report.manifest.request,
        parameters={"a": 1, "b": {"c": True, "d": "x"}, "e": [1, "\u8ca0"], "f": None},
        origins={"a": "build", "b.c": "build", "b.d": "plugin", "e": "build", "f": "build"},
    )
    report = changed(report, manifest=changed(report.manifest, request=request))
    assert 'sentiment 12 with a 1, b.c true, e [1, "\u8ca0"] and 1 more ·' in cleaned(annotation(report)).text


def test_a_run_that_wandb_does_not_have_is_no_link() -> None:
    """A run that W&B does not have is named, and so is what could not be read."""
    text = cleaned(annotation(SCENES["wandb-unavailable"]())).text
    assert "W&B run comments-12 (not in W&B)" in text
    assert "Not on this page: the best experimental run: W&B did not answer within 10 s" in text


def test_failed_gates_are_at_the_top_and_first_in_their_table() -> None:
    """A gate that failed comes first."""
    text = cleaned(annotation(SCENES["gates-failed"]())).text
    assert text.index("Not met: the gate for") < text.index("W&B run")
    assert text.rindex("macro-F1 of domain tweets") < text.rindex("size of model.tar.gz")
    assert text.count("\u2717 failed") == 2
    assert text.count("\u2713 passed") == 1


def test_what_is_too_large_is_left_out_by_importance_and_named() -> None:
    """Of three megabytes the page has what matters most, and says which parts the whole report has."""
    report = SCENES["three-megabytes"]()
    assert len(report.model_dump_json().encode()) > 3_000_000
    text = cleaned(annotation(report)).text
    assert report.verdict.sentence in text
    assert "Beside other models" in text
    assert "worst first" in text
    assert "These parts are in the whole report only: examples." in text


def test_a_verdict_of_any_size_fits() -> None:
    """The most important parts are never too large, whatever texts are in them."""
    long = "&\u20ac" * 100_000
    report = changed(
        SCENES["better"](),
        verdict=changed(SCENES["better"]().verdict, sentence=long, details=(long,) * 100),
        comparisons=tuple(
            changed(comparison, name=long, reason=long) for comparison in SCENES["better"]().comparisons * 100
        ),
    )
    body = annotation(report)
    assert len(body.encode()) <= LIMIT_BYTES
    assert "Beside other models" in body


def test_rows_that_do_not_fit_are_counted() -> None:
    """Of a hundred classes ten are open, forty folded, and the rest is counted."""
    text = cleaned(annotation(SCENES["hundred-classes"]())).text
    assert "40 more rows" in text
    assert "50 more rows are in the whole report." in text


def test_a_picture_that_is_missing_is_said() -> None:
    """The page does not show a broken picture, nor a link to a file that is no artifact."""
    report = SCENES["better"]()
    body = render_annotation(report, reports.JOB, ["classes.svg"])
    assert cleaned(body).sources == ["/file"]
    assert "Training curve is not here; the log of the notify step says why." in body
    assert "Whole report" not in body
    assert "report.json" not in body


def test_two_models_of_a_build_share_no_artifact() -> None:
    """The names of a report's files have the model's name and id."""
    assert "artifact://report/sentiment-12/classes.svg" in annotation(SCENES["better"]())
