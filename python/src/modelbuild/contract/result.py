"""How a training ended."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from modelbuild.contract.manifest import Manifest
from modelbuild.contract.record import FIELD_CHARACTERS, FieldText, Record, Text
from modelbuild.contract.serving import DESCRIPTION_FILE, ServingEnvironment


class TrainingResult(Record):
    """The result of a training. Its fields, by alias, *are* the fields of the waiting block step."""

    status: Literal["succeeded", "failed", "cancelled"] = Field(alias="training/status")
    reason: Text = Field(default="", alias="training/reason")
    model_path: FieldText = Field(default="", alias="model/data/path")
    model_sha256: FieldText = Field(default="", alias="model/data/sha256")
    manifest: FieldText = Field(default="", alias="model/manifest")
    env: dict[str, str] = Field(default_factory=dict, alias="model/env")
    image: FieldText = Field(default="", alias="model/image")
    wandb_run_id: FieldText = Field(default="", alias="wandb/run/id")
    wandb_run_url: FieldText = Field(default="", alias="wandb/run/url")

    @model_validator(mode="after")
    def _env_fits_a_field(self) -> Self:
        """Refuse an inference environment that is too long for one block field."""
        if len(json.dumps(self.env)) > FIELD_CHARACTERS:
            raise ValueError(f"model/env must not take more than {FIELD_CHARACTERS:,} characters")
        return self

    def to_fields(self) -> dict[str, str]:
        """The result as block fields: text by key, ``model/env`` as a JSON object."""
        fields = self.model_dump(by_alias=True)
        fields["model/env"] = json.dumps(self.env, sort_keys=True)
        return fields

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> TrainingResult:
        """Read a result back from meta-data; a key that is missing counts as empty.

        Raises:
            ValueError: a value is invalid (pydantic's ``ValidationError`` is a ValueError).
        """
        values: dict[str, Any] = {key: fields[key] for key in cls.field_keys() if key in fields}
        try:
            values["model/env"] = json.loads(values.get("model/env") or "{}")
        except RecursionError as error:
            raise ValueError("model/env is nested too deeply") from error
        return cls.model_validate(values)

    @classmethod
    def field_keys(cls) -> tuple[str, ...]:
        """The keys of the block step's fields, in the order of the build page."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())

    @classmethod
    def prefix_of(cls, keys: Iterable[str]) -> str | None:
        """The prefix of a training's keys in meta-data, from the keys of its block step's fields.

        Returns:
            An empty text or ``<model>/``; None if they are not the fields of a training.
        """
        status = cls.field_keys()[0]
        found = (key.removesuffix(status) for key in keys if f"/{key}".endswith(f"/{status}"))
        return next(found, None)


def unsuccessful(status: Literal["failed", "cancelled"], reason: str) -> TrainingResult:
    """The result of a training without a model."""
    return TrainingResult.model_validate({"training/status": status, "training/reason": reason})


def succeeded(manifest: Manifest, uri: str) -> TrainingResult:
    """The result of a training whose model has this manifest.

    Args:
        manifest: the manifest.
        uri: where it lies.
    """
    request = manifest.request
    return TrainingResult(
        status="succeeded",
        model_path=manifest.artifact.path,
        model_sha256=manifest.artifact.sha256,
        manifest=uri,
        env=ServingEnvironment(
            model=request.model,
            model_id=request.model_id,
            pipeline=request.build.pipeline,
            description_sha256=manifest.artifact.files[DESCRIPTION_FILE],
        ).to_env(),
        image=request.images.serve,
        wandb_run_id=manifest.wandb.id,
        wandb_run_url=manifest.wandb.url,
    )
