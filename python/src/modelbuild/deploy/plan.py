"""What is to be served, under names that say exactly what it is."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from modelbuild.aws.sagemaker import VARIANT, EndpointConfig, Model
from modelbuild.contract import sha256_of_json
from modelbuild.handoff import Handoff
from modelbuild.settings.deploy import DeploySettings
from modelbuild.store.model import ModelStore

_LONGEST_NAME = 63
_HASH_CHARACTERS = 10
_INSTANCES = 1


@dataclass(frozen=True)
class Plan:
    """An endpoint, and what it is to run; ``name`` is that of the model and of the configuration."""

    endpoint: str
    name: str
    model: Model
    config: EndpointConfig
    tags: dict[str, str]


def plan_deployment(approved: Handoff, copied: ModelStore, settings: DeploySettings) -> Plan:
    """The plan for a model that lies in production.

    The name changes with everything that is served or how it is served, so the same deployment finds what
    an earlier one made, and another never meets it.
    """
    model = Model(
        image=approved.result.image,
        data_url=copied.model_uri,
        environment=approved.result.env,
        role=settings.role,
    )
    content: dict[str, Any] = {
        "model": asdict(model),
        "model_sha256": approved.result.model_sha256,
        "variant": VARIANT,
        "instance_type": settings.instance_type,
        "instances": _INSTANCES,
    }
    if settings.kms_key:
        content["kms_key"] = settings.kms_key
    request = approved.manifest.request
    name = _name(settings.endpoint, request.model_id, sha256_of_json(content))
    return Plan(
        endpoint=settings.endpoint,
        name=name,
        model=model,
        config=EndpointConfig(name, settings.instance_type, _INSTANCES, settings.kms_key or ""),
        tags=_tags(
            {
                "MODEL_ID": request.model_id,
                "modelbuild:commit": request.build.commit,
                "modelbuild:build": request.build.url,
            }
        )
        | owner_tags(approved),
    )


def owner_tags(approved: Handoff) -> dict[str, str]:
    """The tags that say whose endpoint one is: the pipeline and the model that it serves."""
    request = approved.manifest.request
    return _tags({"modelbuild:pipeline": request.build.pipeline, "modelbuild:model": request.model})


def _name(endpoint: str, model_id: str, digest: str) -> str:
    """``<endpoint>-<model id>-<hash>`` in letters that SageMaker takes; what is too long is the endpoint."""
    end = f"-{model_id.replace('.', '-')}-{digest[:_HASH_CHARACTERS]}"
    return endpoint[: _LONGEST_NAME - len(end)].rstrip("-") + end


def _tags(tags: dict[str, str]) -> dict[str, str]:
    """The tags in letters that AWS takes."""
    return {key: re.sub(r"[^\w .:/=+@-]", "_", value)[:256] for key, value in tags.items()}
