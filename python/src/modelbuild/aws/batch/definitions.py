"""Job definitions of AWS Batch: copies of the stack's, with the image of a build."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelbuild.aws.failures import translated
from modelbuild.contract import sha256_of_json
from modelbuild.errors import ConfigurationError

if TYPE_CHECKING:
    from mypy_boto3_batch import BatchClient

# The fields of a definition besides its name. DescribeJobDefinitions returns more fields, which
# RegisterJobDefinition refuses.
_PARTS = ("type", "parameters", "retryStrategy", "timeout", "propagateTags", "platformCapabilities")
_ORDERED = ("command", "evaluateOnExit")


@dataclass(frozen=True)
class DerivedDefinition:
    """A job definition with a name derived from its content; ``arn`` is empty until it is registered."""

    name: str
    arn: str
    content: Mapping[str, Any]


class JobDefinitions:
    """The job definitions of one identity. Every method raises ``AwsError`` when AWS refuses or is out of
    reach.
    """

    def __init__(self, client: BatchClient) -> None:
        self._client = client

    def with_image(self, name: str, image: str) -> str:
        """The ARN of a job definition that is the newest ``name`` with another image.

        Batch cannot replace an image or secrets at submission. The copy's name ends in a hash of its
        content, so that it is registered once and reused.

        Raises:
            ConfigurationError: there is no active definition ``name``.
        """
        return self._registered(self.derived(name, image))

    def for_workers(self, head: str, name: str, image: str) -> str:
        """The ARN of a job definition for jobs that train as the head's steps do.

        It is a copy of the head's, with another image, and without the secrets that only the head needs.

        Args:
            head: the name of the head's definition.
            name: what the name of the copy begins with.
            image: the image of the copy.

        Raises:
            ConfigurationError: there is no active definition ``head``.
        """
        content = dict(self.derived(head, image).content)
        container = {
            key: value
            for key, value in content["containerProperties"].items()
            if key not in ("secrets", "executionRoleArn")
        }
        content["containerProperties"] = container
        return self._registered(self._named(name, content))

    def derived(self, name: str, image: str) -> DerivedDefinition:
        """The definition that :meth:`with_image` uses, without registering it.

        Raises:
            ConfigurationError: there is no active definition ``name``.
        """
        found = self._newest(name)
        if found is None:
            raise ConfigurationError(
                f"there is no active Batch job definition {name} in {self._client.meta.region_name}: deploy "
                "the stack infra/training.yaml, or correct option queue"
            )
        copy = _clean({part: found[part] for part in _PARTS if part in found})
        copy["containerProperties"] = _clean(found["containerProperties"]) | {"image": image}
        return self._named(name, copy)

    def _named(self, name: str, content: Mapping[str, Any]) -> DerivedDefinition:
        """The definition with this content, whose name begins with ``name``."""
        own_name = f"{name}-{sha256_of_json(_in_order(content))[:12]}"
        existing = self._newest(own_name)
        return DerivedDefinition(own_name, existing["jobDefinitionArn"] if existing else "", content)

    def _registered(self, definition: DerivedDefinition) -> str:
        """The ARN of a definition, which is registered if it is not there yet."""
        if definition.arn:
            return definition.arn
        with translated(f"register job definition {definition.name}"):
            answer = self._client.register_job_definition(
                jobDefinitionName=definition.name, **definition.content
            )
        return answer["jobDefinitionArn"]

    def _newest(self, name: str) -> Mapping[str, Any] | None:
        with translated(f"look for job definition {name}"):
            pages = self._client.get_paginator("describe_job_definitions").paginate(
                jobDefinitionName=name, status="ACTIVE"
            )
            found: list[Any] = [item for page in pages for item in page["jobDefinitions"]]
        return max(found, key=lambda item: int(item["revision"]), default=None)


def _in_order(value: Any, name: str = "") -> Any:
    """A definition with its lists sorted, because Batch may return them in another order each time.

    The order of a command's arguments and of the rules of a retry strategy matters, so these are not sorted.
    """
    if isinstance(value, Mapping):
        return {key: _in_order(item, key) for key, item in value.items()}
    if isinstance(value, list):
        items = [_in_order(item) for item in value]
        return items if name in _ORDERED else sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    return value


def _clean(value: Any) -> Any:
    """A value of a description without the nulls that RegisterJobDefinition refuses."""
    if isinstance(value, Mapping):
        return {key: _clean(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_clean(item) for item in value]
    return value
