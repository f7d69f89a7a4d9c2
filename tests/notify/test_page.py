from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import samples
from modelbuild.annotation import commit_url
from modelbuild.buildkite import job
from modelbuild.contract import Failure, TrainingResult
from modelbuild.notify import page
from modelbuild.report.build import HeadJob
from page_structure import Structure
from text_fragments import HOSTILE

JOB = HeadJob(
    id="job-1",
    url="https://us-east-1.console.aws.amazon.com/batch/home?region=us-east-1#jobs/detail/job-1",
    logs_url="https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#logsV2:log-groups",
    artifacts="s3://modelbuild-123456789012/models/comments/sentiment/12",
)


def shown(body: str) -> str:
    """The annotation as a build page has it before it is cleaned: Markdown that may hold HTML."""
    return str(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(body))


def traceback(step: str, line: int, *end: str) -> tuple[str, ...]:
    """What Python prints of an exception in a step of a flow."""
    frame = f'  File "/srv/metaflow/flow.py", line {line}, in {step}'
    return ("Traceback (most recent call last):", frame, *end)


FAILURES = {
    "start": Failure(
        step="start",
        reason="step start failed: No rows of the lake match the parameters; the query was: SELECT id FROM "
        "modelbuild.comments (flow.py, line 42)",
        log=traceback("start", 42, "modelbuild.errors.ConfigurationError: No rows of the lake match"),
    ),
    "train": Failure(
        step="train",
        reason="step train failed: RuntimeError: loss is nan (flow.py, line 58)",
        log=(
            "8,000 rows to train on.",
            "\x1b[32mstep 1: loss 0.91\x1b[0m",
            "\x1b[31mstep 2: loss nan\x1b[0m",
            *traceback("train", 58, '    raise RuntimeError(f"loss is {loss}")', "RuntimeError: loss is nan"),
        ),
    ),
    "evaluate": Failure(
        step="evaluate",
        reason="step evaluate failed: OutOfMemoryError: Container killed due to memory usage",
        log=("evaluating 2,345 rows",),
    ),
    "notify_buildkite": Failure(
        step="notify_buildkite",
        reason="step notify_buildkite failed: s3://modelbuild-123/models/comments/sentiment/12/model.tar.gz "
        "is there with SHA-256 1f, but this training made 2e: start a new build (flow.py, line 71)",
        log=traceback("notify_buildkite", 71, "modelbuild.errors.VerificationFailed: s3://modelbuild-123"),
    ),
}


@pytest.mark.parametrize("step", FAILURES)
def test_a_failed_step_is_what_the_golden_file_shows(
    step: str, environ: Mapping[str, str], golden: Callable[[str, str], None]
) -> None:
    """The step, the reason with file and line, and the last lines of its log come first."""
    failure = FAILURES[step]
    result = TrainingResult(status="failed", reason=f"{failure.reason}; its log ends: a / b")
    golden(f"failed-{step}.md", page.failed(result, JOB, job.read(environ), failure))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("lost-host", "the head died without giving a reason: Host EC2 (instance i-0a1b) terminated."),
        (
            "never-scheduled",
            "step train waited more than 3600 seconds for a machine (Batch gives no reason: the queue's "
            "machines may all be taken)",
        ),
    ],
)
def test_a_failure_without_a_log_is_what_the_golden_file_shows(
    name: str, reason: str, environ: Mapping[str, str], golden: Callable[[str, str], None]
) -> None:
    """Where no head saw the flow fail, the reason stands alone, whatever an earlier head has recorded."""
    result = TrainingResult(status="failed", reason=reason)
    golden(f"{name}.md", page.failed(result, JOB, job.read(environ), FAILURES["train"]))


def test_a_cancellation_is_what_the_golden_file_shows(
    environ: Mapping[str, str], golden: Callable[[str, str], None]
) -> None:
    """A training that a person ended says so, and how it goes on."""
    result = TrainingResult(status="cancelled", reason="the build was cancelled")
    golden("cancelled.md", page.failed(result, JOB, job.read(environ)))


def test_a_failure_that_was_cut_is_shown() -> None:
    """A reason that is as long as may be ends with a mark, and is still the result's."""
    cut = "step train failed: " + "x" * 480 + "…"
    failure = Failure(step="train", reason=cut, log=("the last line",))
    body = page.failed(TrainingResult(status="failed", reason=cut), JOB, samples.job_environment(), failure)
    assert "the last line" in body


def test_a_cancellation_without_records_is_what_the_golden_file_shows(
    golden: Callable[[str, str], None],
) -> None:
    """What the train step never recorded is missing from the page, not broken on it."""
    nothing = HeadJob(id="", url="", logs_url="", artifacts="")
    golden(
        "cancelled-without-records.md",
        page.failed(TrainingResult(status="cancelled"), nothing, samples.job_environment()),
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


TERMINAL = st.one_of(
    HOSTILE,
    st.text(alphabet="`~\n\r \t\x1b[]0;3m8?hP\\\x07_a"),
    st.lists(
        st.sampled_from(["```", "````\n", "~~~", "\x1b[2J", "\x1b]1338;url=x\x07", "\x1b[31m", "\n"])
    ).map("".join),
)


@settings(max_examples=200, deadline=None)
@given(lines=st.lists(TERMINAL, min_size=1, max_size=5))
def test_no_line_of_a_log_leaves_its_block(lines: list[str]) -> None:
    """Whatever a step printed, it is text of the one block, and its only control sequences are colours."""

    def made(lines: list[str]) -> str:
        failure = Failure(reason="r", step="train", log=tuple(lines))
        result = TrainingResult(status="failed", reason="r")
        return page.failed(result, JOB, samples.job_environment(), failure)

    structure = Structure(shown(made(lines)))
    assert structure.tags == Structure(shown(made(["harmless"]))).tags
    assert ("code", ("class",)) in structure.tags
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;]*m", "", made(lines))


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
