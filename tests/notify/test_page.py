from __future__ import annotations

from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import samples
from memory import MemoryObjects
from modelbuild.annotation import LIMIT_BYTES, commit_url
from modelbuild.buildkite import job
from modelbuild.contract import Manifest, Quality, TrainingResult
from modelbuild.handoff import Handoff
from modelbuild.notify import page
from modelbuild.store.model import ModelStore

JOB = page.HeadJob(
    id="job-1",
    url="https://us-east-1.console.aws.amazon.com/batch/home?region=us-east-1#jobs/detail/job-1",
    logs_url="https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#logsV2:log-groups",
    artifacts="s3://modelbuild-123456789012/models/comments/sentiment/12",
)

STORE = ModelStore(MemoryObjects(), JOB.artifacts)

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


def handoff_of(manifest: Manifest, result: TrainingResult) -> Handoff:
    """The two with the manifest's bytes."""
    return Handoff(STORE, result, manifest, manifest.to_json().encode())


def changed(record: Any, **values: object) -> Any:
    """A copy with values that the fields' types would not admit."""
    return record.model_copy(update=values)


def test_a_success_is_what_the_golden_file_shows(
    manifest: Manifest,
    result: TrainingResult,
    environ: Mapping[str, str],
    golden: Callable[[str, str], None],
) -> None:
    """Everything needed to decide is on the page, and nobody changes it unawares."""
    golden("succeeded.md", page.succeeded(handoff_of(manifest, result), JOB, job.read(environ)))


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
    nothing = page.HeadJob(id="", url="", logs_url="", artifacts="")
    golden(
        "cancelled.md", page.failed(TrainingResult(status="cancelled"), nothing, samples.job_environment())
    )


def test_the_first_link_leads_to_wandb(
    manifest: Manifest, result: TrainingResult, environ: Mapping[str, str]
) -> None:
    """The W&B run comes before everything else."""
    made = page.succeeded(handoff_of(manifest, result), JOB, job.read(environ))
    assert Structure(made).links[0] == result.wandb_run_url


def test_the_worst_figures_are_shown_first(
    manifest: Manifest, result: TrainingResult, environ: Mapping[str, str]
) -> None:
    """Of more sources than fit, the ones left out are better than those shown."""
    many = {f"source-{n:03}": Quality(rows=1, metrics={"macro_f1": n / 1000}) for n in range(page.ROWS + 7)}
    crowded = changed(manifest, evaluation=changed(manifest.evaluation, slices={"domain": many}))
    text = Structure(page.succeeded(handoff_of(crowded, result), JOB, job.read(environ))).text
    assert text.index("source-000") < text.index("source-001")
    assert f"source-{page.ROWS - 1:03}" in text
    assert f"source-{page.ROWS:03}" not in text
    assert "7 more are in the manifest" in text


def test_a_model_that_loses_to_a_baseline_says_so(manifest: Manifest) -> None:
    """The verdict names each baseline that is as good or better."""
    assert page.verdict(manifest.evaluation).startswith("Not better than vader by")
    better = changed(manifest.evaluation, overall=Quality(rows=1, metrics={"macro_f1": 0.7}))
    assert page.verdict(better).startswith("Better than vader, majority by")


def test_a_model_does_not_beat_its_equal(manifest: Manifest) -> None:
    """The same macro-F1 is not better."""
    vader = manifest.evaluation.baselines["vader"]
    assert page.verdict(changed(manifest.evaluation, overall=vader)).startswith("Not better than vader")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=HOSTILE)
def test_no_value_of_a_success_becomes_markup(
    value: str, manifest: Manifest, result: TrainingResult, environ: Mapping[str, str]
) -> None:
    """Whatever parameters, queries, names and addresses hold, the page has the tags of a harmless one."""

    def made(value: str) -> str:
        request = manifest.request
        about = {
            **environ,
            **dict.fromkeys(
                ["BUILDKITE_MESSAGE", "BUILDKITE_BRANCH", "BUILDKITE_BUILD_CREATOR"], f"b{value}"
            ),
        }
        parameters = {"name": value, "nested": {"list": [value]}}
        quality = manifest.evaluation.overall
        hostile = changed(
            manifest,
            request=changed(request, flow=value, parameters=parameters),
            data=changed(manifest.data, source=value, athena_execution_id="x" + value),
            wandb=changed(manifest.wandb, id=value),
            runtime=changed(manifest.runtime, gpu="GPU " + value, packages={value: value}),
            evaluation=changed(
                manifest.evaluation,
                rows_are=value,
                metrics=(changed(manifest.evaluation.metrics[0], title="t" + value),),
                overall=Quality(rows=1, metrics={"macro_f1": 0.5}),
                slices={f"s{value}": {value: Quality(rows=1, metrics={"macro_f1": 0.5})}},
                baselines={value: quality},
            ),
            timings={value: 1.0},
        )
        return page.succeeded(Handoff(STORE, result, hostile, b""), JOB, job.read(about))

    expected = Structure(made("harmless"))
    hostile = made(value)
    assert shown(hostile) == hostile, "a part of it was read as Markdown"
    assert Structure(shown(hostile)).tags == expected.tags
    assert "\n\n" not in hostile


@settings(max_examples=100, deadline=None)
@given(value=HOSTILE)
def test_no_value_of_a_failure_becomes_markup(value: str) -> None:
    """A reason may hold any text, also one of the training data."""

    def made(value: str) -> str:
        names = ("BUILDKITE_BUILD_NUMBER", "BUILDKITE_PIPELINE_SLUG", "BUILDKITE_COMMIT")
        here = samples.job_environment(**dict.fromkeys(names, f"v{value}"))
        head = page.HeadJob(id="j" + value, url=JOB.url, logs_url=JOB.logs_url, artifacts="s" + value)
        return page.failed(TrainingResult(status="failed", reason="r" + value), head, here)

    assert shown(made(value)) == made(value), "a part of it was read as Markdown"
    assert Structure(shown(made(value))).tags == Structure(made("harmless")).tags


@settings(max_examples=100, deadline=None)
@given(value=HOSTILE)
def test_only_a_web_address_is_a_link(value: str) -> None:
    """No address from outside leads to a script, whatever surrounds it."""
    head = page.HeadJob(id="", url=value, logs_url=f"javascript:{value}", artifacts="")
    result = TrainingResult(status="failed", wandb_run_url="http://" + value)
    structure = Structure(shown(page.failed(result, head, samples.job_environment())))
    assert all(link.startswith(("https://", "http://")) for link in structure.links)
    assert set(structure.tags) <= set(Structure(page.failed(result, JOB, samples.job_environment())).tags) | {
        ("a", ("href",)),
        ("/a", ()),
    }


def test_an_annotation_fits_into_what_buildkite_takes(
    manifest: Manifest, result: TrainingResult, environ: Mapping[str, str]
) -> None:
    """Megabytes of query, parameters and sources make a page of less than one."""
    long = "&\u20ac" * 1_000_000
    quality = manifest.evaluation.overall
    many = {f"{n}{long[:5000]}": quality for n in range(500)}
    columns = {f"{n}{long[:5000]}": many for n in range(20)}
    huge = changed(
        manifest,
        request=changed(manifest.request, parameters={"text": long}, flow=long),
        data=changed(manifest.data, source=long),
        evaluation=changed(manifest.evaluation, slices=columns, baselines=many),
        runtime=changed(manifest.runtime, packages=dict.fromkeys(many, long)),
    )
    made = page.succeeded(Handoff(STORE, result, huge, b""), JOB, job.read(environ))
    assert len(made.encode()) < LIMIT_BYTES
    assert "more characters)" in made


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
