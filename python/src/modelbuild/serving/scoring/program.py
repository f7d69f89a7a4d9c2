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
from modelbuild.errors import ConfigurationError, ModelbuildError, VerificationFailed, variable_error
from modelbuild.serving.limits import BATCH_SIZE, MAX_INSTANCES
from modelbuild.serving.model import Model, load
from modelbuild.serving.outputs import LabelOutput, NumberOutput
from modelbuild.serving.values import BadInstance


class Objects(Protocol):
    """What the program needs of S3; :class:`modelbuild.serving.scoring.objects.RoleObjects` has it."""

    def read(self, uri: str) -> bytes:
        """The bytes of an object."""

    def write_once(self, uri: str, body: bytes) -> bool:
        """Write an object unless it exists; returns whether this call wrote it."""


class ScoringFailed(ModelbuildError):
    """The job failed for a reason that another job may not have."""


def run(environ: Mapping[str, str], objects: Objects) -> None:
    """Score the rows, and write :class:`modelbuild.contract.Scoring`.

    That the model cannot score these rows is an answer, too: another job would not change it.

    Raises:
        ConfigurationError: a variable is not set or wrong.
        VerificationFailed: the model or the rows are not those that were asked for.
        ScoringFailed: the job has not enough memory, or its machine fails.
        AwsError: S3 refused.
    """
    try:
        environment = ScoringEnvironment.read(environ)
    except ValidationError as error:
        raise variable_error(error, "notify sets it when it submits this job") from error
    # Both are read and compared first: what is written is an answer to these bytes, whatever it says.
    archive = _read(objects, environment.model, environment.model_sha256)
    rows = _read(objects, environment.rows, environment.rows_sha256)
    predictions: list[Any] = []
    problem = ""
    try:
        model = load(_unpacked(archive))
        predictions = list(_predictions(model, io.BytesIO(rows)))
    except (ConfigurationError, VerificationFailed) as error:
        problem = str(error)
    except (MemoryError, OSError) as error:
        raise ScoringFailed(
            f"the rows are not scored, because the job failed with {type(error).__name__}: give the job "
            "definition modelbuild-score more memory, or retry the notify step"
        ) from error
    scores = Scoring(
        model_sha256=environment.model_sha256,
        rows_sha256=environment.rows_sha256,
        predictions=tuple(predictions),
        problem=problem,
    )
    wrote = objects.write_once(environment.scores, scores.model_dump_json().encode())
    log.info(problem or f"{len(predictions):,} rows are scored")
    log.info(f"{environment.scores}{'' if wrote else ' was there already'}")


def _read(objects: Objects, uri: str, expected: str) -> bytes:
    content = objects.read(uri)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise VerificationFailed(f"{uri} has SHA-256 {found}, but this job was asked for {expected}")
    return content


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
    except (ModelbuildError, MemoryError, OSError):
        raise
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
        except (ValueError, RecursionError):
            raise VerificationFailed(f"row {number:,} is not JSON") from None
        batch.append(instance)
        size += declared.size(instance)
        if size >= BATCH_SIZE or len(batch) == MAX_INSTANCES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
