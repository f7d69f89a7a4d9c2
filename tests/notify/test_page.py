from __future__ import annotations

from collections.abc import Callable, Mapping
from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import samples
from modelbuild.annotation import commit_url
from modelbuild.buildkite import job
from modelbuild.contract import TrainingResult
from modelbuild.notify import page
from modelbuild.report.head_job import HeadJob

JOB = HeadJob(
    id="job-1",
    url="https://us-east-1.console.aws.amazon.com/batch/home?region=us-east-1#jobs/detail/job-1",
    logs_url="https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#logsV2:log-groups",
    artifacts="s3://modelbuild-123456789012/models/comments/sentiment/12",
)

HOSTILE = st.one_of(
    st.text(),
    st.text(alphabet="<>&\"'`[]()!#*_-=|\\/\n\r\t :.ahps\u2028\x85\x0b\x00"),
    st.lists(
        st.sampled_from(
            [
                "\n\n",
                "\r\n \r\n",
                "\r\r",
                "</code></pre>",
                "</td></tr></table></details>",
                "<script>alert(1)</script>",
                "<img src=x onerror=alert(1)>",
                '"><a href="https://evil.example">',
                "[click](https://evil.example)",
                "![](https://evil.example/x.png)",
                "# Approved",
                "```term\n",
                "javascript:alert(1)",
                "{{ 7 * 7 }}",
                "\u202e",
                "\ud800",
            ]
        )
    ).map("".join),
)


class Structure(HTMLParser):
    """The tags of a page with what their attributes are, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag, and where it leads."""
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [value or "" for name, value in attrs if name == "href"]

    def handle_endtag(self, tag: str) -> None:
        """Note the end of a tag."""
        self.tags.append((f"/{tag}", ()))

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text += data


def shown(body: str) -> str:
    """The annotation as a build page has it before it is cleaned: Markdown that may hold HTML."""
    return str(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(body))


def test_a_failure_is_what_the_golden_file_shows(
    environ: Mapping[str, str], golden: Callable[[str, str], None]
) -> None:
    """The reason and the way to the log come first."""
    result = TrainingResult(status="failed", reason="ValueError: no rows\nin step train of flow.py")
    golden("failed.md", page.failed(result, JOB, job.read(environ)))


def test_a_cancellation_without_records_is_what_the_golden_file_shows(
    golden: Callable[[str, str], None],
) -> None:
    """What the train step never recorded is missing from the page, not broken on it."""
    nothing = HeadJob(id="", url="", logs_url="", artifacts="")
    golden(
        "cancelled.md", page.failed(TrainingResult(status="cancelled"), nothing, samples.job_environment())
    )


@settings(max_examples=100, deadline=None)
@given(value=HOSTILE)
def test_no_value_of_a_failure_becomes_markup(value: str) -> None:
    """A reason may hold any text, also one of the training data."""

    def made(value: str) -> str:
        names = ("BUILDKITE_BUILD_NUMBER", "BUILDKITE_PIPELINE_SLUG", "BUILDKITE_COMMIT")
        here = samples.job_environment(**dict.fromkeys(names, f"v{value}"))
        head = HeadJob(id="j" + value, url=JOB.url, logs_url=JOB.logs_url, artifacts="s" + value)
        return page.failed(TrainingResult(status="failed", reason="r" + value), head, here)

    assert shown(made(value)) == made(value), "a part of it was read as Markdown"
    assert Structure(shown(made(value))).tags == Structure(made("harmless")).tags


@settings(max_examples=100, deadline=None)
@given(value=HOSTILE)
def test_only_a_web_address_is_a_link(value: str) -> None:
    """No address from outside leads to a script, whatever surrounds it."""
    head = HeadJob(id="", url=value, logs_url=f"javascript:{value}", artifacts="")
    result = TrainingResult(status="failed", wandb_run_url="http://" + value)
    structure = Structure(shown(page.failed(result, head, samples.job_environment())))
    assert all(link.startswith(("https://", "http://")) for link in structure.links)
    assert set(structure.tags) <= set(Structure(page.failed(result, JOB, samples.job_environment())).tags) | {
        ("a", ("href",)),
        ("/a", ()),
    }


def test_commit_is_linked_on_github_and_gitlab() -> None:
    """GitHub and GitLab by SSH or HTTPS; never with the credentials that a repository's address may hold."""
    page_of = "https://github.com/acme/comments/commit/abc"
    for repository in (
        "git@github.com:acme/comments.git",
        "ssh://git@github.com/acme/comments.git",
        "https://github.com/acme/comments",
        "https://user:secret@github.com/acme/comments.git",
    ):
        assert commit_url(repository, "abc") == page_of
    assert commit_url("https://gitlab.com/a/b/c.git", "abc") == "https://gitlab.com/a/b/c/commit/abc"
    for repository in ("", "/srv/comments.git", "https://evil.example/github.com/acme/comments"):
        assert commit_url(repository, "abc") == ""
