"""``model.json``: what a model is, and how to serve it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints

from modelbuild.contract import Record, Sha256
from modelbuild.serving.inputs import Input
from modelbuild.serving.outputs import Output

# The archive of a model has no room for a longer name.
FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$")]


class ModelDescription(Record):
    """``model.json`` in ``model.tar.gz``: the kind of the model, what it takes and answers, and its files."""

    version: Literal[3] = 3
    kind: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,62}$")]
    """The name of an entry point of the group ``modelbuild.kinds`` in the image that serves the model."""
    input: Input
    output: Output
    options: dict[str, JsonValue]
    """What the kind has to know; the kind checks it."""
    files: Annotated[dict[FileName, Sha256], Field(min_length=1, max_length=100)]
    """The SHA-256 of each file that the model consists of, beside this one."""
    parameters_sha256: Sha256
