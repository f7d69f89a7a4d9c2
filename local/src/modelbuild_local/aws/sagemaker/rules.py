"""SageMaker's validation of requests: names, tags, variables; with AWS's own messages."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import botocore.session
from botocore.model import StringShape
from moto.sagemaker.exceptions import ValidationError

LONGEST_NAME = 63
_NAME = r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}"
_ROLE = r"arn:aws[a-z\-]*:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+"
_TAG = r"[\w\s.:/=+\-@]*"
_DATA = r"(https|s3)://([^/]+)/?(.*)"


def check_name(value: Any, field: str) -> None:
    """Letters, digits and inner hyphens, at most 63.

    Args:
        value: The name.
        field: AWS's name of the field in the request, such as ``endpointName``.

    Raises:
        ValidationError: it is another kind of name.
    """
    if len(str(value)) > LONGEST_NAME:
        raise _violated(value, field, f"Member must have length less than or equal to {LONGEST_NAME}")
    _check_pattern(value, field, _NAME)


def check_role(value: Any) -> None:
    """An IAM role's ARN.

    Raises:
        ValidationError: it is something else.
    """
    _check_pattern(value, "executionRoleArn", _ROLE)


def check_instance_type(value: Any) -> None:
    """An instance type of endpoints that botocore knows, such as ``ml.m5.large``.

    Raises:
        ValidationError: it is something else.
    """
    if value not in _instance_types():
        known = "Member must satisfy enum value set: the instance types of endpoints, such as ml.m5.large"
        raise _violated(value, "instanceType", known)


@functools.cache
def _instance_types() -> frozenset[str]:
    """Read at the first use, because the model of SageMaker is large."""
    model = botocore.session.get_session().get_service_model("sagemaker")
    shape = model.shape_for("ProductionVariantInstanceType")
    assert isinstance(shape, StringShape)
    return frozenset(shape.enum)


def check_range(value: Any, field: str, minimum: float, maximum: float) -> None:
    """A number from ``minimum`` to ``maximum``, if it is set.

    Raises:
        ValidationError: it is smaller or larger.
    """
    if value is not None and value < minimum:
        raise _violated(value, field, f"Member must have value greater than or equal to {minimum:g}")
    if value is not None and value > maximum:
        raise _violated(value, field, f"Member must have value less than or equal to {maximum:g}")


def check_container(container: Mapping[str, Any]) -> None:
    """A model's container: an image, the location of its model, and at most 100 variables of 32 KiB in all.

    Raises:
        ValidationError: a part is missing or not as SageMaker wants it.
    """
    if not container.get("Image"):
        raise ValidationError("The laptop's SageMaker takes a container's Image, not a model package.")
    if len(container["Image"]) > 255 or re.search(r"\s", container["Image"]):
        raise _violated(container["Image"], "image", "Member must satisfy regular expression pattern: [\\S]+")
    if container.get("ModelDataUrl"):
        _check_pattern(container["ModelDataUrl"], "modelDataUrl", _DATA)
    environment: Mapping[str, str] = container.get("Environment") or {}
    if len(environment) > 100:
        raise _violated(len(environment), "environment", "Member must have size less than or equal to 100")
    for key, value in environment.items():
        _check_pattern(key, "environment", r"[a-zA-Z_][a-zA-Z0-9_]*")
        if max(len(key), len(value)) > 1024:
            raise _violated(key, "environment", "Member must have length less than or equal to 1024")
    if sum(len(key) + len(value) for key, value in environment.items()) > 32 * 1024:
        raise ValidationError("The container's environment variables are larger than 32 KiB in all.")


def check_tags(tags: Sequence[Mapping[str, str]]) -> None:
    """At most 50 tags of letters, digits, spaces and ``_.:/=+-@``.

    Raises:
        ValidationError: there are more, or one is not as SageMaker wants it.
    """
    if len(tags) > 50:
        raise _violated(len(tags), "tags", "Member must have length less than or equal to 50")
    for tag in tags:
        for part, longest in (("Key", 128), ("Value", 256)):
            if len(tag[part]) > longest:
                most = f"Member must have length less than or equal to {longest}"
                raise _violated(tag[part], f"tags.1.member.{part.lower()}", most)
            _check_pattern(tag[part], f"tags.1.member.{part.lower()}", _TAG)


def _check_pattern(value: Any, field: str, pattern: str) -> None:
    if not re.fullmatch(pattern, str(value)):
        raise _violated(value, field, f"Member must satisfy regular expression pattern: {pattern}")


def _violated(value: Any, field: str, constraint: str) -> ValidationError:
    return ValidationError(
        f"1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: "
        f"{constraint}"
    )
