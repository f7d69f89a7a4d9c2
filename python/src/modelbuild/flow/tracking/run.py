"""The W&B run that this process writes: curves of the fit, the evaluation, the model, and how it ended."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from modelbuild import log
from modelbuild.contract import Artifact, Evaluation, Quality, WandbRun
from modelbuild.flow.tracking.description import Description

if TYPE_CHECKING:
    from modelbuild.flow.evaluation import Evaluated

KEY = "WANDB_API_KEY"
"""W&B's own variable with the key of its API. If it is empty there is no key, and the SDK is not imported;
without it, the SDK looks for a key elsewhere.
"""

_INIT_SECONDS = 15.0
_ANSWER_SECONDS = 5
_FINISH_SECONDS = 20.0
_RETRIES = 3

_open: dict[str, Tracker] = {}
"""The run that this process has open, by its id: W&B's SDK has one at a time."""


class Tracker:
    """A W&B run. No method raises: the first failure is logged, and then nothing more is written.

    Attributes:
        recorded: id and URL of the run; the URL is empty for a run that did not begin.
        problem: why there is no run, or why it is not complete; empty if it is.
    """

    def __init__(self, description: Description) -> None:
        self._description = description
        self._folder = tempfile.TemporaryDirectory(prefix="modelbuild-wandb-", ignore_cleanup_errors=True)
        self._run: Any = None
        self.recorded = WandbRun(id=description.id, url="")
        self.problem = ""
        with self._guarded():
            self._run = _init(description, self._folder.name)
            if self._run is None:
                self.problem = "there is no key in WANDB_API_KEY"
            else:
                self.recorded = WandbRun(id=description.id, url=self._run.url or "")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Add a point to the curves. W&B ignores a step below the last one, such as one that is repeated."""
        self._write(lambda run: run.log(dict(values), step=step))

    def add_evaluation(self, evaluated: Evaluated, *, private: bool) -> None:
        """Add metrics, charts, and a table of mistakes, which ``private`` leaves out.

        Charts and mistakes are those of a classifier.
        """
        self._write(lambda run: _write_evaluation(run, evaluated, private))

    def add_model(self, artifact: Artifact) -> None:
        """Add a reference to the model in S3, with its hash as metadata."""
        self._write(lambda run: _write_model(run, self._description, artifact))

    def alert(self, title: str, text: str) -> None:
        """Have W&B tell people that the training failed."""
        self._write(lambda run: run.alert(title, text, level="ERROR"))

    def finish(self, exit_code: int = 0) -> WandbRun:
        """Wait until W&B has everything, at most 20 seconds; a code other than 0 marks the run as failed."""
        with self._guarded():
            if self._run is not None:
                self._run.finish(exit_code)
        self._run = None
        _open.pop(self.recorded.id, None)
        self._folder.cleanup()
        return self.recorded

    def _write(self, write: Callable[[Any], object]) -> None:
        if not self.problem:
            with self._guarded():
                write(self._run)

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever W&B raises, the model is worth more
            if not self.problem:
                reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
                log.warn(
                    f"W&B did not take run {self.recorded.id} ({reason}); the training continues without it."
                )
            self.problem = "W&B did not take it"


def open_run(description: Description) -> Tracker:
    """The run of a description: a new one, or that of an earlier step, attempt or call, which it continues.

    Another run that is open is finished first. A run that is open at the end of the process is finished by
    the SDK, with the exit code of the process.
    """
    for other in [tracker for id, tracker in _open.items() if id != description.id]:
        other.finish()
    if description.id not in _open:
        _open[description.id] = Tracker(description)
    return _open[description.id]


def summary(evaluation: Evaluation) -> dict[str, float]:
    """An evaluation as flat numbers, such as ``macro_f1``, ``class/positive/f1`` and
    ``baseline/vader/macro_f1``.
    """
    numbers = _flat("", evaluation.overall)
    for kind, named in {**evaluation.slices, "baseline": evaluation.baselines}.items():
        for name, quality in named.items():
            numbers |= _flat(f"{kind}/{name}/", quality)
    return numbers


def _flat(prefix: str, quality: Quality) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in {"rows": quality.rows, **quality.metrics}.items()}


def _write_evaluation(run: Any, evaluated: Evaluated, private: bool) -> None:
    # They take longer to import than the rest, and the step that fits the model does not need them.
    from modelbuild.flow.tracking import media

    evaluation = evaluated.evaluation
    about = {"evaluation_dataset_sha256": evaluation.dataset_sha256, "primary_metric": evaluation.primary}
    run.config.update(about, allow_val_change=True)
    run.summary.update(summary(evaluation))
    run.log(media.charts(evaluated.predictions, mistakes=not private))


def _write_model(run: Any, description: Description, artifact: Artifact) -> None:
    import wandb

    metadata = {"sha256": artifact.sha256, "bytes": artifact.bytes, "files": artifact.files}
    reference = wandb.Artifact(description.artifact, "model", metadata=metadata)
    # W&B would read the object to hash it, and its hash is known.
    reference.add_reference(artifact.path, checksum=False)
    run.log_artifact(reference, aliases=[*description.aliases])


def load_sdk() -> Any:
    """Import W&B's SDK, with the variables that it reads then; returns the module."""
    # Without the first it reports its failures to W&B's developers, and waits for that.
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    os.environ["WANDB_SILENT"] = "true"
    # For tables and artifacts the SDK waits for answers of W&B.
    os.environ.setdefault("WANDB_HTTP_TIMEOUT", str(_ANSWER_SECONDS))
    import wandb

    return wandb


def _init(description: Description, folder: str) -> Any:
    if KEY in os.environ:
        # A secret may have been stored with a line end, which the SDK refuses.
        os.environ[KEY] = os.environ[KEY].strip()
    if os.environ.get(KEY) == "":
        return None
    wandb = load_sdk()
    if not wandb.login(prompt=False):
        return None
    settings = wandb.Settings(
        root_dir=folder,
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        # The list of the installed packages takes longer than many a candidate. A sweep has it in the runs of
        # the candidates that it offers.
        x_save_requirements=description.job_type != "candidate",
        init_timeout=_INIT_SECONDS,
        finish_timeout=_FINISH_SECONDS,
        finish_timeout_raises=True,
        x_graphql_retry_max=_RETRIES,
        x_graphql_retry_wait_min_seconds=0.2,
        x_graphql_retry_wait_max_seconds=1.0,
    )
    return wandb.init(
        id=description.id,
        name=description.name,
        entity=description.entity,
        project=description.project,
        group=description.group,
        job_type=description.job_type,
        tags=list(description.tags),
        notes=description.notes,
        config=dict(description.config),
        resume="allow",
        dir=folder,
        settings=settings,
    )
