"""The candidates of a sweep: notify offers them, and a person chooses the one that deploy serves.

A flow can write to the prefixes of its candidates, and to the leaderboard. So this module reads a candidate
only at the prefix that its number gives, and requires its request to be the pinned request of the sweep with
the values of the leaderboard. notify pins what it has shown, and deploy finds a candidate by that pin alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import JsonValue

from modelbuild.buildkite.job import JobEnvironment
from modelbuild.buildkite.trainings import TrainingMetaData
from modelbuild.contract import (
    CANDIDATES_PIN,
    CHOSEN_CANDIDATE,
    Leaderboard,
    Manifest,
    Offer,
    OfferedCandidate,
    TrainingRequest,
    TrainingResult,
)
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.handoff import pins
from modelbuild.handoff.fields import DecisionFields
from modelbuild.handoff.manifest import (
    Handoff,
    Requested,
    check_manifest,
    read_manifest,
    require_own_manifest,
)
from modelbuild.handoff.result import find_store
from modelbuild.store import records
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects
from modelbuild.store.sweep import SweepStore
from modelbuild.text import counted


@dataclass(frozen=True)
class Candidates:
    """The leaderboard of a sweep, and the models of those candidates that can be deployed, the best first."""

    leaderboard: Leaderboard
    offered: tuple[Handoff, ...]

    @property
    def source(self) -> str:
        """The URI of the manifest of the best."""
        return self.best.source

    @property
    def pins(self) -> dict[str, str]:
        """What notify pins in the build's meta-data."""
        offer = Offer(candidates=tuple(map(offered_as, self.offered)))
        return {CANDIDATES_PIN: offer.model_dump_json()}

    @property
    def best(self) -> Handoff:
        """The candidate of rank 1, which the page is about."""
        return self.offered[0]


def read_candidates(requested: Requested, result: TrainingResult) -> Candidates:
    """The candidates that a successful sweep offers; checked against this build and the result.

    Raises:
        NotFound: there is no leaderboard, or no manifest of an offered candidate.
        VerificationFailed: leaderboard, manifests or fields are not this build's, or contradict each other.
        AwsError: S3 refused.
    """
    leaderboard = _leaderboard(requested)
    places = [
        _candidate(requested, _place(requested, row.model_id), row.values) for row in leaderboard.offered
    ]
    require_own_manifest(result, places[0].store)
    with ThreadPoolExecutor() as threads:
        contents = list(threads.map(lambda place: place.store.manifest_bytes(), places))
    # The fields are those of the best.
    results = [result, *[None] * (len(places) - 1)]
    return Candidates(leaderboard, tuple(map(check_manifest, places, contents, results)))


def read_leaderboard(
    meta_data: TrainingMetaData, objects: Objects, job: JobEnvironment
) -> Leaderboard | None:
    """The leaderboard of a sweep that failed, for people; None if this build has none.

    Raises:
        ConfigurationError: the train step recorded no prefix.
        VerificationFailed: it cannot be read, or the prefix is another build's.
        AwsError: S3 refused.
        BuildkiteError: the agent's command line failed.
    """
    return SweepStore(objects, find_store(meta_data, objects, job).prefix).leaderboard()


def read_approved(
    requested: Requested, result: TrainingResult, meta_data: TrainingMetaData, fields: DecisionFields
) -> Handoff:
    """The model that a person approved, as notify has shown it: of the build, or a candidate of its sweep.

    Args:
        requested: what the build asked for.
        result: of the training.
        meta_data: of the training.
        fields: what the person chose.

    Raises:
        ConfigurationError: notify has shown no model, or offered no candidate of the rank that was chosen.
        NotFound: there is no manifest.
        VerificationFailed: the model was changed after notify showed it, or is not of this build.
        AwsError: S3 refused.
        BuildkiteError: the agent's command line failed.
    """
    if requested.request.sweep is None:
        _rank(fields, "this build has no sweep, and so one model only", 1)
        approved = read_manifest(requested, result)
        pins.require_pinned(approved, meta_data)
        return approved
    offered = pins.pinned_offer(meta_data).candidates
    places = [_place(requested, one.model_id) for one in offered]
    require_own_manifest(result, places[0])
    rank = _rank(fields, f"notify offered {counted(len(offered), 'candidate')}", len(offered))
    store = places[rank - 1]
    content = store.manifest_bytes()
    manifest = records.parse(content, store.manifest_uri, Manifest)
    place = _candidate(requested, store, manifest.request.swept)
    approved = check_manifest(place, content, result if rank == 1 else None)
    if offered_as(approved) != offered[rank - 1]:
        raise VerificationFailed(
            f"{store.manifest_uri} was changed after notify showed it: meta-data "
            f"{meta_data.prefix}{CANDIDATES_PIN} has other hashes for rank {rank}; nothing was deployed; "
            "start a new build"
        )
    return approved


def candidate_request(
    sweep: TrainingRequest, number: int, values: Mapping[str, JsonValue], source: str
) -> TrainingRequest:
    """The request that a sweep makes for one of its candidates.

    Args:
        sweep: the request of the sweep.
        number: of the candidate.
        values: the values that the sweep set, according to ``source``.
        source: the record that has the values, for errors.

    Raises:
        VerificationFailed: the sweep makes no such candidate.
    """
    space = {} if sweep.sweep is None else sweep.sweep.space
    if foreign := sorted(values.keys() - space.keys()):
        raise VerificationFailed(
            f"{source} has a value for {foreign[0]}, which the sweep of build {sweep.model_id} does not set: "
            "start a new build"
        )
    try:
        return sweep.candidate(number, values)
    except ValueError as error:
        raise VerificationFailed(
            f"{source} is not of the flow of build {sweep.model_id} ({error}): start a new build"
        ) from error


def offered_as(handoff: Handoff) -> OfferedCandidate:
    """What notify pins of a candidate."""
    return OfferedCandidate(
        model_id=handoff.manifest.request.model_id,
        manifest_sha256=handoff.manifest_sha256,
        model_sha256=handoff.manifest.artifact.sha256,
    )


def _rank(fields: DecisionFields, explanation: str, last: int) -> int:
    """The rank that the person chose; the best one's if the block step does not ask."""
    written = fields.candidate or "1"
    ranks = [str(rank) for rank in range(1, last + 1)]
    if written not in ranks:
        allowed = f"a rank from 1 to {last}" if last > 1 else "rank 1"
        adopt = "adopt one with modelbuild adopt and train it alone, or " if last > 1 else ""
        raise ConfigurationError(
            f"meta-data {fields.keys[CHOSEN_CANDIDATE]} is {written[:80]!r}, but {explanation}: nothing was "
            f"deployed; {adopt}start a new build, and choose {allowed}"
        )
    return int(written)


def _leaderboard(requested: Requested) -> Leaderboard:
    """The leaderboard of this sweep, with at least one candidate that is offered."""
    store, request = SweepStore(requested.store.objects, requested.store.prefix), requested.request
    uri = store.leaderboard_uri
    found = store.leaderboard()
    if found is None:
        raise VerificationFailed(f"there is no {uri}, which a sweep that succeeded leaves: start a new build")
    claims: list[tuple[str, object, object]] = [
        ("pipeline", found.pipeline, request.build.pipeline),
        ("model", found.model, request.model),
        ("model id", found.model_id, request.model_id),
        ("sweep", found.sweep, request.sweep),
    ]
    for name, written, expected in claims:
        if written != expected:
            raise VerificationFailed(
                f"the {name} in {uri} is not that of this build: what was handed over is not what was "
                "trained; start a new build"
            )
    ranks = [row.rank for row in found.offered]
    if not 1 <= len(ranks) <= found.sweep.offered or ranks != [*range(1, len(ranks) + 1)]:
        raise VerificationFailed(
            f"{uri} offers candidates of the ranks {ranks}, which must be 1, 2, ... to at most "
            f"{found.sweep.offered}: start a new build"
        )
    return found


def _place(requested: Requested, model_id: str) -> ModelStore:
    """Where a candidate of this sweep lies, by its id."""
    sweep, _, number = model_id.partition(".")
    if sweep != requested.request.model_id or not number:
        raise VerificationFailed(
            f"{model_id} is no candidate of the sweep of build {requested.request.model_id}: start a new "
            "build"
        )
    return ModelStore(requested.store.objects, f"{requested.store.prefix}.{number}")


def _candidate(requested: Requested, store: ModelStore, values: Mapping[str, JsonValue]) -> Requested:
    """The request that this sweep makes for the candidate in a store, with these values."""
    number = int(store.prefix.rpartition(".")[2])
    return Requested(store, candidate_request(requested.request, number, values, f"candidate {store.prefix}"))
