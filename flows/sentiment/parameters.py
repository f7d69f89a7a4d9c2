"""The parameters in ``params.yaml``. They have no defaults, so the file shows all values that trained a
model.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from modelbuild.flow import parameters

Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,127}$")]
Domain = Literal["tweets", "amazon", "movie", "nyt"]


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


class Model(_Section):
    """The size of the model."""

    ngrams: Annotated[int, Field(ge=1, le=5)]
    buckets: Annotated[int, Field(ge=1, le=2**24)]


class Training(_Section):
    """The training of the model."""

    epochs: Annotated[int, Field(ge=1, le=1000)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    balance: Annotated[float, Field(ge=0, le=1)]
    """0 weighs every row the same, 1 every label the same."""


class Parameters(_Section):
    """The whole file."""

    seed: Annotated[int, Field(ge=0, lt=2**32)]
    data: Data
    labels: Labels
    split: Split
    model: Model
    training: Training


def parse(text: str) -> dict[str, JsonValue]:
    """Metaflow's parser of the configuration file: its unchanged values, if they are valid.

    Raises:
        ConfigurationError: a sentence that names the parameter, its value and what it must be.
    """
    return parameters.parse(text, Parameters)
