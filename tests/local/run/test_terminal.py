"""What a person sees: whole lines, each with its step, and nothing that could confuse a terminal."""

from __future__ import annotations

import io
import re

from hypothesis import given
from hypothesis import strategies as st

from modelbuild_local.run.plain import to_text
from modelbuild_local.run.terminal import Terminal, plain_label


class Tty(io.StringIO):
    """A terminal with colours."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def shown(*steps: tuple[str, str, bool], out: io.StringIO | None = None) -> list[str]:
    """The lines after each job's log reached these texts: (job, text, ended)."""
    out = out or io.StringIO()
    terminal = Terminal(out)
    for job in dict.fromkeys(job for job, _, _ in steps):
        terminal.started(job, job, "runs on agent")
    for job, text, ended in steps:
        terminal.log(job, text, ended=ended)
    return out.getvalue().splitlines()


def test_jobs_do_not_mix_within_a_line() -> None:
    """A line is shown when it is whole, or when its job is over."""
    lines = shown(("a", "one", False), ("b", "1\n2", False), ("a", "one more\n", False), ("b", "1\n2", True))
    assert [line for line in lines if "runs on" not in line] == [
        "b                | 1",
        "a                | one more",
        "b                | 2",
    ]


def test_closed_groups_stay_closed_unless_something_failed() -> None:
    """What the agent says about its own work is hidden, until ^^^ +++ or a failure opens the group."""
    log = "~~~ Preparing working directory\nnoise\n~~~ Running commands\n$ make\nmade\n"
    assert [line.partition("| ")[2] for line in shown(("a", log, True))][1:] == ["$ make", "made"]
    log = "~~~ Preparing working directory\nnoise\n^^^ +++\nmore\n"
    assert [line.partition("| ")[2] for line in shown(("a", log, True))][1:] == [
        "~~~ Preparing working directory",
        "noise",
        "more",
    ]
    out = io.StringIO()
    terminal = Terminal(out)
    terminal.started("a", "a", "runs on agent")
    terminal.log("a", "~~~ Preparing working directory\nno such commit\n", ended=True)
    terminal.ended("a", "failed", good=False)
    assert "| no such commit\n" in out.getvalue()


def test_progress_shows_its_last_state() -> None:
    """Of a line that was overwritten, the last state is shown."""
    assert shown(("a", "10 %\r50 %\r100 %\r\n", True))[-1] == "a                | 100 %"


def test_labels_without_emoji_codes() -> None:
    """Emoji codes are for the build page; a label of nothing else is kept."""
    assert plain_label(":rocket: deploy") == "deploy"
    assert plain_label(":rocket:") == ":rocket:"


@given(st.text(st.characters() | st.sampled_from("\x1b[]m;0123_\x07\r\n~-+^ ")))
def test_only_colours_reach_the_terminal(text: str) -> None:
    """Whatever a job prints, of escape sequences only colours get through, and only to a terminal."""
    out = Tty()
    shown(("job", text, True), out=out)
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    plain = io.StringIO()
    shown(("job", text, True), out=plain)
    assert "\x1b" not in plain.getvalue()


def test_annotation_as_text() -> None:
    """Paragraphs and items are lines, the first link has its address, tables stand apart, details go."""
    html = (
        "<h2>Result</h2><p>F1 <b>0.61</b>, <a href='https://example.org/run'>run</a></p><ul><li>one</li></ul>"
        "<table><tr><th>class</th><th>f1</th></tr><tr><td>positive</td><td>0.7</td></tr></table>"
        "<details><summary>More</summary><details><p>hidden</p></details><p>hidden</p></details>"
        "<table><tr><td>a</td><td>b</td></tr></table><a href='https://example.org/other'>other</a>"
        "<pre>a\n  b</pre>"
    )
    assert to_text(html).split("\n") == [
        "Result",
        "F1 0.61, run (https://example.org/run)",
        "- one",
        "",
        "class     f1",
        "positive  0.7",
        "",
        "a  b",
        "other",
        "a",
        "  b",
    ]


@given(st.text(st.characters() | st.sampled_from("<>&;/\"' \ttdrpreh=")))
def test_any_html_becomes_text(html: str) -> None:
    """Text comes out of whatever an annotation holds, without an exception."""
    assert isinstance(to_text(html), str)


def test_annotation_is_shown_again_only_when_it_changed() -> None:
    """An annotation that was replaced shows once more; one that is the same does not."""
    out = io.StringIO()
    terminal = Terminal(out)
    for html in ("<p>one</p>", "<p>one</p>", "<p>two</p>"):
        terminal.annotation("id", "training", "info", html)
    assert out.getvalue().count("[info: training]") == 2
