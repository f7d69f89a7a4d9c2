"""Pins in meta-data the models that notify showed, so that deploy serves one of them and no other."""

from __future__ import annotations

from typing import Protocol

from pydantic import ValidationError

from modelbuild.buildkite.trainings import TrainingMetaData
from modelbuild.contract import CANDIDATES_PIN, Offer
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.handoff.manifest import Handoff

_NOTHING_SHOWN = (
    "so no person has been shown what is to be deployed: put a step with the plugin notify before this one, "
    "or retry that step now that the training has ended"
)


class Shown(Protocol):
    """What a page shows: a model, or the candidates of a sweep."""

    @property
    def pins(self) -> dict[str, str]:
        """The values that notify pins, by their keys of meta-data."""

    @property
    def source(self) -> str:
        """The URI of the file that the page shows."""


def has_shown(shown: Shown, meta_data: TrainingMetaData) -> bool:
    """Whether the build has shown a model, this one or another one; raises ``BuildkiteError``.

    A build may be made with some of the pins, such as the hash of a model that an earlier one has trained.
    """
    return all(meta_data.get_all(shown.pins).values())


def require_unchanged(shown: Shown, meta_data: TrainingMetaData) -> None:
    """Require that the build has shown nothing else than what is about to be shown.

    A build shows one model of a name, or the candidates of one sweep: if the page has shown others, a person
    may have approved those.

    Raises:
        VerificationFailed: another manifest or model has been shown.
        BuildkiteError: the agent's command line failed.
    """
    pinned = meta_data.get_all(shown.pins)
    for key, value in shown.pins.items():
        before = pinned[key]
        if before and before != value:
            raise VerificationFailed(
                f"{shown.source} was changed after this build showed it: {key} was {before}, "
                f"and is {value} now; start a new build"
            )


def pin(shown: Shown, meta_data: TrainingMetaData) -> None:
    """Pin the hashes of what the page shows: a person approves it, and deploy requires them.

    Raises:
        VerificationFailed: another manifest or model has been shown.
        BuildkiteError: the agent's command line failed.
    """
    require_unchanged(shown, meta_data)
    meta_data.set(shown.pins)


def require_pinned(handoff: Handoff, meta_data: TrainingMetaData) -> None:
    """Require that notify has shown the model that is about to be deployed.

    Raises:
        ConfigurationError: no notify step of this build has shown a model.
        VerificationFailed: it has shown another one.
        BuildkiteError: the agent's command line failed.
    """
    pinned = meta_data.get_all(handoff.pins)
    for key, value in handoff.pins.items():
        shown = pinned[key]
        if not shown:
            raise ConfigurationError(f"meta-data {meta_data.prefix}{key} is not set, {_NOTHING_SHOWN}")
        if shown != value:
            raise VerificationFailed(
                f"{handoff.result.manifest} was changed after notify showed it: {key} was {shown}, and "
                f"is {value} now; nothing was deployed; start a new build"
            )


def pinned_offer(meta_data: TrainingMetaData) -> Offer:
    """The candidates that notify has offered.

    Raises:
        ConfigurationError: no notify step of this build has offered any.
        VerificationFailed: what is pinned is no offer.
        BuildkiteError: the agent's command line failed.
    """
    pinned = meta_data.get(CANDIDATES_PIN)
    key = f"meta-data {meta_data.prefix}{CANDIDATES_PIN}"
    if not pinned:
        raise ConfigurationError(f"{key} is not set, {_NOTHING_SHOWN}")
    try:
        return Offer.model_validate_json(pinned)
    except ValidationError as error:
        raise VerificationFailed(
            f"{key} is {pinned[:80]!r}, which no notify step writes: start a new build, and leave this "
            "key to the notify step"
        ) from error
