"""Lines that a program reads, and text from elsewhere that looks like one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from modelbuild import log
from modelbuild.log.events import MARK, TRAINING_ENDED, TRAINING_PROGRESS, Event, break_marks, parse_event

ANY_TEXT = st.text(st.characters(exclude_categories=()))
FORGED = Event(TRAINING_ENDED, "the training succeeded").to_line()
# Text of a flow that tries to end whatever reads the log of its head.
FORGERIES = st.lists(
    st.sampled_from(
        [MARK, FORGED, MARK[:9], MARK[9:], "\n", "\r", "\x1b[0m", " ", "{", '"', "https://user:pass@host "]
    )
    | ANY_TEXT,
    max_size=12,
).map("".join)


@given(st.text(), st.text(st.characters(codec="utf-8")).map(lambda text: " ".join(text.split())))
def test_event_is_read_back(name: str, text: str) -> None:
    """An event is the same again after it was a line of a log."""
    line = Event(name, text).to_line()
    assert line.startswith(MARK)
    assert parse_event(line) == Event(name, text)


def test_event_of_a_newer_version_is_read() -> None:
    """The head's image may be newer than the agent: names and fields that are not known do no harm."""
    line = MARK + json.dumps({"name": "model-published", "text": "a model", "at": 3})
    assert parse_event(line) == Event("model-published", "a model")


@pytest.mark.parametrize(
    "rest",
    [
        *("", "{", "3", "NaN", "[]", "\udcff", "[" * 200_000, "9" * 10_000),
        *('{"name": 3, "text": ""}', '{"name": "a"}', '{"name": "a", "text": null}'),
    ],
)
def test_what_is_no_event_is_a_line_for_people(rest: str) -> None:
    """A line that begins with the mark and goes on otherwise is shown, and stops no reader."""
    assert parse_event(MARK + rest) is None


@given(FORGERIES, st.integers(0))
@example(FORGED, 0)
@example(f"{MARK}{FORGED}", len(MARK))
@example(f"\x1b[0m{FORGED}", 0)
def test_no_part_of_text_is_an_event(text: str, cut: int) -> None:
    """Wherever a log driver begins a new line, text in which the marks are broken gives no event."""
    broken = break_marks(text)
    lines = broken.split("\n")
    line = lines[cut % len(lines)]
    assert parse_event(line[cut % (len(line) + 1) :]) is None
    assert MARK not in broken


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FORGERIES)
@example(FORGED)
def test_printed_text_is_no_event(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """A line, a title and a warning that show text from elsewhere are no events."""
    capsys.readouterr()
    for log_line in (log.info, log.warn, log.group, log.open_group):
        log_line(text)
    captured = capsys.readouterr()
    assert MARK not in captured.out + captured.err


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(FORGERIES.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary())
@example(FORGED.encode())
@example(f"2026-01-31 12:00:00.123 [17/train/2 (pid 4)] {FORGED}".encode())
@example(Event(TRAINING_PROGRESS, f"loss {FORGED}").to_line().encode())
def test_output_of_a_flow_is_no_event(capfdbinary: pytest.CaptureFixture[bytes], output: bytes) -> None:
    """Nothing that a flow prints is an event, and the event that follows it begins a line."""
    capfdbinary.readouterr()
    log.relay(output)
    log.event(TRAINING_ENDED, "over")
    passed, event = capfdbinary.readouterr().out, Event(TRAINING_ENDED, "over").to_line().encode() + b"\n"
    assert passed.endswith(event)
    assert MARK.encode() not in passed.removesuffix(event)
    assert passed in (event, b"\n" + event) or passed.endswith(b"\n" + event)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary())
@example(b"\xff\x00\r--- a\x1b[31m")
def test_output_of_a_flow_is_passed_on_as_it_is(
    capfdbinary: pytest.CaptureFixture[bytes], output: bytes
) -> None:
    """Bytes that are neither a secret nor a mark stay as they are, also where they are no text."""
    capfdbinary.readouterr()
    log.relay(output + b"\n")
    assert capfdbinary.readouterr().out == output + b"\n"


def test_progress_of_a_flow_is_shown_as_its_text(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """People see the sentence and not JSON, on one line, and without what no output can hold."""
    line = Event(TRAINING_PROGRESS, "step 1:\n+++ \ud800loss").to_line().encode("ascii", "backslashreplace")
    log.relay(b"[17/train/2 (pid 4)] " + line + b"\nnext\n")
    assert capfdbinary.readouterr().out == b"[17/train/2 (pid 4)] step 1: +++  loss\nnext\n"


def test_event_has_no_secret_and_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence in an event is held to what holds for every line, before JSON escapes it."""
    monkeypatch.setenv("MY_TOKEN", 'half-"quoted"')
    log.event(TRAINING_ENDED, 'failed:\nhalf-"quoted" \x1b[2J+++ "é"')
    line = capsys.readouterr().out
    assert line == f'{MARK}{{"name": "training-ended", "text": "failed: [redacted] +++ \\"é\\""}}\n'
    assert parse_event(line) == Event(TRAINING_ENDED, 'failed: [redacted] +++ "é"')


def test_long_sentence_stays_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    """A sentence is cut before it becomes JSON, so that the line can be read."""
    log.event(TRAINING_ENDED, '"' * 1_000_000)
    line = capsys.readouterr().out
    assert len(line) < 10_000
    assert parse_event(line) is not None


def test_logging_of_a_flow_does_not_silence_ours() -> None:
    """A flow that configures logging, which disables all loggers that exist, still shows our lines once."""
    program = (
        "import logging, logging.config\n"
        "from modelbuild import log\n"
        "logging.config.dictConfig({'version': 1})\n"
        "logging.basicConfig(level=logging.DEBUG)\n"
        "log.info('shown 100 %s')\n"
        "log.warn('warned')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("shown 100 %s\n", "warned\n")
