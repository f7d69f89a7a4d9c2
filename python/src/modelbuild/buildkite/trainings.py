"""The trainings of one build, in its meta-data.

If a train step has no option ``model``, its training is the only one of the build, with plain keys such as
``training/status``. A build may have any number of trainings with option ``model``, whose keys begin with the
model's name: ``sentiment/training/status``. Each train step claims its training before it submits a job, and
fails if the claim of another step has the same key, S3 prefix or block step.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from modelbuild import log
from modelbuild.buildkite import agent
from modelbuild.contract import parameter_variables, sha256_of, shortened
from modelbuild.errors import BuildkiteError, ConfigurationError

_CLAIMS = "train/claim/"
_ONLY, _NAMED = "only", "named"

_CONTEXT_CHARACTERS = 100
"""Buildkite's limit of the context of an annotation."""

REFUSED = "refused"
"""The value of a claim whose step failed because of another claim."""


@dataclass(frozen=True)
class Claim:
    """The claim of a train step to a training of its build. A claim is a key of meta-data: one call lists all
    claims.

    Attributes:
        model: the model's name.
        named: whether the step has option ``model``.
        unblock: a hash of the block step's key.
        training: a hash of everything that distinguishes trainings; a retried step has the same hash.
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
        """The prefix of this training's other keys."""
        return f"{self.model}/" if self.named else ""

    def collision(self, other: Claim) -> str:
        """The reason why one build cannot have both trainings; empty if it can, or if they are the same."""
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
        prefixes = sorted((parameter_variables(self.model), parameter_variables(other.model)))
        if prefixes[1].startswith(prefixes[0]):
            return (
                f"the training of model {other.model} reads the same variables {prefixes[1]}… as this one: "
                "give one of them a name that differs in letters or digits"
            )
        if self.unblock == other.unblock:
            return (
                f"the training of model {other.model} unblocks the same step: give each training of a build "
                "a block step of its own"
            )
        return ""


@dataclass(frozen=True)
class TrainingMetaData:
    """The build's meta-data and annotations about one training; ``prefix`` is the prefix of its keys."""

    prefix: str = ""
    _cache: dict[str, str | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def read_ahead(self, names: Iterable[str], keys: Collection[str]) -> None:
        """Read values of keys at the same time, for calls of ``get`` and ``get_all``; raises
        ``BuildkiteError``.

        Args:
            names: the keys.
            keys: all keys of the build's meta-data; values of others are not asked for.
        """
        requested = dict.fromkeys(names)
        present = [self.prefix + name for name in requested if self.prefix + name in keys]
        values = agent.get_all_meta_data(present)
        self._cache.update({name: values.get(self.prefix + name) for name in requested})

    def get(self, name: str) -> str | None:
        """The value of a key, or None if it was never set; raises ``BuildkiteError``."""
        return self._cache[name] if name in self._cache else agent.get_meta_data(self.prefix + name)

    def find_all(self, names: Iterable[str]) -> dict[str, str | None]:
        """The values of several keys, None for each that was never set; raises ``BuildkiteError``."""
        requested = list(names)
        unknown = agent.get_all_meta_data(self.prefix + name for name in requested if name not in self._cache)
        return {name: self._cache.get(name, unknown.get(self.prefix + name)) for name in requested}

    def get_all(self, names: Iterable[str]) -> dict[str, str]:
        """The values of several keys, empty for each that was never set; raises ``BuildkiteError``."""
        return {name: value or "" for name, value in self.find_all(names).items()}

    def names(self) -> list[str]:
        """The keys that are set; raises ``BuildkiteError``."""
        found = (key for key in agent.meta_data_keys() if key.startswith(self.prefix))
        return [key.removeprefix(self.prefix) for key in found]

    def set(self, values: Mapping[str, str]) -> None:
        """Set values by their keys, except blank ones; raises ``BuildkiteError``."""
        agent.set_meta_data({self.prefix + name: value for name, value in values.items()})
        for name in values:
            self._cache.pop(name, None)

    def annotate(self, body: str, *, context: str, style: agent.Style) -> None:
        """Put an annotation on the build, and replace this training's annotation of that context."""
        agent.annotate(body, context=self._annotation_context(context), style=style)

    def remove_annotation(self, context: str) -> None:
        """Remove this training's annotation of that context; if the agent fails, such as for one that was
        removed before, the log says so.
        """
        try:
            agent.remove_annotation(self._annotation_context(context))
        except BuildkiteError as error:
            log.warn(f"The annotation {self.prefix}{context} was not removed: {error}")

    def _annotation_context(self, context: str) -> str:
        """The context of an annotation in the build; the end of one that is too long becomes its hash."""
        return shortened(self.prefix + context, _CONTEXT_CHARACTERS)


def claims(keys: Collection[str]) -> list[Claim]:
    """The claims among the keys of a build's meta-data, by the name of their model."""
    parts = [key.removeprefix(_CLAIMS).split("/") for key in sorted(keys) if key.startswith(_CLAIMS)]
    found = [Claim(part[1], part[0] == _NAMED, part[2], part[3]) for part in parts if len(part) == 4]
    return sorted(found, key=lambda claim: claim.model)


def follow(model: str | None, names: Iterable[str] = ()) -> TrainingMetaData:
    """The meta-data of the training that a step follows.

    Args:
        model: the name of its model; None for the build's only training.
        names: the keys whose values the step needs: they are read ahead.

    Raises:
        ConfigurationError: the build trains no model of that name, or ``model`` is None and it trains
            several.
        BuildkiteError: the agent's command line failed.
    """
    keys = set(agent.meta_data_keys())
    found = TrainingMetaData(_prefix(model, keys))
    found.read_ahead(names, keys)
    return found


def _prefix(model: str | None, keys: Collection[str]) -> str:
    """The prefix of a training's keys."""
    claimed = claims(keys)
    values = agent.get_all_meta_data(claim.key for claim in claimed)
    found = [claim for claim in claimed if values[claim.key] != REFUSED]
    names = sorted({claim.model for claim in found})
    if model is None:
        if len(names) > 1:
            raise ConfigurationError(
                f"this build trains {', '.join(names)}: say with option model which of them this step follows"
            )
        # If there is no claim, the caller's error names what is missing.
        return found[0].meta_data_prefix if found else ""
    chosen = next((claim for claim in found if claim.model == model), None)
    if chosen is None:
        trained = f"trains {', '.join(names)}" if names else "has no training yet"
        raise ConfigurationError(
            f"option model is {model}, but this build {trained}: correct the option, or let this step depend "
            "on the train step"
        )
    return chosen.meta_data_prefix


def _hash(text: str) -> str:
    return sha256_of(text.encode())[:16]
