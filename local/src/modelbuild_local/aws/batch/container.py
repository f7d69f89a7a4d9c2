"""The container of one job: its definition with overrides and secrets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moto.core.exceptions import JsonRESTError
from moto.secretsmanager.models import secretsmanager_backends

BATCH_LOG_GROUP = "/aws/batch/job"


class CannotStart(Exception):
    """The container cannot be set up; the message is the reason that Batch shows."""


@dataclass(frozen=True)
class Container:
    """A job definition's container with a job's overrides applied.

    Attributes:
        image: Image reference.
        command: Command, with ``Ref::`` parameters not replaced yet.
        environment: Plain variables.
        requirements: ``VCPU``, ``MEMORY`` (MiB) and, where asked for, ``GPU``.
        secrets: Variable name → ARN of its value.
        role: ARN of the job role, or None.
        described: Further properties that DescribeJobs returns unchanged.
    """

    image: str
    command: list[str]
    environment: dict[str, str]
    requirements: dict[str, str]
    secrets: dict[str, str]
    role: str | None
    described: dict[str, Any]

    @property
    def vcpus(self) -> float:
        """How many vCPUs the job takes."""
        return float(self.requirements["VCPU"])

    @property
    def memory(self) -> int:
        """How many MiB the job may take."""
        return int(self.requirements["MEMORY"])

    @property
    def log_group(self) -> str:
        """The log group: the one that the definition names, or Batch's own."""
        options = self.described.get("logConfiguration", {}).get("options", {})
        return str(options.get("awslogs-group", BATCH_LOG_GROUP))

    @property
    def gpus(self) -> int:
        """How many GPUs the job takes."""
        return int(self.requirements.get("GPU", "0"))


_SHOWN = (
    "executionRoleArn",
    "volumes",
    "mountPoints",
    "ulimits",
    "linuxParameters",
    "logConfiguration",
    "user",
)


def merge(properties: Mapping[str, Any], overrides: Mapping[str, Any]) -> Container:
    """The container of a job: a definition's container ``properties`` with ``overrides``."""
    environment: dict[str, str] = {}
    requirements: dict[str, str] = {"VCPU": "1", "MEMORY": "512"}
    for source in (properties, overrides):
        environment |= {item["name"]: item.get("value", "") for item in source.get("environment") or []}
        old = {"VCPU": source.get("vcpus"), "MEMORY": source.get("memory")}
        requirements |= {kind: str(value) for kind, value in old.items() if value}
        requirements |= {item["type"]: item["value"] for item in source.get("resourceRequirements") or []}
    return Container(
        image=properties["image"],
        command=list(overrides.get("command") or properties.get("command") or []),
        environment=environment,
        requirements=requirements,
        secrets={item["name"]: item["valueFrom"] for item in properties.get("secrets") or []},
        role=properties.get("jobRoleArn"),
        described={name: properties[name] for name in _SHOWN if properties.get(name)},
    )


def secrets_of(container: Container, account: str, region: str) -> dict[str, str]:
    """The variables with the values of a container's secrets.

    Raises:
        CannotStart: a secret cannot be read, or the definition has no role to read it with.
    """
    if container.secrets and not container.described.get("executionRoleArn"):
        raise CannotStart(
            "ClientException: When you are specifying container secrets, you must also specify a value for "
            "'executionRoleArn'."
        )
    return {name: secret(source, account, region) for name, source in container.secrets.items()}


def secret(value_from: str, account: str, region: str) -> str:
    """The value of a job definition's secret: ``<secret's ARN>[:<JSON key>[:<stage>[:<version>]]]``.

    Raises:
        CannotStart: there is no such secret in the account, or no such key in its JSON.
    """
    parts = value_from.split(":")
    arn, (key, stage, version) = ":".join(parts[:7]), [*parts[7:10], "", "", ""][:3]
    failed = "ResourceInitializationError: unable to pull secrets or registry auth"
    if len(parts) < 7 or parts[2] != "secretsmanager" or parts[4] != account:
        raise CannotStart(f"{failed}: {value_from} is not the ARN of a secret of account {account}")
    try:
        found = secretsmanager_backends[account][region].get_secret_value(arn, version, stage)
        text = str(found["SecretString"])
        return str(json.loads(text)[key]) if key else text
    except JsonRESTError as error:
        raise CannotStart(f"{failed}: {arn}: {error.message}") from None
    except (KeyError, TypeError, ValueError):
        raise CannotStart(f"{failed}: {arn} has no value for the JSON key {key!r}") from None
