"""The request of a training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, model_validator
from typing_extensions import Self

from modelbuild.contract.layout import PARAMS_FILE, SOURCE_FILE, request_uri, sweep_prefix
from modelbuild.contract.record import ModelId, ModelName, Record, S3Uri, Sha256, Slug, Text, sha256_of_json
from modelbuild.contract.sweep import Sweep

ParamsFile = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\.ya?ml$")]
"""The name of a parameter file, which lies beside its flow."""


class Build(Record):
    """The Buildkite build that requested a training."""

    organization: Slug
    pipeline: Slug
    number: int = Field(ge=1)
    id: Text
    url: Text
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40,64}$")]
    branch: Text
    message: Text
    creator: Text


class Source(Record):
    """The archive of the commit's files that the head runs."""

    path: S3Uri
    sha256: Sha256


class Images(Record):
    """The images of one build, named like the folders of ``docker/``; by digest if it is known."""

    default: str
    train_gpu: str = Field(alias="train-gpu")
    serve: str


class TrainingRequest(Record):
    """The request: ``request.json``, written once, before the head job is submitted; of a candidate
    ``candidate.json``, written by the job that trains it.
    """

    version: Literal[1] = 1
    model: ModelName
    """Name of the model in its pipeline; models of one name have different ids."""
    model_id: ModelId
    meta_data_prefix: str = ""
    """The prefix of this training's keys in the build's meta-data: empty for the build's only training, else
    the model's name and a slash.
    """
    build: Build
    source: Source
    flow: str
    params_file: ParamsFile = PARAMS_FILE
    """The name of the file beside the flow that has its parameters."""
    parameters: dict[str, JsonValue]
    parameters_sha256: Sha256
    artifacts: S3Uri
    unblock: str
    images: Images
    origins: dict[str, Literal["file", "plugin", "build", "sweep"]] = Field(default_factory=dict)
    """The origin of each parameter, by its dotted name: the parameter file, the pipeline's options, this
    build, or the sweep that it is a candidate of.
    """
    sweep: Sweep | None = None
    """What to try in place of one training; None also for a candidate of a sweep."""
    dirty_diff: str = ""
    """The uncommitted changes in the source, as ``git diff`` prints them; usually empty."""

    @property
    def uri(self) -> str:
        """The URI of this record."""
        return request_uri(self.artifacts)

    def candidate(self, number: int, values: Mapping[str, JsonValue]) -> TrainingRequest:
        """The request for a candidate of this sweep, which has the sweep's source.

        Args:
            number: of the candidate, from 1.
            values: the values that the sweep sets, by the dotted names of the parameters.

        Raises:
            ValueError: a name is no parameter of the sweep's request.
        """
        parameters = self.parameters
        for name, value in values.items():
            parameters = _with_value(parameters, name, value)
        return TrainingRequest.model_validate(
            {
                **self.model_dump(by_alias=True),
                "model_id": f"{self.model_id}.{number}",
                "parameters": parameters,
                "parameters_sha256": sha256_of_json(parameters),
                "artifacts": f"{self.artifacts}.{number}",
                "origins": {**self.origins, **dict.fromkeys(values, "sweep")},
                "sweep": None,
            }
        )

    @property
    def swept(self) -> dict[str, JsonValue]:
        """The values that the sweep of this candidate has set, by dotted name; none for other models."""
        names = [name for name, origin in self.origins.items() if origin == "sweep"]
        return self.values_of(names)

    def values_of(self, names: Iterable[str]) -> dict[str, JsonValue]:
        """The values of those of the parameters that exist, by dotted name."""
        found = {name: _value(self.parameters, name) for name in names}
        return {name: values[0] for name, values in found.items() if values}

    @model_validator(mode="after")
    def _prefix_is_the_models(self) -> Self:
        if self.meta_data_prefix not in ("", f"{self.model}/"):
            raise ValueError(f"meta_data_prefix must be empty or {self.model}/")
        return self

    def meta_data_key(self, name: str) -> str:
        """The key in the build's meta-data of a value of this training; also the context of an annotation."""
        return f"{self.meta_data_prefix}{name}"

    def misplaced(self, prefix: str) -> str:
        """A text about the first field that does not match the S3 prefix of the request; empty if all match.

        Readers act on the build that the request names. So a program that can write to one prefix must not be
        able to name another build there.
        """
        _, pipeline, model, model_id = f"///{prefix}".rsplit("/", 3)
        claims: list[tuple[str, str, str]] = [
            ("its pipeline is", self.build.pipeline, pipeline),
            ("its model is", self.model, model),
            ("its model id is", self.model_id, model_id),
            ("its artifacts are", self.artifacts, prefix),
            ("its source is", self.source.path, f"{sweep_prefix(prefix)}/{SOURCE_FILE}"),
            ("its build is", str(self.build.number), self.model_id.partition(".")[0]),
        ]
        return next((f"{name} {written}" for name, written, expected in claims if written != expected), "")


def parameters_by_name(parameters: Mapping[str, JsonValue], prefix: str = "") -> dict[str, JsonValue]:
    """The value of each parameter by its dotted name; an empty map is a value."""
    found: dict[str, JsonValue] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping) and value:
            found |= parameters_by_name(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _with_value(values: Mapping[str, JsonValue], name: str, value: JsonValue) -> dict[str, JsonValue]:
    """Parameters with another value at a dotted name, whose parts may be keys with dots."""
    if name in values:
        return {**values, name: value}
    for key, inner in values.items():
        if name.startswith(f"{key}.") and isinstance(inner, dict):
            return {**values, key: _with_value(inner, name.removeprefix(f"{key}."), value)}
    raise ValueError(f"{name} is no parameter of the request")


def _value(values: Mapping[str, JsonValue], name: str) -> list[JsonValue]:
    """The value at a dotted name, whose parts may be keys with dots; empty if there is none."""
    if name in values:
        return [values[name]]
    for key, inner in values.items():
        if name.startswith(f"{key}.") and isinstance(inner, dict):
            return _value(inner, name.removeprefix(f"{key}."))
    return []
