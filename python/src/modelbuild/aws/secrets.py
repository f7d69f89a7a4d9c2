"""Reads a secret from Secrets Manager, for programs that Batch does not pass it to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from modelbuild import log
from modelbuild.aws.failures import translated
from modelbuild.errors import ConfigurationError

if TYPE_CHECKING:
    import boto3


def secret(session: boto3.Session, name: str, key: str) -> str:
    """The text under ``key`` of a secret that is a JSON object.

    Args:
        session: the identity that reads.
        name: name or ARN of the secret.
        key: the key of the value.

    Raises:
        AwsError: Secrets Manager refused, or could not be reached.
        ConfigurationError: the secret has no such key.
    """
    with translated(f"read secret {name}"):
        text = session.client("secretsmanager").get_secret_value(SecretId=name).get("SecretString", "")
    try:
        found = json.loads(text)[key]
    except (ValueError, KeyError, TypeError, RecursionError):
        found = None
    if not isinstance(found, str):
        # Raised without a cause: that would show the secret.
        raise ConfigurationError(
            f'secret {name} has no text under key {key}: it must be a JSON object {{"{key}": "…"}}'
        )
    log.hide(found)
    return found
