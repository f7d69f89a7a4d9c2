"""The methods that override those of a user's flow when it trains a candidate.

They give the steps the parameters of the candidate and the snapshot of the sweep, where an ordinary flow
reads its request and runs its query.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from modelbuild import log
from modelbuild.aws.athena import Athena
from modelbuild.aws.identity import session
from modelbuild.contract import DataSnapshot, StepRun, TrainingRequest, WandbRun
from modelbuild.errors import ConfigurationError
from modelbuild.flow import publish, rows, snapshot
from modelbuild.flow.base import ModelFlow, Row
from modelbuild.flow.process import environment
from modelbuild.flow.progress import ProgressRecorder
from modelbuild.flow.tracking import description
from modelbuild.flow.tracking.run import Tracker, open_run
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore

if TYPE_CHECKING:
    import pyarrow as pa

    from modelbuild.flow.sweep.candidate import CandidateTraining

_VALIDATION_SEED = 2**33
"""Added to the sweep's seed, so that validation rows are not chosen by the hash that chose the test rows."""


class CandidateFlow(ModelFlow):
    """The methods that replace those of :class:`ModelFlow`; not a flow by itself.

    It has one name of its own, which begins with the name of this package: any other may be one of an
    attribute or a step of the user's flow.
    """

    _modelbuild_candidate: CandidateTraining

    def begin(self) -> None:
        """Start with the parameters of the candidate."""
        request = self._modelbuild_candidate.context.request
        self.parameters = dict(request.parameters)
        self.prefix = request.artifacts
        self.run_name = request.model_id
        self.seconds = {}
        self.curves = {}
        self.training_rows = None
        self.wandb = WandbRun(id="", url="").model_dump(mode="json")

    def next(self, *destinations: Any, **options: Any) -> None:
        """Keep which step comes next."""
        if len(destinations) != 1 or options or not callable(destinations[0]):
            raise ConfigurationError(
                "the flow branches: a sweep trains flows whose steps follow one another, so train this one "
                "without option sweep"
            )
        self._modelbuild_candidate.next_step = destinations[0].__name__

    def find_request(self) -> TrainingRequest | None:
        """The request of the candidate."""
        return self._modelbuild_candidate.context.request

    def store(self) -> ModelStore:
        """The files of the candidate, among which the flow may write checkpoints."""
        self._modelbuild_candidate.may_have_checkpoints = True
        return self._modelbuild_candidate.store()

    def take_snapshot(self, query: str) -> None:
        """Use the snapshot of the sweep, which is taken once.

        Raises:
            ConfigurationError: the candidate's parameters select other rows.
        """
        candidate = self._modelbuild_candidate
        found = candidate.context.snapshot
        if found is None:
            with self.timed("snapshot"):
                found = snapshot.take(Athena(session(AwsSettings())), candidate.sweep_store(), query)
        _require_same(found.source == query)
        self.snapshot = found.model_dump(mode="json")

    def read_snapshot(self) -> pa.Table:
        """The rows of the sweep's snapshot."""
        context = self._modelbuild_candidate.context
        if context.table is not None:
            return context.table
        return snapshot.read(context.objects, DataSnapshot.model_validate(self.snapshot))

    def keep_rows(self, rows: Sequence[Any], source: str) -> None:
        """Use the rows of the sweep, which are kept once.

        Raises:
            ConfigurationError: the candidate's parameters give other rows.
        """
        taken, store = self._modelbuild_candidate.context.snapshot, self._modelbuild_candidate.sweep_store()
        kept = snapshot.keep(None if taken else store, rows, source)
        found = taken or store.write_snapshot_once(kept)
        _require_same(found.sha256 == kept.sha256)
        self.snapshot = found.model_dump(mode="json")

    def search_split(
        self, train: list[Row], held_out: list[Row], key: Callable[[Row], str]
    ) -> tuple[list[Row], list[Row]]:
        """For the ranking, the training rows without the validation rows, and the validation rows."""
        self._modelbuild_candidate.is_split = True
        context = self._modelbuild_candidate.context
        if not context.searches:
            return train, held_out
        sweep = context.sweep.sweep
        assert sweep is not None
        percent, seed = sweep.validation_percent, sweep.seed + _VALIDATION_SEED
        return rows.split(train, key, test_percent=percent, seed=seed)

    def progress(self) -> ProgressRecorder:
        """A recorder for the curves of the candidate and its W&B run."""
        self.curves = {}
        tracker = self._tracker(self.find_request())
        self.wandb = tracker.recorded.model_dump(mode="json")
        return ProgressRecorder(self.curves, log.info, tracker.log)

    def publish_model(self, files: Mapping[str, bytes]) -> None:
        """Measure the model; write it and its manifest if it is to be offered.

        If an earlier job wrote them and died before it wrote the outcome, the outcome is that of its model.

        Raises:
            ConfigurationError: the flow does not let validation rows be split off.
            VerificationFailed: another training of the candidate writes its model, too.
            AwsError: S3 refused.
        """
        candidate = self._modelbuild_candidate
        if not candidate.is_split:
            raise ConfigurationError(
                "the flow would rank candidates by its test rows: where it splits its rows, it must pass "
                "both parts through self.search_split(train, held_out, key)"
            )
        request, store = candidate.context.request, candidate.store()
        if candidate.context.searches:
            _, candidate.artifact = publish.pack_model(files, store.model_uri)
        else:
            store.write_request_once(request)
            kept = store.manifest()
            if kept is None or kept.request != request:
                artifact = publish.upload_model(store, files)
                predictions = publish.upload_predictions(store, self.predictions)
                kept = store.publish_manifest(self._manifest(request, artifact, predictions))
            else:
                store.require_files(kept)
            candidate.artifact = kept.artifact
            self.evaluation = kept.evaluation.model_dump(mode="json", by_alias=True)
            self._track_model(request, kept.artifact)
        if candidate.may_have_checkpoints:
            publish.clear_checkpoints(store)

    def _step_runs(self) -> tuple[StepRun, ...]:
        return self._modelbuild_candidate.step_runs()

    def _tracker(self, request: TrainingRequest | None) -> Tracker:
        """The W&B run of the candidate, in the group of the sweep."""
        assert request is not None
        context = self._modelbuild_candidate.context
        about = {"data_sha256": getattr(self, "snapshot", {}).get("sha256")}
        found = description.of_build(request, about, environment.read().wandb_entity)
        group = f"{request.model}-{context.sweep.model_id}"
        if context.searches:
            return open_run(replace(found, id=f"{found.id}-search", group=group, job_type="candidate"))
        return open_run(replace(found, group=group))


def _require_same(is_same: bool) -> None:
    if not is_same:
        raise ConfigurationError(
            "the parameters of this candidate select other rows than the sweep's snapshot, so it could not "
            "be compared with the others: sweep parameters that do not change the rows"
        )
