"""The trainings of one build, as its meta-data has them.

A build has one training whose step has no option ``model``, and its keys are the plain ones, such as
``training/status``; or it has any number of trainings with option ``model``, and the keys of each begin with
its model's name: ``sentiment/training/status``. Each train step claims its training before it submits
anything, so that trainings which would share a key, a prefix in S3 or a block step are refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from modelbuild.buildkite import agent
from modelbuild.errors import ConfigurationError

_CLAIMS = "train/claim/"
_ONLY, _NAMED = "only", "named"

REFUSED = "refused"
"""The value of a claim whose step was refused after it had asked."""


@dataclass(frozen=True)
class Claim:
    """What a train step claims of its build. A claim is a key of meta-data: one call lists all claims.

    Attributes:
        model: the model's name.
        named: whether the step has option ``model``.
        unblock: a hash of the block step's key.
        training: a hash of everything that tells this training from another one; a retried step has the same.
    """

    model: str
    named: bool
    unblock: str
    training: str

    @classmethod
    def of(cls, model: str, named: bool, unblock: str, *rest: str) -> Claim:
        """The claim of a training; ``rest`` are further values that distinguish trainings."""
        return cls(model, named, _hash(unblock), _hash("\n".join([model, str(named), unblock, *rest])))

    @property
    def key(self) -> str:
        """The key of meta-data that holds the claim."""
        return f"{_CLAIMS}{_NAMED if self.named else _ONLY}/{self.model}/{self.unblock}/{self.training}"

    @property
    def meta_data_prefix(self) -> str:
        """What the other keys of this training begin with."""
        return f"{self.model}/" if self.named else ""

    def collision(self, other: Claim) -> str:
        """Why both trainings cannot be in one build, for people; empty if they can, or are the same one."""
        if self == other:
            return ""
        if self.model == other.model:
            return (
                f"another step of this build trains model {self.model} too: give each training of a build a "
                "name of its own with option model"
            )
        if not (self.named and other.named):
            return (
                f"another step of this build trains model {other.model}, and their meta-data would have the "
                "same keys: give each training of a build option model"
            )
        if self.unblock == other.unblock:
            return (
                f"the training of model {other.model} unblocks the same step: give each training of a build "
                "a block step of its own"
            )
        return ""


@dataclass(frozen=True)
class TrainingMetaData:
    """The build's meta-data, and annotations, about one training; ``prefix`` is what its keys begin with."""

    prefix: str = ""

    def get(self, name: str) -> str | None:
        """The value of a key, or None where it was never set; raises ``BuildkiteError``."""
        return agent.get_meta_data(self.prefix + name)

    def set(self, values: Mapping[str, str]) -> None:
        """Set values by their keys; blank ones are left out; raises ``BuildkiteError``."""
        agent.set_meta_data({self.prefix + name: value for name, value in values.items()})

    def annotate(self, body: str, *, context: str, style: agent.Style) -> None:
        """Put an annotation on the build, in place of this training's of that context."""
        agent.annotate(body, context=self.prefix + context, style=style)


def claims(keys: Collection[str]) -> list[Claim]:
    """The claims among the keys of a build's meta-data, by the name of their model."""
    parts = [key.removeprefix(_CLAIMS).split("/") for key in sorted(keys) if key.startswith(_CLAIMS)]
    found = [Claim(part[1], part[0] == _NAMED, part[2], part[3]) for part in parts if len(part) == 4]
    return sorted(found, key=lambda claim: claim.model)


def follow(model: str | None) -> TrainingMetaData:
    """The meta-data of the training that a step follows.

    Args:
        model: the name of its model; None for the build's only training.

    Raises:
        ConfigurationError: the build trains no model of that name, or several where none is named.
        BuildkiteError: the agent's command line failed.
    """
    found = [claim for claim in claims(agent.meta_data_keys()) if agent.get_meta_data(claim.key) != REFUSED]
    names = sorted({claim.model for claim in found})
    if model is None:
        if len(names) > 1:
            raise ConfigurationError(
                f"this build trains {', '.join(names)}: say with option model which of them this step follows"
            )
        # Without a claim, the caller says what else is missing.
        return TrainingMetaData(found[0].meta_data_prefix if found else "")
    chosen = next((claim for claim in found if claim.model == model), None)
    if chosen is None:
        trained = f"trains {', '.join(names)}" if names else "has no training yet"
        raise ConfigurationError(
            f"option model is {model}, but this build {trained}: correct the option, or let this step depend "
            "on the train step"
        )
    return TrainingMetaData(chosen.meta_data_prefix)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
