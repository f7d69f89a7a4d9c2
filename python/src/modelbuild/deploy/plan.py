"""The plan of a deployment, with resource names derived from its content."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from modelbuild.aws.sagemaker import VARIANT, EndpointConfig, Model
from modelbuild.contract import sha256_of_json
from modelbuild.handoff.manifest import Handoff
from modelbuild.settings.deploy import DeploySettings
from modelbuild.store.model import ModelStore

_LONGEST_NAME = 63
_HASH_CHARACTERS = 10
_INSTANCES = 1


@dataclass(frozen=True)
class Plan:
    """An endpoint, and what it is to run.

    Attributes:
        endpoint: its name.
        name: the name of the SageMaker model and of the configuration.
        model: the SageMaker model.
        config: the configuration.
        owner_tags: the tags that the endpoint is created with, see :func:`owner_tags`.
        tags: the tags of model and configuration, and of the endpoint once its answers are verified.
    """

    endpoint: str
    name: str
    model: Model
    config: EndpointConfig
    owner_tags: dict[str, str]
    tags: dict[str, str]


def plan_deployment(approved: Handoff, copied: ModelStore, settings: DeploySettings) -> Plan:
    """The plan for a model that was copied to production.

    The name depends on everything that is deployed, so a retried deployment finds the resources of the
    earlier run, and a different deployment never does.
    """
    model = Model(
        image=approved.result.image,
        data_url=copied.model_uri,
        environment=approved.result.env,
        role=settings.role,
    )
    content: dict[str, Any] = {
        # The configuration's name has only the beginning of a long name, and its tags are about one endpoint.
        "endpoint": settings.endpoint,
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
        owner_tags=owner_tags(approved),
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
    """The tags that name the owner of an endpoint: the pipeline and the model."""
    request = approved.manifest.request
    return _tags({"modelbuild:pipeline": request.build.pipeline, "modelbuild:model": request.model})


def _name(endpoint: str, model_id: str, digest: str) -> str:
    """``<endpoint>-<model id>-<hash>`` in characters that SageMaker allows; a long endpoint name is cut."""
    end = f"-{model_id.replace('.', '-')}-{digest[:_HASH_CHARACTERS]}"
    return endpoint[: _LONGEST_NAME - len(end)].rstrip("-") + end


def _tags(tags: dict[str, str]) -> dict[str, str]:
    """The tags in characters that AWS allows."""
    return {key: re.sub(r"[^\w .:/=+@-]", "_", value)[:256] for key, value in tags.items()}
