"""One build has one training: the step that trains claims its build in the build's meta-data.

Meta-data has no conditional write, so a claim is made in two writes: a step that is asking is seen by any
other that asks at the same time, and both are refused. A retried step finds its own claim and goes on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping

from modelbuild.buildkite import agent
from modelbuild.errors import ConfigurationError
from modelbuild.settings.train import TrainSettings

META_DATA = "train/claim/"
"""The beginning of meta-data keys that hold a claim; what distinguishes trainings of a build follows."""

_ASKED, _HELD = "asked", "held"


def hold(settings: TrainSettings, environ: Mapping[str, str], keys: Collection[str]) -> None:
    """Claim this build for the training of this step, or find the claim of an earlier run of the step.

    Args:
        settings: the step's options.
        environ: the job's environment.
        keys: the keys of the build's meta-data, as they were at any time since the job began.

    Raises:
        ConfigurationError: another step of this build trains, or this step has parallel jobs.
        BuildkiteError: the agent's command line failed.
    """
    own = _key(settings)
    _require_single_job(environ)
    if own in keys and _state(own) == _HELD:
        return
    _require_no_other(keys, own)
    agent.set_meta_data({own: f"{_ASKED} {settings.flow}"})
    _require_no_other(agent.meta_data_keys(), own)
    agent.set_meta_data({own: f"{_HELD} {settings.flow}"})


def require_free(settings: TrainSettings, environ: Mapping[str, str], keys: Collection[str]) -> None:
    """Refuse what :func:`hold` would refuse, and change nothing.

    Raises:
        ConfigurationError: another step of this build trains, or this step has parallel jobs.
        BuildkiteError: the agent's command line failed.
    """
    own = _key(settings)
    _require_single_job(environ)
    if own not in keys or _state(own) != _HELD:
        _require_no_other(keys, own)


def _key(settings: TrainSettings) -> str:
    """The key of a training: its flow, where its model lies, and the step that it unblocks."""
    identity = json.dumps([settings.flow, settings.artifacts, settings.unblock])
    return META_DATA + hashlib.sha256(identity.encode()).hexdigest()[:16]


def _state(key: str) -> str:
    return (agent.get_meta_data(key) or "").split(" ", 1)[0]


def _require_no_other(keys: Collection[str], own: str) -> None:
    other = next((key for key in sorted(keys) if key.startswith(META_DATA) and key != own), None)
    if other is not None:
        flow = (agent.get_meta_data(other) or " ").split(" ", 1)[-1]
        raise ConfigurationError(
            f"another step of this build trains {flow or 'a model'}, and a build has one training: give this "
            "one a pipeline of its own, and start a new build"
        )


def _require_single_job(environ: Mapping[str, str]) -> None:
    count = environ.get("BUILDKITE_PARALLEL_JOB_COUNT", "")
    if count not in ("", "0", "1"):
        raise ConfigurationError(
            f"this step has parallelism {count}, and a build has one training: remove parallelism"
        )
