"""What ``params.yaml`` may say."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from modelbuild.flow import parameters


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Training(_Section):
    """How the model is fitted."""

    epochs: int = Field(ge=1)
    learning_rate: float = Field(gt=0)


class Parameters(_Section):
    """The whole file."""

    training: Training


def parse(text: str) -> dict[str, JsonValue]:
    """Metaflow's parser of the parameter file."""
    return parameters.parse(text, Parameters)
