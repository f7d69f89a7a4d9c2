"""Pins in meta-data the model that notify showed, so that deploy serves that model and no other."""

from __future__ import annotations

from modelbuild.buildkite.trainings import TrainingMetaData
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.handoff.manifest import Handoff


def pin(handoff: Handoff, meta_data: TrainingMetaData) -> None:
    """Pin the hashes of the model that the page shows: a person approves it, and deploy requires them.

    A build shows one model of a name: if the page has shown another one, a person may have approved that one.

    Raises:
        VerificationFailed: another manifest or model has been shown.
        BuildkiteError: the agent's command line failed.
    """
    pinned = meta_data.get_all(handoff.pins)
    for key, value in handoff.pins.items():
        before = pinned[key]
        if before and before != value:
            raise VerificationFailed(
                f"{handoff.result.manifest} was changed after this build showed it: {key} is {before}, and "
                f"was found to be {value}; start a new build"
            )
    meta_data.set(handoff.pins)


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
            raise ConfigurationError(
                f"meta-data {meta_data.prefix}{key} is not set, so no person has been shown what is to be "
                "deployed: put a step with the plugin notify before this one, or retry that step now that "
                "the training has ended"
            )
        if shown != value:
            raise VerificationFailed(
                f"{handoff.result.manifest} was changed after notify showed it: {key} is {shown}, and was "
                f"found to be {value}; nothing was deployed; start a new build"
            )
