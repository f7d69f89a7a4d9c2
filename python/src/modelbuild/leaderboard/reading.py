"""Reads the models of a pipeline from S3, several at a time: a manifest for each, and little else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias

from modelbuild.aws.failures import NotFound
from modelbuild.contract import Leaderboard, Manifest, TrainingRequest
from modelbuild.contract.report import Interval
from modelbuild.errors import VerificationFailed
from modelbuild.experiments.models import Answer
from modelbuild.leaderboard.entries import of_experiment, of_manifest, of_sweep, with_interval_of_sweep
from modelbuild.leaderboard.ranking import tables
from modelbuild.leaderboard.records import Board, Entry, EvaluationRows, Table
from modelbuild.store.model import ModelStore
from modelbuild.store.pipeline import PipelineStore
from modelbuild.store.sweep import SweepStore
from modelbuild.text import counted

MOST_MODELS = 5_000
"""The most models that are read, of all names together."""

_AT_ONCE = 16
_PREDICTIONS_BYTES = 8_000_000
_PREDICTIONS_ROWS = 20_000

Measure: TypeAlias = Callable[[bytes, str, str, float], Interval | None]
"""The interval of a metric from predictions: their bytes and URI, the metric's name and recorded value."""


@dataclass
class _Found:
    """What was read.

    Attributes:
        entries: with the rows that each was evaluated on.
        predictions: the hash of each model's predictions, of those that are small enough to be read.
    """

    entries: list[tuple[EvaluationRows, Entry]] = field(default_factory=list)
    models: int = 0
    sweeps: int = 0
    not_ranked: int = 0
    invalid: list[str] = field(default_factory=list)
    predictions: dict[tuple[str, str], str] = field(default_factory=dict)


def read_board(
    pipeline: PipelineStore, model: str | None, limit: int, answer: Answer, measure: Measure | None
) -> Board:
    """The tables of a pipeline.

    Args:
        pipeline: where its models lie.
        model: the name of the models; None for all.
        limit: how many entries a table has.
        answer: the experiments of W&B, with what could not be read of them.
        measure: what computes intervals; None if there is nothing to compute with.

    Raises:
        AwsError: S3 refused.
    """
    names = [name for name in pipeline.models() if model in (None, name)]
    ids = [(name, one) for name in names for one in pipeline.ids(name)]
    read = sorted(ids, key=lambda pair: [int(part) for part in pair[1].split(".")], reverse=True)[
        :MOST_MODELS
    ]
    notes = list(answer.unavailable)
    if len(ids) > len(read):
        notes.append(f"Not read: {counted(len(ids) - len(read), 'older model')}.")
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        found = _read(pipeline, read, threads)
        notes += _join_experiments(found, answer, model)
        made = tables(found.entries, limit)
        if lacking := len(found.entries) - sum(table.count for table in made):
            what = "model or run that lacks" if lacking == 1 else "models or runs that lack"
            notes.append(f"Not shown: {lacking:,} {what} the metric of the table of their rows.")
        finished = [_finish(pipeline, table, found, measure, threads) for table in made]
    return Board(
        pipeline=pipeline.root.rsplit("/", 1)[-1],
        artifacts=pipeline.root,
        tables=tuple(finished),
        models=found.models,
        sweeps=found.sweeps,
        experiments=len(answer.experiments),
        notes=(*notes, *_notes(found)),
    )


def _read(pipeline: PipelineStore, ids: Sequence[tuple[str, str]], threads: ThreadPoolExecutor) -> _Found:
    """The manifests, and the leaderboards of those that have candidates or no manifest."""
    found = _Found()
    models: dict[tuple[str, str], Entry] = {}
    rows_of: dict[tuple[str, str], EvaluationRows] = {}
    for key, manifest in zip(ids, threads.map(lambda key: _manifest(pipeline.model(*key)), ids), strict=True):
        if isinstance(manifest, str):
            found.invalid.append(manifest)
        elif manifest is not None:
            rows_of[key], models[key] = of_manifest(manifest)
            found.models += 1
            small = manifest.predictions.bytes <= _PREDICTIONS_BYTES
            if small and manifest.predictions.rows <= _PREDICTIONS_ROWS:
                found.predictions[key] = manifest.predictions.sha256
    sweeps = sorted(
        {(name, one.partition(".")[0]) for name, one in ids if "." in one or (name, one) not in models}
    )
    boards: dict[tuple[str, str], Leaderboard] = {}
    for key, board in zip(sweeps, threads.map(lambda key: _sweep(pipeline.model(*key)), sweeps), strict=True):
        if isinstance(board, str):
            found.invalid.append(board)
        elif board is not None:
            boards[key] = board[0]
            own = {str(m.model_id): m for (n, _), m in models.items() if n == key[0] and _is_of(m, key[1])}
            rows, entries = of_sweep(board[0], board[1], own)
            found.sweeps += 1
            found.not_ranked += len(board[0].rows) - len(entries)
            found.entries += [(rows, entry) for entry in entries]
    for key, entry in models.items():
        sweep = boards.get((key[0], key[1].partition(".")[0]))
        found.entries.append((rows_of[key], with_interval_of_sweep(entry, sweep)))
    return found


def _is_of(entry: Entry, sweep: str) -> bool:
    return str(entry.model_id).startswith(f"{sweep}.")


def _manifest(store: ModelStore) -> Manifest | str | None:
    """The manifest, None if there is none, or a sentence about one that cannot be read."""
    try:
        return store.manifest()
    except VerificationFailed as error:
        return str(error)


def _sweep(store: ModelStore) -> tuple[Leaderboard, TrainingRequest] | str | None:
    """The leaderboard and the request of a sweep, None if there is none, or a sentence."""
    try:
        board = SweepStore(store.objects, store.prefix).leaderboard()
        return None if board is None else (board, store.request())
    except (VerificationFailed, NotFound) as error:
        return str(error)


def _join_experiments(found: _Found, answer: Answer, model: str | None) -> Iterator[str]:
    """Add the experiments on rows that a model was evaluated on; a sentence counts the others."""
    rows_of = {rows.sha256: rows for rows, _ in reversed(found.entries)}
    experiments = [one for one in answer.experiments if model in (None, one.model)]
    known = [one for one in experiments if one.dataset_sha256 in rows_of]
    found.entries += [(rows_of[one.dataset_sha256], of_experiment(one)) for one in known]
    unknown = sum(not one.dataset_sha256 for one in experiments)
    if unknown:
        was = "was" if unknown == 1 else "were"
        yield f"Not shown: {counted(unknown, 'experimental run')} that {was} not evaluated."
    if others := len(experiments) - len(known) - unknown:
        yield f"Not shown: {counted(others, 'experimental run')} on rows that no model was evaluated on."


def _finish(
    pipeline: PipelineStore,
    table: Table,
    found: _Found,
    measure: Measure | None,
    threads: ThreadPoolExecutor,
) -> Table:
    """A table whose entries have their deployments and intervals."""

    def finished(entry: Entry) -> Entry:
        if entry.model_id is None:
            return entry
        key = (entry.model, entry.model_id)
        store = pipeline.model(*key)
        update: dict[str, object] = {"deployed_at": _deployed_at(store)}
        if entry.kind == "model" and entry.interval is None and measure and key in found.predictions:
            update["interval"] = _interval(store, table, entry, found.predictions[key], measure)
        return entry.model_copy(update=update)

    return table.model_copy(update={"entries": tuple(threads.map(finished, table.entries))})


def _deployed_at(store: ModelStore) -> str:
    try:
        deployment = store.deployment()
    except VerificationFailed:
        return "not known"
    return deployment.deployed_at if deployment else ""


def _interval(
    store: ModelStore, table: Table, entry: Entry, sha256: str, measure: Measure
) -> Interval | None:
    """The interval from the predictions, if they are those that the manifest names."""
    try:
        content = store.objects.read(store.predictions_uri)
        if hashlib.sha256(content).hexdigest() != sha256:
            return None
        return measure(content, store.predictions_uri, table.rows.metric.name, table.value(entry))
    except (NotFound, VerificationFailed):
        return None


def _notes(found: _Found) -> Iterator[str]:
    if found.not_ranked:
        candidates = counted(found.not_ranked, "candidate")
        yield f"Not shown: {candidates} that failed, stopped early, or did not meet a constraint."
    if found.invalid:
        more = f" (and {len(found.invalid) - 1:,} more)" if len(found.invalid) > 1 else ""
        yield f"Not shown: {found.invalid[0]}{more}."
