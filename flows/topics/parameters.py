"""What ``params.yaml`` may say. There are no defaults: what trained a model stands in its file."""

from pydantic import Field, JsonValue

from modelbuild.flow import parameters


class Data(parameters.Section):
    """Which table of the lake, and which of its articles are held out of the training."""

    table: str = Field(min_length=1)
    held_out: parameters.HeldOut


class Parameters(parameters.Section):
    """The whole file."""

    seed: int = Field(ge=0, lt=2**32)
    data: Data
    model: parameters.HashedNgrams
    training: parameters.LinearTraining


def parse(text: str) -> dict[str, JsonValue]:
    """Metaflow's parser of the parameter file."""
    return parameters.parse(text, Parameters)
