"""Has the live model's own server score evaluation rows that it was not evaluated on, as a job of Batch.

Everything about the job derives from the model, its image and the rows, so that a retried step finds the job
that runs, or its scores.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from modelbuild import log
from modelbuild.aws.batch.jobs import Batch
from modelbuild.aws.console import job_url
from modelbuild.comparison.models import Model, Scored, lacks_answers
from modelbuild.comparison.predictions import PredictionTable, are_alike
from modelbuild.contract import (
    SCORE_COMMAND,
    SCORE_DEFINITION,
    Manifest,
    Scoring,
    ScoringEnvironment,
    sha256_of_json,
    shortened,
)
from modelbuild.errors import AwsError, ConfigurationError, VerificationFailed
from modelbuild.settings.notify import ScoreSettings
from modelbuild.store.objects import Objects
from modelbuild.store.scores import ScoreStore

CHECKS = 200
"""How many rows with a recorded prediction are scored again, to see that the server answers what was
recorded.
"""

LOOK_SECONDS = 5.0
JOB_SECONDS = 3600

_SAME = 0.98
"""The part of these rows whose labels must be the recorded ones: another CPU decides a tie differently."""
_TOLERANCE = 1e-3
"""The part of the spread of recorded numbers by which an answer may differ from them."""
_ROUNDING = 1e-5
"""The part of a number that another CPU rounds otherwise, in 32 bits."""
_PROBLEM_CHARACTERS = 300


class _NotScored(Exception):
    """The rows have no scores; the message is why, as a part of a sentence."""


@dataclass(frozen=True)
class Scorer:
    """Scores evaluation rows with other models.

    Attributes:
        settings: how long a job is waited for, and in which queue it runs.
        objects: S3 of the account that trains.
        jobs: makes a client of Batch in that account.
    """

    settings: ScoreSettings
    objects: Objects
    jobs: Callable[[], Batch]

    def __call__(self, ours: Model, live: Model) -> Scored | None:
        """What the live model answers to all evaluation rows of this one; None if no answer is missing, or
        option ``score-live.timeout`` is 0.

        This may take as long as that option says.
        """
        if not self.settings.timeout or not lacks_answers(ours, live):
            return None
        log.group(f":aws: Scoring the evaluation rows with the live model {live.name}")
        try:
            found = self._scored(ours, live)
        except _NotScored as error:
            found = Scored(problem=str(error))
        except (AwsError, VerificationFailed) as error:
            found = Scored(problem=str(error).rstrip("."))
        log.info(found.problem or f"job {found.job} has scored them")
        return found

    def _scored(self, ours: Model, live: Model) -> Scored:
        table, primary = ours.predictions, ours.evaluation.metric(ours.evaluation.primary)
        if table is None or not table.has_inputs():
            raise _NotScored("the predictions of this model do not hold the inputs of the rows")
        if primary not in ours.recomputed:
            raise _NotScored(f"only its flow can compute {primary.title} of the predictions")
        checks = _checks(live.predictions)
        rows = _lines(table) + (_lines(checks) if checks else b"")
        task = _Task(ours.manifest, live.manifest, rows, self.objects)
        scores = task.store.scores() or self._run(task)
        found = task.predictions(scores, table, checks)
        return Scored(job=task.name, predictions=found)

    def _run(self, task: _Task) -> Scoring:
        """The scores of a job: the one that runs, or a new one."""
        if not self.objects.list(task.live.artifact.path):
            raise _NotScored(f"{task.live.artifact.path} is not there any more")
        task.store.write_rows_once(task.rows)
        jobs, until = self.jobs(), time.monotonic() + self.settings.timeout
        job_id = self._find_or_submit(jobs, task)
        log.info(f"job {task.name}: {job_url(jobs.region, job_id)}")
        status = ""
        while True:
            job = jobs.describe_all([job_id]).get(job_id)
            # The job ends after it has written.
            if (scores := task.store.scores()) is not None:
                return scores
            if job is None or job.ended:
                reason = job.reason if job else "Batch does not know it"
                raise _NotScored(f"job {task.name} failed ({reason or 'no reason given'}); see its log")
            if job.status != status:
                log.info(f"the job is {job.status}")
                status = job.status
            if time.monotonic() >= until:
                raise _NotScored(
                    f"job {task.name} is {job.status} after {self.settings.timeout} s; retry this step when "
                    "it has ended"
                )
            time.sleep(LOOK_SECONDS)

    def _find_or_submit(self, jobs: Batch, task: _Task) -> str:
        found = jobs.describe_all(jobs.find(self.settings.queue, task.name))
        if running := [job.id for job in found.values() if not job.ended]:
            return running[0]
        request = task.ours.request
        try:
            definition = jobs.definitions.with_image(SCORE_DEFINITION, task.live.request.images.serve)
        except ConfigurationError:
            raise _NotScored(
                f"there is no job definition {SCORE_DEFINITION} in {jobs.region}: deploy infra/training.yaml "
                "again"
            ) from None
        return jobs.submit(
            task.name,
            queue=self.settings.queue,
            definition=definition,
            command=SCORE_COMMAND,
            environment=task.environment.to_env(),
            timeout=JOB_SECONDS,
            tags={
                "modelbuild:pipeline": request.build.pipeline,
                "modelbuild:model": request.model,
                "modelbuild:model-id": request.model_id,
            },
        )


class _Task:
    """A scoring, with the names that derive from what is scored."""

    def __init__(self, ours: Manifest, live: Manifest, rows: bytes, objects: Objects) -> None:
        request, artifact = live.request, live.artifact
        self.ours = ours
        self.live = live
        self.rows = rows
        digest = hashlib.sha256(rows).hexdigest()
        about = {"model": artifact.sha256, "image": request.images.serve, "rows": digest}
        identity = f"{request.build.pipeline}-{request.model}-{request.model_id}"
        # Without the new model's name: the live model scores the same rows once for all models.
        short = sha256_of_json({**about})[:12]
        self.store = ScoreStore(objects, request.artifacts, short)
        self.name = shortened(re.sub(r"[^A-Za-z0-9_-]", "_", f"score-{identity}-{short}"), 128)
        self.environment = ScoringEnvironment(
            model=artifact.path,
            model_sha256=artifact.sha256,
            rows=self.store.rows_uri,
            rows_sha256=digest,
            scores=self.store.scores_uri,
        )

    def predictions(
        self, scores: Scoring, table: PredictionTable, checks: PredictionTable | None
    ) -> PredictionTable:
        """The scores as predictions for the rows of ``table``.

        Raises:
            _NotScored: the model could not score them, or its answers differ from the recorded predictions.
            VerificationFailed: they are of another model or of other rows.
        """
        expected = (self.environment.model_sha256, self.environment.rows_sha256)
        if (scores.model_sha256, scores.rows_sha256) != expected:
            raise VerificationFailed(f"{self.store.scores_uri} is of another model or of other rows")
        if scores.problem:
            raise _NotScored(scores.problem[:_PROBLEM_CHARACTERS])
        rows = len(table) + (len(checks) if checks else 0)
        if len(scores.predictions) != rows:
            raise VerificationFailed(
                f"{self.store.scores_uri} has {len(scores.predictions):,} predictions for {rows:,} rows"
            )
        kind = table.column("prediction").type
        if pa.types.is_integer(kind) and isinstance(scores.predictions[0], float):
            # The predictions of this model may happen to be whole numbers.
            kind = pa.float64()
        try:
            predicted = pa.array(scores.predictions, kind)
        # For numbers that are too large and texts that are no Unicode, pyarrow raises Python's own errors.
        except (pa.ArrowException, ValueError, OverflowError):
            raise _NotScored("its server answers with values of another type than this model") from None
        if checks is not None:
            _require_recorded(checks.column("prediction"), predicted[len(table) :])
        kept = table.table.select(["id", "truth"])
        return PredictionTable(kept.append_column("prediction", predicted[: len(table)]))


def _checks(table: PredictionTable | None) -> PredictionTable | None:
    """Rows of a model with a recorded prediction, evenly chosen; None if its inputs are not known."""
    if table is None or not table.has_inputs():
        return None
    return table.take(np.unique(np.linspace(0, len(table) - 1, CHECKS).astype(np.int64)))


def _lines(table: PredictionTable) -> bytes:
    """The inputs of the rows, which are JSON already, a line each."""
    try:
        lines = [json.dumps(json.loads(one)) for one in table.column("input").to_pylist()]
    except (ValueError, RecursionError):
        raise _NotScored("the predictions hold inputs that are no JSON") from None
    return "".join(f"{line}\n" for line in lines).encode()


def _require_recorded(recorded: pa.ChunkedArray, predicted: pa.Array) -> None:
    """Refuse a server that answers something else than the flow recorded as the model's predictions."""
    if not are_alike([recorded, predicted]):
        raise _NotScored("its server answers with another type than its recorded predictions have")
    again, known = predicted.to_numpy(zero_copy_only=False), recorded.to_numpy()
    if np.issubdtype(known.dtype, np.number):
        same = np.isclose(again, known, rtol=_ROUNDING, atol=_TOLERANCE * float(np.std(known)))
    else:
        same = again == known
    if np.mean(same) < _SAME:
        raise _NotScored(
            f"its server answers {np.count_nonzero(~same):,} of {len(known):,} rows otherwise than its flow "
            "recorded"
        )
