"""Resource types that moto's CloudFormation cannot create or update.

Glue databases and Athena workgroups are unknown to it, Batch resources can be neither updated nor
deleted, a compute environment needs a role of its own, a job definition loses its timeout, and the policies
of a role cannot be read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from moto.athena.models import athena_backends
from moto.batch.models import BatchBackend, ComputeEnvironment, JobDefinition, JobQueue, batch_backends
from moto.batch.utils import lowercase_first_key
from moto.cloudformation.parsing import NULL_MODELS
from moto.core.common_models import CloudFormationModel
from moto.glue.models import glue_backends
from moto.iam.models import SERVICE_NAME_CONVERSION, Role

from modelbuild_local.aws.patching import replace

# The stand-in does not check who may write to a queue, so it ignores the queue's policy.
_WITHOUT_EFFECT = ("AWS::SQS::QueuePolicy",)

_BATCH = "batch.amazonaws.com"
_create_environment: Any = BatchBackend.create_compute_environment


def install() -> None:
    """Patch moto's Batch resources; the import of this module alone registers the two classes below."""
    replace(JobDefinition, "create_from_cloudformation_json", staticmethod(_create_job_definition))
    replace(JobDefinition, "update_from_cloudformation_json", staticmethod(_update_job_definition))
    replace(JobQueue, "update_from_cloudformation_json", staticmethod(_update_queue))
    replace(BatchBackend, "create_compute_environment", _create_environment_with_role)
    replace(ComputeEnvironment, "create_from_cloudformation_json", staticmethod(_create_environment_of_stack))
    replace(ComputeEnvironment, "update_from_cloudformation_json", staticmethod(_update_environment))
    for kind in (JobDefinition, JobQueue, ComputeEnvironment):
        replace(kind, "delete_from_cloudformation_json", staticmethod(_delete))
    replace(Role, "put_policy", _put_policy)
    NULL_MODELS.extend(_WITHOUT_EFFECT)
    SERVICE_NAME_CONVERSION["batch"] = "Batch"


class _Named:
    """The base of resources that are identified by their name."""

    TYPE: ClassVar[str]
    NAME_PROPERTY: ClassVar[str]

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def physical_resource_id(self) -> str:
        """What ``Ref`` gives."""
        return self.name

    @classmethod
    def cloudformation_type(cls) -> str:
        """The type in a template."""
        return cls.TYPE

    @classmethod
    def cloudformation_name_type(cls) -> str:
        """The property with the name."""
        return cls.NAME_PROPERTY


# Both are direct subclasses of CloudFormationModel, because moto finds no others.
class GlueDatabase(_Named, CloudFormationModel):
    """``AWS::Glue::Database``."""

    TYPE = "AWS::Glue::Database"
    NAME_PROPERTY = ""  # the name lies in DatabaseInput

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> GlueDatabase:
        """Create the database."""
        properties = cloudformation_json["Properties"]["DatabaseInput"]
        name = properties.get("Name", resource_name.lower())
        glue_backends[account_id][region_name].create_database(name, {"Name": name, **properties})
        return cls(name)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: GlueDatabase,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> GlueDatabase:
        """Change the database, or create another one if the name has changed."""
        properties = cloudformation_json["Properties"]["DatabaseInput"]
        if properties.get("Name", original_resource.name) != original_resource.name:
            original_resource.delete(account_id, region_name)
            return cls.create_from_cloudformation_json(
                new_resource_name, cloudformation_json, account_id, region_name
            )
        glue_backends[account_id][region_name].update_database(original_resource.name, properties)
        return original_resource

    def delete(self, account_id: str, region_name: str) -> None:
        """Delete the database."""
        glue_backends[account_id][region_name].delete_database(self.name)


class AthenaWorkGroup(_Named, CloudFormationModel):
    """``AWS::Athena::WorkGroup``."""

    TYPE = "AWS::Athena::WorkGroup"
    NAME_PROPERTY = "Name"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
        **_: Any,
    ) -> AthenaWorkGroup:
        """Create the workgroup."""
        properties = cloudformation_json["Properties"]
        athena_backends[account_id][region_name].create_work_group(
            resource_name,
            dict(properties.get("WorkGroupConfiguration") or {}),
            properties.get("Description", ""),
            properties.get("Tags", []),
        )
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: AthenaWorkGroup,
        new_resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> AthenaWorkGroup:
        """Create the workgroup again: it has only its configuration."""
        original_resource.delete(account_id, region_name)
        return cls.create_from_cloudformation_json(
            new_resource_name, cloudformation_json, account_id, region_name
        )

    def delete(self, account_id: str, region_name: str) -> None:
        """Delete the workgroup."""
        athena_backends[account_id][region_name].delete_work_group(self.name)


def _put_policy(self: Role, policy_name: str, policy_json: Any) -> None:
    # In a template the policy is no text yet.
    self.policies[policy_name] = policy_json if isinstance(policy_json, str) else json.dumps(policy_json)


def _create_job_definition(
    resource_name: str,
    cloudformation_json: dict[str, Any],
    account_id: str,
    region_name: str,
    **_: Any,
) -> JobDefinition:
    properties = cloudformation_json["Properties"]
    return batch_backends[account_id][region_name].register_job_definition(
        def_name=resource_name,
        parameters=properties.get("Parameters", {}),
        _type=properties["Type"].lower(),
        tags=properties.get("Tags", {}),
        retry_strategy=lowercase_first_key(properties.get("RetryStrategy", {})),
        container_properties=_lowered(properties, "ContainerProperties"),
        node_properties=_lowered(properties, "NodeProperties"),
        eks_properties=_lowered(properties, "EksProperties"),
        timeout=lowercase_first_key({k: int(v) for k, v in properties.get("Timeout", {}).items()}),
        platform_capabilities=properties.get("PlatformCapabilities", []),
        propagate_tags=str(properties.get("PropagateTags", False)).lower() == "true",
    )


def _update_job_definition(
    original_resource: JobDefinition,
    new_resource_name: str,
    cloudformation_json: dict[str, Any],
    account_id: str,
    region_name: str,
) -> JobDefinition:
    """A changed definition becomes a new revision, and the old one inactive, as on AWS."""
    new = _create_job_definition(new_resource_name, cloudformation_json, account_id, region_name)
    original_resource.deregister()
    return new


def _update_queue(
    original_resource: JobQueue,
    new_resource_name: str,  # noqa: ARG001
    cloudformation_json: dict[str, Any],
    account_id: str,
    region_name: str,
) -> JobQueue:
    properties = cloudformation_json["Properties"]
    batch_backends[account_id][region_name].update_job_queue(
        queue_name=original_resource.name,
        priority=properties["Priority"],
        state=properties.get("State", "ENABLED"),
        compute_env_order=[lowercase_first_key(entry) for entry in properties["ComputeEnvironmentOrder"]],
        schedule_policy=properties.get("SchedulingPolicyArn"),
    )
    return original_resource


def _create_environment_with_role(
    self: BatchBackend, *args: Any, service_role: str = "", **options: Any
) -> ComputeEnvironment:
    """An environment without a role uses Batch's service-linked role, which Batch creates once."""
    if not service_role:
        iam = self.iam_backend
        linked = [role for role in iam.roles.values() if role._linked_service == _BATCH]
        service_role = (linked or [iam.create_service_linked_role(_BATCH, "", "")])[0].arn
    created: ComputeEnvironment = _create_environment(self, *args, service_role=service_role, **options)
    return created


def _create_environment_of_stack(
    resource_name: str,
    cloudformation_json: dict[str, Any],
    account_id: str,
    region_name: str,
    **_: Any,
) -> ComputeEnvironment:
    properties = cloudformation_json["Properties"]
    return batch_backends[account_id][region_name].create_compute_environment(
        compute_environment_name=resource_name,
        _type=properties["Type"],
        state=properties.get("State", "ENABLED"),
        compute_resources=lowercase_first_key(properties["ComputeResources"]),
        service_role=properties.get("ServiceRole", ""),
    )


def _update_environment(
    original_resource: ComputeEnvironment,
    new_resource_name: str,  # noqa: ARG001
    cloudformation_json: dict[str, Any],
    account_id: str,  # noqa: ARG001
    region_name: str,  # noqa: ARG001
) -> ComputeEnvironment:
    properties = cloudformation_json["Properties"]
    original_resource.state = properties.get("State", "ENABLED")
    original_resource.compute_resources = lowercase_first_key(properties["ComputeResources"])
    return original_resource


def _delete(
    resource_name: str, cloudformation_json: dict[str, Any], account_id: str, region_name: str
) -> None:
    backend = batch_backends[account_id][region_name]
    delete = {
        "AWS::Batch::JobDefinition": backend.deregister_job_definition,
        "AWS::Batch::JobQueue": backend.delete_job_queue,
        "AWS::Batch::ComputeEnvironment": backend.delete_compute_environment,
    }
    delete[cloudformation_json["Type"]](resource_name)


def _lowered(properties: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    if name not in properties:
        return None
    lowered: dict[str, Any] = lowercase_first_key(properties[name])
    # moto passes a number as a number, but variables must be text.
    for entry in lowered.get("environment", []):
        entry["value"] = str(entry["value"])
    return lowered
