"""Why a flow failed, from what it printed: as one sentence, and with the last lines for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from modelbuild import log
from modelbuild.contract import Failure
from modelbuild.log import metaflow_lines
from modelbuild.train.commit import parameters

_LIMIT = 500
# Only so much is searched for secrets, because that takes long, and later text is never shown.
_READ = 8 * _LIMIT

_TRACEBACK = "Traceback (most recent call last):"
# The class of modelbuild's own errors, which are shown as their sentence only.
_OWN_ERROR = re.compile(r"^modelbuild\.[\w.]+: ")
_EXCEPTION = re.compile(r"^(?:\w+\.)*[A-Z]\w*(?:: .*)?$")

_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d{1,9})')
# Generated code, Python's own files, installed packages, and what Metaflow carries along.
_NOT_USERS = re.compile(
    r"^<|/lib(?:64)?/python\d|/(?:site|dist)-packages/|/\.mf_code/|/python/src/modelbuild/"
)
# The folders into which the head unpacks the commit, and Metaflow the code of a step.
_UNPACKED = re.compile(r"^.*/modelbuild-[^/]+/source/|^.*/metaflow/")
_FILE_LIMIT = 200
_LOG_LINES = 3
# What a page shows of the log.
_SHOWN_LINES, _SHOWN_CHARACTERS = 30, 500

_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_SECRET_TEXT = re.compile(
    r"(?i)(?P<name>\b[\w-]*(?:token|secret|password|api[_-]?key|access[_-]?key)\b[\"']?\s*[=:]\s*|\bbearer\s+|://)"
    r"(?P<value>[^\s@/,;]+(?=@)|[^\s,;&]+)"
)


def reason(lines: Sequence[str], exit_code: int, batch: str = "") -> str:
    """One sentence: the step that failed and the exception that ended it, without secrets, ≤ 500 characters.

    Args:
        lines: what the flow printed last, without line ends.
        exit_code: how its process ended.
        batch: Batch's reason, if Batch itself ended the step's container; else empty.
    """
    step, printed = _failed_step(lines)
    cause = _cause(printed, batch)
    text = _reason(step, printed, exit_code, cause)
    end = " / ".join(_log(printed, cause)) if step else ""
    return sentence(f"{text}; its log ends: {end}" if end else text)


def failure(lines: Sequence[str], exit_code: int, batch: str = "") -> Failure:
    """What people need to see of a flow that failed, without secrets; the arguments are those of
    :func:`reason`, whose text begins with the reason of this record.
    """
    step, printed = _failed_step(lines)
    text = _reason(step, printed, exit_code, _cause(printed, batch))
    own = (line for line in _without_foreign_frames(printed) if not _is_boilerplate(line.strip()))
    last = [*own][-_SHOWN_LINES:]
    # As one text, because a secret may have several lines.
    shown = log.redact("\n".join(line[:_SHOWN_CHARACTERS] for line in last)).split("\n")[-_SHOWN_LINES:]
    return Failure(reason=sentence(text), step=step, log=tuple(redact(line) for line in shown))


def _failed_step(lines: Sequence[str]) -> tuple[str, list[str]]:
    """The step that failed and what its task printed; without one, an empty name and all lines."""
    failed = next(filter(None, map(metaflow_lines.parse_failed_task, reversed(lines))), None)
    if failed is None:
        return "", [line.strip() for line in lines]
    # Tasks of one step run at the same time, and their lines come in turns.
    tasks = filter(None, map(metaflow_lines.parse_task_line, lines))
    return failed.step, [
        task.text for task in tasks if (task.step, task.task_id) == (failed.step, failed.task_id)
    ]


def _cause(printed: Sequence[str], batch: str) -> str:
    return batch or _OWN_ERROR.sub("", _exception(printed) or _last(printed))


def _reason(step: str, printed: Sequence[str], exit_code: int, cause: str) -> str:
    """The step, the exception, and file and line of the user's code."""
    ended = f"the flow ended with exit code {exit_code} before a step failed"
    subject = f"step {step} failed" if step else ended
    text = f"{subject}: {cause}" if cause else subject
    where = _code_location(printed) if _exception(printed) else ""
    # A long message of the exception is cut, and the place after it is not.
    return f"{_cut(text, _LIMIT - len(where) - 3)} ({where})" if where else text


def sentence(text: str) -> str:
    """``text`` on one line, without secrets and without what cannot be printed, ≤ 500 characters.

    Buildkite stores no NUL, and colours of a terminal are noise on a page.
    """
    shown = _COLOUR.sub("", redact(text))
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in shown).split())
    return line if len(line) <= _LIMIT else line[: _LIMIT - 1] + "…"


def redact(text: str) -> str:
    """The beginning of ``text``, with the secrets of this process, and whatever is named like a secret,
    blacked out.
    """
    return _SECRET_TEXT.sub(_redacted, log.redact(text[: 4 * _READ])[:_READ])


def _redacted(match: re.Match[str]) -> str:
    # An address is a secret only where it holds a user's password.
    if match["name"] == "://" and not match.string[match.end() :].startswith("@"):
        return match[0]
    return f"{match['name']}[redacted]"


def _cut(text: str, length: int) -> str:
    shown = sentence(text)
    return shown if len(shown) <= length else f"{shown[: length - 1]}…"


def _code_location(lines: Sequence[str]) -> str:
    """File and line of the user's own code nearest to the exception of the last traceback; empty if none."""
    frames = [match for line in lines[_last_traceback(lines) :] if (match := _FRAME.match(line))]
    own = [match for match in frames if not _NOT_USERS.search(match["file"])]
    if not own:
        return ""
    file = parameters.plain(_UNPACKED.sub("", own[-1]["file"])[-_FILE_LIMIT:])
    return f"{file}, line {own[-1]['line']}"


def _without_foreign_frames(lines: Sequence[str]) -> Iterator[str]:
    """The lines without the frames of tracebacks that are not in the user's own code."""
    foreign = False
    for line in lines:
        frame = _FRAME.match(line)
        if frame is not None:
            foreign = _NOT_USERS.search(frame["file"]) is not None
        elif not line.startswith("    "):
            # The code of a frame is indented further than the frame.
            foreign = False
        if not foreign:
            yield line


def _log(log_lines: Sequence[str], cause: str) -> list[str]:
    """The last lines that the user's code printed, before its first traceback."""
    lines = [line.strip() for line in log_lines]
    ends = (at for at, line in enumerate(lines) if line == _TRACEBACK or metaflow_lines.is_explanation(line))
    own = lines[: next(ends, len(lines))]
    return [line for line in own if not _is_boilerplate(line) and line not in cause][-_LOG_LINES:]


def _last_traceback(lines: Sequence[str]) -> int:
    return len(lines) - 1 - list(reversed(lines)).index(_TRACEBACK)


def _exception(lines: Sequence[str]) -> str:
    """The line that names the exception of the last traceback; a message may go on below it."""
    if _TRACEBACK not in lines:
        return ""
    last = _last_traceback(lines)
    return next((line for line in lines[last + 1 :] if _EXCEPTION.match(line)), "")


def _last(lines: Iterable[str]) -> str:
    stripped = [line.strip() for line in lines]
    return next((line for line in reversed(stripped) if not _is_boilerplate(line)), "")


def _is_boilerplate(line: str) -> bool:
    return not line or metaflow_lines.is_progress(line) or metaflow_lines.is_failure(line)
