"""Text from outside, in every place that takes text, is shown as that text and as nothing else."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import reports
from modelbuild.annotation import plain
from modelbuild.contract import Report
from modelbuild.formats import agent_yaml
from modelbuild.report.annotation import render_annotation
from modelbuild.report.build import DOCUMENT_FILE, RECORD_FILE
from modelbuild.report.document import render_document
from modelbuild.report.pictures import expected_pictures
from modelbuild_local.buildkite.pages.markdown import to_html
from page_structure import Structure
from report_scenes import everywhere
from text_fragments import HOSTILE

# Each example has a text for each place, so that there are more than 10,000 texts.
EXAMPLES, PLACES = 55, 190

ALL_PICTURES = (
    *("candidates.svg", "classes.svg", "trend.svg"),
    *("confusion.svg", "calibration.svg", "curve.svg"),
)
FILES = (*ALL_PICTURES, DOCUMENT_FILE, RECORD_FILE)
SHORT = HOSTILE.map(lambda text: text[:60])


def annotation(report: Report) -> Structure:
    """What a build page shows of the annotation."""
    body = render_annotation(report, reports.JOB, FILES)
    assert "\n\n" not in body
    return Structure(to_html(body, dict.fromkeys(re.findall(r'artifact://([^"]+)', body), "/file")))


def document(report: Report) -> Structure:
    """What a browser shows of the document."""
    return Structure(render_document(report, reports.JOB, {}))


def parameters(report: Report) -> str:
    """The parameters as pages show them: YAML quotes some texts."""
    return plain(agent_yaml.dump(report.manifest.request.parameters, allow_unicode=True).rstrip(), 20_000)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    # So many texts take minutes to be made shorter.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(texts=st.lists(SHORT, min_size=PLACES, max_size=PLACES))
def test_every_text_is_shown_as_itself(texts: list[str]) -> None:
    """A page with hostile texts has the tags of one with harmless ones, and each text where its like was."""
    hostile = everywhere(*texts)
    tokens = [f"harmless-{place}-text" for place in range(len(texts))]
    harmless = everywhere(*tokens)
    for page in (annotation, document):
        expected, found = page(harmless), page(hostile)
        assert found.tags == expected.tags
        assert found.links == expected.links
        wanted = expected.text.replace(parameters(harmless), parameters(hostile))
        for place in reversed(range(len(texts))):
            wanted = wanted.replace(tokens[place], plain(texts[place], 1_000))
        assert found.text == wanted


def test_the_test_reaches_every_place() -> None:
    """There are as many places as the test has texts, and the pages show most of them."""
    report = everywhere(*[f"harmless-{place}-text" for place in range(2_000)])
    given_texts = set(re.findall(r"harmless-\d+-text", report.model_dump_json()))
    shown = set(re.findall(r"harmless-\d+-text", document(report).text))
    assert len(given_texts) >= PLACES
    assert len(shown) >= 0.8 * len(given_texts), sorted(given_texts - shown)


@settings(max_examples=50, deadline=None)
@given(value=HOSTILE)
def test_only_a_web_address_is_a_link(value: str) -> None:
    """No address from outside leads to a script, and none is loaded as a picture."""
    report = everywhere("x")
    live = report.live.model_copy(update={"build_url": f"javascript:{value}"}) if report.live else None
    wandb = report.manifest.wandb.model_copy(update={"url": value})
    comparisons = tuple(one.model_copy(update={"url": "http://" + value}) for one in report.comparisons)
    report = report.model_copy(
        update={
            "live": live,
            "comparisons": comparisons,
            "commit_url": f"data:text/html,{value}",
            "manifest": report.manifest.model_copy(update={"wandb": wandb}),
        }
    )
    shown = annotation(report)
    assert all(link.startswith(("https://", "http://", "/file")) for link in shown.links)
    assert set(shown.sources) == {"/file"}


def test_no_picture_is_forgotten() -> None:
    """The pictures of the report in these tests are those that they say are there."""
    assert {picture.file for picture in expected_pictures(everywhere("x"))} <= set(ALL_PICTURES)
