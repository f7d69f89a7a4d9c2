"""The base class of flows: the part that is the same for every model.

A flow is a subclass of :class:`ModelFlow` whose steps, in plain Metaflow, read the rows, split them, fit the
model and predict. The methods of this class handle the request, the snapshot of the rows, the W&B run, the
manifest and the callback.
"""

from __future__ import annotations

import inspect
import os
import posixpath
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from metaflow import FlowSpec, current  # type: ignore[attr-defined]
from pydantic import JsonValue

from modelbuild import log
from modelbuild.aws.athena import Athena
from modelbuild.aws.identity import session
from modelbuild.buildkite.access import ApiAccess
from modelbuild.contract import (
    Artifact,
    DataSnapshot,
    Evaluation,
    GoldenPrediction,
    Manifest,
    PredictionsFile,
    Runtime,
    StepRun,
    TrainingRequest,
    TrainingSummary,
    WandbRun,
)
from modelbuild.flow import convergence, publish, snapshot, training
from modelbuild.flow.evaluation import Evaluated, table
from modelbuild.flow.process import environment, runtime, step_runs
from modelbuild.flow.progress import Curves, ProgressRecorder, curve
from modelbuild.flow.tracking import description
from modelbuild.flow.tracking.run import Tracker, open_run
from modelbuild.flow.training_rows import summary
from modelbuild.log import events
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore
from modelbuild.text import counted

if TYPE_CHECKING:
    import pyarrow as pa

Row = TypeVar("Row")


class ModelFlow(FlowSpec):
    """A flow that trains a model, for a build or on its own.

    Attributes:
        parameters: the values of ``config``, the flow's ``metaflow.Config``.
        prefix: the S3 prefix that the flow writes below; empty for a flow on its own without ``ARTIFACTS``.
        seconds: the measured durations, by name.
        curves: what the fit measured, by name.
        training_rows: what is known of the rows of the training, or None.
        step_runs: how long each step ran, and on what.
        run_name: the name of the run, which a run that resumes it keeps.
        snapshot: the rows.
        runtime: what the model was computed with.
        evaluation: the quality of the model.
        predictions: the model's answers for the evaluation rows, as a Parquet file.
        golden: inputs with the answers that the endpoint must give.
        wandb: the W&B run.
        private_rows: whether rows must not be copied to W&B; a subclass sets it. W&B then gets no table of
            mistakes.

    These attributes are artifacts of Metaflow, with records as JSON. A flow keeps nothing else under their
    names, and no step has one of them.
    """

    private_rows = False
    parameters: dict[str, Any]
    prefix: str
    seconds: dict[str, float]
    curves: Curves
    training_rows: dict[str, Any] | None
    step_runs: list[dict[str, Any]]
    run_name: str
    snapshot: dict[str, Any]
    runtime: dict[str, Any]
    evaluation: dict[str, Any]
    predictions: bytes
    golden: list[dict[str, Any]]
    wandb: dict[str, Any]

    def begin(self) -> None:
        """Check in step ``start`` that the parameters are those of the request.

        Raises:
            ConfigurationError: ``ARTIFACTS`` is no S3 prefix.
            NotFound: a build has no request there.
            VerificationFailed: the request is invalid or of another prefix, or has other parameters.
        """
        self.parameters = self.config.to_dict()
        self.prefix = training.prefix(environment.read(), str(current.run_id))
        # A run that resumes this one keeps the name.
        self.run_name = str(current.run_id)
        self.seconds = {}
        self.curves = {}
        self.training_rows = None
        self.wandb = WandbRun(id="", url="").model_dump(mode="json")
        self.find_request()

    def next(self, *destinations: Any, **options: Any) -> None:
        """Metaflow's method, which here also keeps how long this step ran, and on what."""
        self.step_runs = [run.model_dump(mode="json") for run in self._step_runs()]
        super().next(*destinations, **options)

    def merge_artifacts(self, inputs: Any, *arguments: Any, **options: Any) -> None:
        """Metaflow's method, which here also joins what the branches kept of their steps."""
        self.step_runs = step_runs.merged(inputs)
        super().merge_artifacts(inputs, *arguments, **options)

    def find_request(self) -> TrainingRequest | None:
        """The request of this flow's build, or None for a flow on its own."""
        if environment.read().model_id is None:
            return None
        return training.require_request(self.store(), self.parameters)

    def store(self) -> ModelStore:
        """The files of the model, below the prefix.

        Raises:
            ConfigurationError: a flow on its own has no prefix.
        """
        return ModelStore(training.storage(), training.require_prefix(self.prefix))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Measure the duration of the block in seconds, and keep it under ``name``."""
        start = time.monotonic()
        yield
        self.seconds = {**self.seconds, name: round(time.monotonic() - start, 3)}

    def take_snapshot(self, query: str) -> None:
        """Run a query of Athena and keep its rows, once for a training.

        Raises:
            AwsError: the query failed.
            ConfigurationError: the query found no rows, or has a nested column.
        """
        with self.timed("snapshot"):
            taken = snapshot.take(Athena(session(AwsSettings())), self.store(), query)
        objects = counted(len(taken.objects), "object")
        log.info(f"{taken.rows:,} rows in {objects}, SHA-256 {taken.sha256}.")
        self.snapshot = taken.model_dump(mode="json")

    def read_snapshot(self) -> pa.Table:
        """The rows that :meth:`take_snapshot` kept, sorted by their columns from left to right.

        Raises:
            VerificationFailed: an object has changed since the snapshot was taken.
        """
        return snapshot.read(self.store().objects, DataSnapshot.model_validate(self.snapshot))

    def keep_rows(self, rows: Sequence[Any], source: str) -> None:
        """Keep rows that the flow read itself, each as JSON; ``source`` describes their source for people.

        Raises:
            ConfigurationError: the rows are no JSON.
            VerificationFailed: other rows were kept before.
        """
        kept = snapshot.keep(self.store() if self.prefix else None, rows, source)
        self.snapshot = kept.model_dump(mode="json")

    def file_of_commit(self, name: str) -> str:
        """A file beside the flow by its path and the commit; for a flow on its own, ``name`` as it is."""
        request = self.find_request()
        if request is None:
            return name
        return f"{posixpath.join(posixpath.dirname(request.flow), name)} of commit {request.build.commit}"

    def progress(self) -> ProgressRecorder:
        """A recorder of what a fit measures, for the manifest, the build page and W&B; each call begins anew.

        The W&B run begins here, and the evaluation continues it.
        """
        self.curves = {}
        tracker = self._tracker(self.find_request())
        self.wandb = tracker.recorded.model_dump(mode="json")
        if tracker.recorded.url:
            log.info(f"W&B run: {tracker.recorded.url}")
        on_its_own = environment.read().model_id is None
        emit = log.info if on_its_own else partial(log.event, events.TRAINING_PROGRESS)
        return ProgressRecorder(self.curves, emit, tracker.log)

    def keep_training_rows(
        self,
        inputs: Sequence[JsonValue],
        labels: Sequence[str] = (),
        *,
        evaluation_inputs: Sequence[JsonValue],
        dropped: Mapping[str, int] | None = None,
    ) -> None:
        """Keep what the report says of the rows that the model was fitted on; call it after the snapshot.

        Counts the labels, the rows of the snapshot that were left out, and the evaluation inputs that are
        also among those of the training.

        Args:
            inputs: the model's input for each row of the training, as JSON.
            labels: the label of each row; empty for models that answer with something else.
            evaluation_inputs: the model's input for each evaluation row.
            dropped: how many rows of the snapshot are in neither, by reason.
        """
        kept = summary.of_rows(
            inputs,
            labels,
            evaluation_inputs=evaluation_inputs,
            snapshot_rows=self.snapshot["rows"],
            dropped=dropped or {},
        )
        log.lines(summary.describe(kept))
        self.training_rows = kept.model_dump(mode="json")

    def search_split(
        self, train: list[Row], held_out: list[Row], key: Callable[[Row], str]
    ) -> tuple[list[Row], list[Row]]:
        """The rows to train on and the rows to evaluate with; a flow calls it where it splits its rows.

        Outside of a sweep they are the given ones. Candidates of a sweep are ranked by rows that are held out
        of ``train``, because the test rows, ``held_out``, must have no part in the choice of the best.

        Args:
            train: the rows to train on.
            held_out: the test rows.
            key: what rows have in common that must be on one side, see :func:`modelbuild.flow.rows.split`.
        """
        del key
        return train, held_out

    def keep_runtime(self) -> None:
        """Keep the runtime of the model (packages, image, device); call it in the step that fits it."""
        own = environment.read()
        image = own.gpu_image if own.runs_on_gpu_queue else ""
        self.runtime = runtime.describe(image).model_dump(mode="json")

    def keep_evaluation(self, evaluated: Evaluated, golden: Sequence[GoldenPrediction]) -> None:
        """Log an evaluation, write the W&B run, and keep both.

        Args:
            evaluated: the evaluation, and the prediction for each row.
            golden: inputs with the answers that the endpoint must give.
        """
        log.lines(table(evaluated.evaluation))
        tracker = self._tracker(self.find_request())
        tracker.add_evaluation(evaluated, private=self.private_rows)
        run = tracker.finish()
        log.info(f"W&B run: {run.url or f'none, because {tracker.problem}'}")
        self.evaluation = evaluated.evaluation.model_dump(mode="json")
        self.predictions = evaluated.predictions
        # W&B may have had the run when the model was fitted, and be out of reach now.
        self.wandb = {"id": run.id, "url": run.url or self.wandb["url"]}
        self.golden = [item.model_dump(mode="json") for item in golden]

    def publish_model(self, files: Mapping[str, bytes]) -> None:
        """Write the model, then its manifest and the result of this attempt, once each; unblock the build.

        The W&B run gets a reference to the model after that.

        Args:
            files: the files of the model's archive, by name; ``model.json`` is among them.

        Raises:
            AwsError: S3 refused.
            BuildkiteError: the result could not be delivered.
            ConfigurationError: the files lack ``model.json``.
            VerificationFailed: there is a manifest already, of another model.
        """
        if not self.prefix:
            log.info("This flow runs on its own, without ARTIFACTS: its model is kept by Metaflow only.")
            return
        store = self.store()
        artifact = publish.upload_model(store, files)
        predictions = publish.upload_predictions(store, self.predictions)
        log.info(f"The model is {artifact.path}, {artifact.bytes:,} bytes.")
        request = self.find_request()
        if request is None:
            log.info("This flow runs on its own: there is no manifest to write and no build to unblock.")
            publish.clear_checkpoints(store)
            self._track_model(None, artifact)
            return
        manifest = self._manifest(request, artifact, predictions)
        number = environment.read().attempt
        result = publish.publish(store, manifest, number)
        publish.unblock(store, number, request, result, ApiAccess.read(os.environ))
        # The build does not wait for W&B.
        self._track_model(request, artifact)

    def _manifest(
        self, request: TrainingRequest, artifact: Artifact, predictions: PredictionsFile
    ) -> Manifest:
        """Everything about the model that this flow has kept."""
        computed = Runtime.model_validate(self.runtime)
        return Manifest(
            request=request,
            data=DataSnapshot.model_validate(self.snapshot),
            evaluation=Evaluation.model_validate(self.evaluation),
            predictions=predictions,
            wandb=WandbRun.model_validate(self.wandb),
            artifact=artifact,
            runtime=computed.model_copy(update={"image": computed.image or request.images.default}),
            golden=tuple(GoldenPrediction.model_validate(item) for item in self.golden),
            timings=dict(self.seconds),
            training=self._training(),
            steps=self._step_runs(),
            created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )

    def _step_runs(self) -> tuple[StepRun, ...]:
        """The steps so far, with this one."""
        earlier = [StepRun.model_validate(run) for run in getattr(self, "step_runs", [])]
        return (*earlier, step_runs.run_until_now(type(self), str(current.step_name), str(current.task_id)))

    def _training(self) -> TrainingSummary | None:
        """What the manifest says of the training; None if the flow did not call keep_training_rows."""
        if self.training_rows is None:
            return None
        kept = TrainingSummary.model_validate(self.training_rows)
        found = convergence.of_curves(self.curves)
        measured = {
            "curve": curve(self.curves),
            "converged": found.converged,
            "improving": found.improving,
        }
        return kept.model_copy(update=measured)

    def _track_model(self, request: TrainingRequest | None, artifact: Artifact) -> None:
        """Add the model to the W&B run, if there is one."""
        if self.wandb["url"]:
            tracker = self._tracker(request)
            tracker.add_model(artifact)
            tracker.finish()
            if tracker.problem:
                log.info(f"The W&B run has no reference to the model, because {tracker.problem}.")

    def _tracker(self, request: TrainingRequest | None) -> Tracker:
        """The W&B run of this training, which each of its steps continues."""
        own = environment.read()
        # A flow may fit a model before it keeps the rows.
        config = {"data_sha256": getattr(self, "snapshot", {}).get("sha256")}
        if request is not None:
            return open_run(description.of_build(request, config, own.wandb_entity))
        folder = Path(inspect.getfile(type(self))).resolve().parent
        about = {**config, **description.of_checkout(folder), "artifacts": self.prefix}
        project = own.wandb_project or str(current.flow_name)
        return open_run(
            description.of_experiment(
                folder.name,
                self.run_name,
                self.parameters,
                about,
                project=project,
                entity=own.wandb_entity,
            )
        )
