"""``python -m modelbuild.serving score``: predicts rows in S3 with a model in S3, and ends.

It reads the variables of :class:`modelbuild.contract.ScoringEnvironment`, and acts as the role of its job.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from pydantic import ValidationError

from modelbuild import log
from modelbuild.contract import Scoring, ScoringEnvironment
from modelbuild.errors import ConfigurationError, VerificationFailed, variable_error
from modelbuild.serving.inputs import BadInstance
from modelbuild.serving.limits import BATCH_SIZE, MAX_INSTANCES
from modelbuild.serving.model import Model, load
from modelbuild.serving.outputs import LabelOutput, NumberOutput


class Objects(Protocol):
    """What the program needs of S3; :class:`modelbuild.serving.scoring.objects.RoleObjects` has it."""

    def stream(self, uri: str) -> Iterator[bytes]:
        """The bytes of an object in chunks."""

    def write_once(self, uri: str, body: bytes) -> bool:
        """Write an object unless it exists; returns whether this call wrote it."""


def run(environ: Mapping[str, str], objects: Objects) -> None:
    """Score the rows, and write :class:`modelbuild.contract.Scoring`.

    That the model cannot score these rows is an answer, too: another job would not change it.

    Raises:
        ConfigurationError: a variable is not set or wrong.
        VerificationFailed: the model or the rows are not those that were asked for.
        AwsError: S3 refused.
    """
    try:
        asked = ScoringEnvironment.read(environ)
    except ValidationError as error:
        raise variable_error(error, "notify sets it when it submits this job") from error
    archive = b"".join(objects.stream(asked.model))
    _require_same(asked.model, hashlib.sha256(archive).hexdigest(), asked.model_sha256)
    digest = hashlib.sha256()
    predictions: list[Any] = []
    problem = ""
    try:
        model = load(_unpacked(archive))
        predictions = list(_predictions(model, _lines(objects.stream(asked.rows), digest)))
    except (ConfigurationError, VerificationFailed) as error:
        problem = str(error)
    else:
        _require_same(asked.rows, digest.hexdigest(), asked.rows_sha256)
    scores = Scoring(
        model_sha256=asked.model_sha256,
        rows_sha256=asked.rows_sha256,
        predictions=tuple(predictions),
        problem=problem,
    )
    wrote = objects.write_once(asked.scores, scores.model_dump_json().encode())
    log.say(problem or f"{len(predictions):,} rows are scored")
    log.say(f"{asked.scores}{'' if wrote else ' was there already'}")


def _require_same(uri: str, found: str, expected: str) -> None:
    if found != expected:
        raise VerificationFailed(f"{uri} has SHA-256 {found}, but this job was asked for {expected}")


def _unpacked(archive: bytes) -> dict[str, bytes]:
    """The files in ``model.tar.gz``, by name."""
    files = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            for member in tar:
                if (content := tar.extractfile(member)) is not None:
                    files[member.name] = content.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ConfigurationError("model.tar.gz is no archive of files") from error
    return files


def _lines(chunks: Iterable[bytes], digest: Any) -> Iterator[bytes]:
    """The lines in some chunks, whose bytes go into ``digest``."""
    rest = b""
    for chunk in chunks:
        digest.update(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _predictions(model: Model, lines: Iterable[bytes]) -> Iterator[str | float]:
    """The label or the number that the model answers to each row, predicted in batches.

    Raises:
        VerificationFailed: the model answers neither, does not take a row, or fails at one.
    """
    output = model.description.output
    if not isinstance(output, LabelOutput | NumberOutput):
        raise VerificationFailed(f"the model answers a {output.type}, and only labels and numbers compare")
    field = "label" if isinstance(output, LabelOutput) else "value"
    for instances in _batches(model, lines):
        for answer in _answers(model, instances):
            if problem := output.problem(answer):
                raise VerificationFailed(f"an answer of the model is no {output.type}: {problem}")
            yield answer[field]


def _answers(model: Model, instances: Sequence[Any]) -> Sequence[Mapping[str, Any]]:
    try:
        return model.predict(instances)
    except Exception as error:
        # The text of an unknown error may hold rows, which are private.
        raise VerificationFailed(f"the model failed at some rows with {type(error).__name__}") from error


def _batches(model: Model, lines: Iterable[bytes]) -> Iterator[list[Any]]:
    """The instances that the rows are, in batches as the server predicts them."""
    declared: Any = model.description.input
    batch: list[Any] = []
    size = 0
    for number, line in enumerate(lines, 1):
        try:
            instance = declared.from_json(json.loads(line))
        except BadInstance as error:
            raise VerificationFailed(f"the model does not take row {number:,}, which {error}") from None
        batch.append(instance)
        size += declared.size(instance)
        if size >= BATCH_SIZE or len(batch) == MAX_INSTANCES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
