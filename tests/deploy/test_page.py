from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from memory import MemoryObjects
from modelbuild.contract import Approver, Deployment, Manifest, TrainingResult
from modelbuild.deploy import page
from modelbuild.handoff.manifest import Handoff
from modelbuild.settings.deploy import DeploySettings
from modelbuild.store.model import ModelStore

DATA = Path(__file__).parents[1] / "data" / "model-12"
DEPLOYMENT = Deployment.model_validate_json((DATA / "deployment.json").read_bytes())
GIVEN = Handoff(
    ModelStore(MemoryObjects(), "s3://modelbuild-123456789012/models/comments/sentiment/12"),
    TrainingResult.model_validate_json((DATA / "result.json").read_bytes()),
    Manifest.model_validate_json((DATA / "manifest.json").read_bytes()),
    (DATA / "manifest.json").read_bytes(),
)
SETTINGS = DeploySettings(
    endpoint="sentiment",
    artifacts="s3://modelbuild-222222222222/models",
    role="arn:aws:iam::222222222222:role/modelbuild-sagemaker",
)
HOSTILE = st.one_of(
    st.text(),
    st.text(alphabet="<>&\"'`[]()!#*_-|\n\r\t :.ahps"),
    st.lists(
        st.sampled_from(
            ["\n\n", "</code></pre>", "</td></table></details>", "<img src=x>", "[a](https://b)", "# A"]
        )
    ).map("".join),
)


def tags(body: str) -> list[str]:
    """The tags that a build page shows, in order; it must not read any of the body as Markdown."""
    found: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.append(" ".join([tag, *(name for name, _ in attrs)]))

        def handle_endtag(self, tag: str) -> None:
            found.append("/" + tag)

    assert MarkdownIt("commonmark", {"html": True}).enable("table").render(body) == body
    Parser().feed(body)
    return found


def served(deployment: Deployment) -> str:
    """The annotation of a deployment in us-east-1."""
    return page.succeeded(GIVEN, deployment, SETTINGS, "us-east-1")


def test_a_deployment_is_what_the_golden_file_shows(golden: Callable[[str, str], None]) -> None:
    """What serves, who approved it, and what it replaced."""
    golden("succeeded.md", served(DEPLOYMENT))


def test_first_deployment_without_approver_matches_the_golden_file(
    golden: Callable[[str, str], None],
) -> None:
    """Nothing before it and no approver are said, not left blank."""
    first = DEPLOYMENT.model_copy(
        update={"previous_endpoint_config": "", "approver": Approver(name="", email="")}
    )
    golden("first.md", served(first))


def test_a_failure_is_what_the_golden_file_shows(golden: Callable[[str, str], None]) -> None:
    """The reason and where to look."""
    golden("failed.md", page.failed(GIVEN, "sentiment", "endpoint sentiment is Failed (no /ping)"))


@given(HOSTILE)
def test_no_value_becomes_markup(value: str) -> None:
    """A person's name and a server's message are text, whatever is in them."""
    approver = Approver(name="n" + value, email="e" + value)
    hostile = DEPLOYMENT.model_copy(update={"approver": approver, "image": value})
    assert tags(served(hostile)) == tags(served(DEPLOYMENT))
    assert tags(page.failed(GIVEN, value, value)) == tags(page.failed(GIVEN, "sentiment", "no"))
