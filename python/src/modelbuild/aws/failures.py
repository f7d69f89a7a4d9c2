"""Translates botocore's exceptions into errors of one sentence that a user can act on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
)

from modelbuild.errors import AwsError

THROTTLED = ("ThrottlingException", "TooManyRequestsException", "Throttling", "SlowDown")
"""AWS's codes for throttled calls, which it refused without executing them."""

_MISSING = {"NoSuchKey", "404", "NotFound", "ResourceNotFoundException", "EntityNotFoundException"}
_FIXES = {
    "AccessDenied": "give the role that this runs as the permission",
    "AccessDeniedException": "give the role that this runs as the permission",
    "403": "give the role that this runs as the permission",
    "InvalidObjectState": "restore the object from the archive that its storage class is",
    "NoSuchKey": "restore the object, if it was deleted",
    "NoSuchBucket": "deploy the stack that makes it, or correct the bucket's name",
    "ExpiredToken": "renew the credentials of this machine",
    "ExpiredTokenException": "renew the credentials of this machine",
    "InvalidClientTokenId": "correct the credentials of this machine",
    "InvalidAccessKeyId": "correct the credentials of this machine",
    "InvalidSignatureException": "correct the secret key, or the clock, of this machine",
    "SignatureDoesNotMatch": "correct the secret key, or the clock, of this machine",
    "RequestTimeTooSkewed": "set the clock of this machine",
    **dict.fromkeys(THROTTLED, "try again when fewer calls are made"),
    "PermanentRedirect": "set the region that the bucket is in",
}


class NotFound(AwsError):
    """The requested resource does not exist."""


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Translate every exception of botocore in the block into :class:`AwsError`.

    Args:
        action: the call and its resource, as a text that can follow "could not": ``read s3://bucket/key``.

    Raises:
        NotFound: the resource does not exist.
        AwsError: AWS refused for another reason, or could not be reached.
    """
    try:
        yield
    except ClientError as error:
        code = error_code(error)
        kind = NotFound if code in _MISSING else AwsError
        text = error.response.get("Error", {}).get("Message", "").strip().rstrip(".")
        reason = f"{code}: {text}" if text and text != code else code
        raise kind(_sentence(action, reason, _FIXES.get(code))) from error
    except NoCredentialsError as error:
        raise AwsError(
            _sentence(
                action, "no AWS credentials were found", "give the agent a role, or set option aws.role-arn"
            )
        ) from error
    except NoRegionError as error:
        raise AwsError(
            _sentence(action, "no AWS region is set", "set option aws.region or AWS_DEFAULT_REGION")
        ) from error
    except EndpointConnectionError as error:
        raise AwsError(
            _sentence(action, str(error).rstrip("."), "check the region, AWS_ENDPOINT_URL and the network")
        ) from error
    except HTTPClientError as error:
        raise _of_http_client(error, action) from None
    # botocore reports a malformed AWS_ENDPOINT_URL only as a wrong value.
    except (BotoCoreError, ValueError) as error:
        raise AwsError(_sentence(action, str(error).rstrip("."), None)) from error


def _of_http_client(error: HTTPClientError, action: str) -> AwsError:
    """The error for a request that was not sent, or not answered."""
    # botocore wraps any other exception in this very class; its text may hold a header with a key or a token.
    if type(error) is not HTTPClientError:
        return AwsError(_sentence(action, str(error).rstrip("."), None))
    cause = error.kwargs.get("error")
    fix = "correct the credentials of this machine, which may have a line break in them"
    reason = f"the HTTP client failed with {type(cause).__name__}"
    return AwsError(_sentence(action, reason, fix if isinstance(cause, ValueError) else None))


def is_refusal(error: AwsError) -> bool:
    """Whether AWS refused the call for a lasting reason: not throttled, and no error of AWS itself."""
    cause = error.__cause__
    if not isinstance(cause, ClientError) or error_code(cause) in THROTTLED:
        return False
    return cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) < 500


def error_code(error: ClientError) -> str:
    """AWS's own code for a refused call, such as ``AccessDenied``."""
    return str(error.response.get("Error", {}).get("Code", "Unknown"))


def _sentence(action: str, reason: str, fix: str | None) -> str:
    return f"could not {action} ({reason}){': ' + fix if fix else ''}"
