"""What ``params.yaml`` may say."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from modelbuild.flow import parameters


class Parameters(BaseModel):
    """The whole file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    seed: int = Field(ge=0)
    test_percent: int = Field(ge=1, le=99)
    ridge: float = Field(ge=0)


def parse(text: str) -> dict[str, JsonValue]:
    """Metaflow's parser of the parameter file."""
    return parameters.parse(text, Parameters)
