"""The parameters in a parameter file. They have no defaults, so the file shows all values that trained a
model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, RootModel, StringConstraints, Tag

from modelbuild.flow import parameters

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,127}$")]
Domain = Literal["tweets", "amazon", "movie", "nyt"]
Share = Annotated[float, Field(ge=0, le=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Data(_Section):
    """The rows of the lake to use."""

    database: Identifier
    table: Identifier
    domains: Annotated[tuple[Domain, ...], Field(min_length=1)]
    min_raters: Annotated[int, Field(ge=1)]
    """How many people must have rated a text."""


class Labels(_Section):
    """The rule that turns a mean rating from -4 to 4 into a label."""

    tau: Annotated[float, Field(ge=0, lt=4)]
    """Above it a rating is positive, below its negative it is negative, between it is neutral."""


class Split(_Section):
    """The choice of held-out source documents."""

    test_percent: Annotated[int, Field(ge=1, le=99)]


class LinearModel(_Section):
    """The size of a log-linear model of hashed n-grams."""

    kind: Literal["linear"]
    ngrams: Annotated[int, Field(ge=1, le=5)]
    """The words of the longest n-gram of words."""
    characters: Literal[0, 3, 4, 5, 6, 7, 8]
    """The bytes of the longest n-gram of characters; 0 for none."""
    buckets: Annotated[int, Field(ge=1, le=2**24)]


class LinearTraining(_Section):
    """How a linear model is fitted."""

    epochs: Annotated[int, Field(ge=1, le=1000)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    balance: Share
    """0 weighs every row the same, 1 every label the same."""
    weight_decay: Annotated[float, Field(ge=0)]
    """Before a step, all weights but the bias are multiplied by exp(-rate * weight_decay)."""


class TransformerModel(_Section):
    """What of the pretrained transformer is used, and how it is served."""

    kind: Literal["transformer"]
    max_tokens: Annotated[int, Field(ge=8, le=512)]
    """A text is cut after so many tokens, in training and when it is served."""
    weights: Literal["float32", "int8"]
    """The type of the weights that are served."""


class TransformerTraining(_Section):
    """How a transformer is fine-tuned, see :class:`modelbuild.flow.models.transformer.finetune.Settings`."""

    epochs: Annotated[int, Field(ge=1, le=100)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    warmup: Share
    weight_decay: Annotated[float, Field(ge=0)]
    balance: Share
    validations_per_epoch: Annotated[int, Field(ge=1)]
    patience: Annotated[int, Field(ge=1)]
    mixed_precision: bool
    deterministic: bool


class Validation(_Section):
    """Which documents of the training rows decide when a transformer's training ends."""

    percent: Annotated[int, Field(ge=1, le=99)]


class _Parameters(_Section):
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: Data
    labels: Labels
    split: Split


class LinearParameters(_Parameters):
    """A file with ``model.kind: linear``."""

    model: LinearModel
    training: LinearTraining


class TransformerParameters(_Parameters):
    """A file with ``model.kind: transformer``."""

    model: TransformerModel
    validation: Validation
    training: TransformerTraining


class _Kind(BaseModel):
    kind: Literal["linear", "transformer"]


class _OtherParameters(BaseModel):
    """A file with another ``model.kind`` or none: the error is about ``model.kind`` alone."""

    model: _Kind


def _kind_of(values: Any) -> str:
    model = values.get("model") if isinstance(values, Mapping) else None
    kind = model.get("kind") if isinstance(model, Mapping) else None
    return kind if kind in ("linear", "transformer") else "other"


AnyParameters: TypeAlias = LinearParameters | TransformerParameters


class Parameters(
    RootModel[
        Annotated[
            Annotated[LinearParameters, Tag("linear")]
            | Annotated[TransformerParameters, Tag("transformer")]
            | Annotated[_OtherParameters, Tag("other")],
            Discriminator(_kind_of),
        ]
    ]
):
    """The whole file; ``model.kind`` says which sections it has."""


def parse(text: str) -> dict[str, JsonValue]:
    """Metaflow's parser of the configuration file: its unchanged values, if they are valid.

    Raises:
        ConfigurationError: a sentence that names the parameter, its value and what it must be.
    """
    return parameters.parse(text, Parameters)


def read(values: Mapping[str, Any]) -> AnyParameters:
    """The parameters of a valid file."""
    found = Parameters.model_validate(values).root
    assert not isinstance(found, _OtherParameters)
    return found
