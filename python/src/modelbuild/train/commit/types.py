"""Checks the types of parameters, against the flow's own model or else against the values in its file."""

from __future__ import annotations

import json
import os
import posixpath
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

from pydantic import JsonValue, ValidationError

from modelbuild.errors import ConfigurationError
from modelbuild.train.commit import overrides, parameters, source
from modelbuild.train.commit.model_check import FILE_NAME, Verdict

_SECONDS = 60
# The variables that the commit's code gets; the job's environment has tokens, sockets and credentials.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")
_CHECK = """
import sys
sys.path[:] = sys.argv[1:]
from modelbuild.process import startup
startup.skip_garbage_collection()
from modelbuild.train.commit import model_check, overrides
model_check.main()
"""


@contextmanager
def loading(folder: Path) -> Iterator[subprocess.Popen[str] | None]:
    """Start the process that validates with the flow's own model, if ``folder`` of the checkout has one.

    Its start takes longer than the rest of the request, so it starts before the parameters are known.
    """
    if not (folder / FILE_NAME).exists():
        yield None
        return
    with _process() as process:
        yield process


def require(
    resolved: overrides.Resolved,
    defaults: Mapping[str, JsonValue],
    archived: bytes,
    file: str,
    loaded: subprocess.Popen[str] | None = None,
    candidates: Mapping[str, overrides.Resolved] | None = None,
) -> None:
    """Refuse parameters of a wrong type.

    Args:
        resolved: the parameters.
        defaults: the values of the parameter file.
        archived: the source, which may contain the flow's model.
        file: the parameter file.
        loaded: the result of :func:`loading`.
        candidates: the parameters of candidates of a sweep, by a description of each for messages.

    Raises:
        ConfigurationError: a parameter has a wrong type, or the flow's model cannot be loaded.
    """
    every = [resolved, *(candidates or {}).values()]
    folder = posixpath.dirname(file)
    model = posixpath.join(folder, FILE_NAME)
    found = Verdict(kind="none")
    if source.read_member(archived, model) is not None:
        with nullcontext(loaded) if loaded else _process() as process:
            found = _ask(process, archived, folder, model, [one.values for one in every])
    if found.kind == "none":
        for one in every:
            overrides.require_kinds(one, defaults, file)
    elif found.kind != "good":
        whose = ["", *(f"{name}: " for name in candidates or {})][found.index]
        raise ConfigurationError(whose + _sentence(found, every[found.index], file, model))


@contextmanager
def _process() -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    # It imports the same modules as this process, and none of the checkout, its working directory.
    with subprocess.Popen(
        [sys.executable, "-I", "-X", "utf8", "-c", _CHECK, *sys.path],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        encoding="utf-8",
        errors="replace",
        env=_environment(os.environ),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of the commit's code: without variables of the agent and AWS, with an empty home
    folder.
    """
    kept = {name: environ[name] for name in _PASSED_ON if name in environ}
    return {**kept, "HOME": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}


def _ask(
    process: subprocess.Popen[str],
    archived: bytes,
    folder: str,
    model: str,
    values: Sequence[Mapping[str, JsonValue]],
) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="modelbuild-") as scratch:
        source.extract(archived, Path(scratch), below=folder)
        question = json.dumps({"folder": str(Path(scratch) / folder), "values": values})
        try:
            answer, messages = process.communicate(question, timeout=_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise ConfigurationError(
                f"{model} did not answer within {_SECONDS} seconds: it may define models and nothing more"
            ) from error
    try:
        return Verdict.model_validate_json(answer)
    except ValidationError as error:
        message = (messages.strip().splitlines() or ["no message"])[-1]
        raise ConfigurationError(f"{model} ended the check of the parameters: {message}") from error


def _sentence(verdict: Verdict, resolved: overrides.Resolved, file: str, model: str) -> str:
    if verdict.kind == "unreadable":
        message = " ".join(verdict.expected.split())
        return (
            f"{model} cannot be read on the agent ({message}): it may import pydantic and "
            "modelbuild.flow.parameters only"
        )
    name = parameters.plain(".".join(map(str, verdict.path)))
    if verdict.kind == "missing":
        return (
            f"{file} has no parameter {name}, which {model} asks for: it is {verdict.expected or 'required'}"
        )
    value = parameters.short(_at(resolved.values, verdict.path))
    if verdict.kind == "unknown":
        hint = f"did you mean {verdict.expected}?" if verdict.expected else "remove it, or correct its name"
        return f"parameter {name} of {file} is {value}, but {model} has no such parameter: {hint}"
    descriptions = [
        resolved.descriptions[key]
        for key in resolved.descriptions
        if f"{name}.".startswith(f"{parameters.plain(key)}.")
    ]
    set_by = parameters.plain(descriptions[0]) if descriptions else file
    subject = f"parameter {name} is {value} ({set_by})" if verdict.path else f"{file} does not hold together"
    return f"{subject}: {verdict.expected}"


def _at(values: JsonValue, path: tuple[str | int, ...]) -> JsonValue:
    """The value at a path, or at the longest part of the path that exists."""
    for part in path:
        if isinstance(values, list) and isinstance(part, int) and part < len(values):
            values = values[part]
        elif isinstance(values, dict) and part in values:
            values = values[str(part)]
    return values
