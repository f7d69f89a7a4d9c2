"""Access control of the AWS stand-in: its keys, and the requests that it refuses.

moto accepts any key without a time limit. This stand-in answers a request only if it is signed with one of
its keys: the key of this run, a key of a role, or a key of an IAM user. It refuses expired keys of roles and
requests with a wrong time. A container gets its keys from an address, and AWS's libraries renew them in time.
``AssumeRoleWithWebIdentity`` needs a token of the local Buildkite instead of a signature.

Everyone with a key may assume each role that IAM has, and do everything: no policy is evaluated.

``PUT /laptop/credentials`` with ``{"seconds": 20}`` limits the lifetime of all further keys of roles, to test
their expiry.
"""

from __future__ import annotations

import hmac
import json
import secrets
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

from moto.iam.models import iam_backends
from moto.sts.exceptions import STSClientError, STSValidationError
from moto.sts.models import AssumedRole, STSBackend, sts_backends

from modelbuild_local.aws.access import signature
from modelbuild_local.aws.access.signature import Signature
from modelbuild_local.aws.errors import Start, drain, refuse
from modelbuild_local.aws.patching import replace
from modelbuild_local.laptop import OWNER_ROLE
from modelbuild_local.service import web_identity

PATH = "/laptop/credentials"
ADMINISTRATION = ("/laptop/", "/moto-api")
"""The prefixes of paths that are no service of AWS."""

_LONGEST_SECONDS = 12 * 3600
# How far the time of a request may differ from the clock.
_SKEW_SECONDS, _SKEW_SECONDS_OF_S3 = 300.0, 900.0

_assume_role = STSBackend.assume_role
_longest = {"seconds": _LONGEST_SECONDS}
_secrets: dict[str, str] = {}
_expiry: dict[str, float] = {}
_web_identity_key = ""
_containers: dict[str, tuple[str, str, str]] = {}


def install(key_id: str, secret: str, web_identity_key: str) -> None:
    """Accept the first key, and make keys of roles expire; call this before the server answers.

    Args:
        key_id: the id of this run's access key.
        secret: of the same key.
        web_identity_key: the key with which the local Buildkite signs its OIDC tokens.
    """
    global _web_identity_key
    _secrets[key_id] = secret
    _web_identity_key = web_identity_key
    replace(STSBackend, "assume_role", _assume_role_with_lifetime)


def for_container(role: str, session: str, region: str, url: str) -> dict[str, str]:
    """The variables with which a container's programs get keys of ``role`` from ``url``."""
    token = secrets.token_urlsafe(24)
    _containers[token] = (role, session, region)
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}{PATH}",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
    }


def forget(variables: dict[str, str]) -> None:
    """Refuse further keys to a container that has ended."""
    _containers.pop(variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", ""), None)


def for_function(role: str, session: str, region: str) -> dict[str, str]:
    """The variables with keys of ``role`` for one invocation of a function."""
    credentials = _keys(role, session, region)
    return {
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_SESSION_TOKEN": credentials.session_token,
    }


def answer(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """Answer a request to ``PATH``: the keys for the container with this token, or the lifetime of keys."""
    body = drain(environ)
    status, shown = "404 Not Found", "{}"
    if environ["REQUEST_METHOD"] == "PUT":
        # Only an administrator reaches this with PUT: see ``faults.with_faults``.
        try:
            _longest["seconds"] = min(int(json.loads(body)["seconds"]), _LONGEST_SECONDS)
            status, shown = "200 OK", json.dumps(_longest)
        except (KeyError, TypeError, ValueError):
            status, shown = "400 Bad Request", '{"message": "Send {\\"seconds\\": 20}."}'
    elif environ.get("HTTP_AUTHORIZATION", "") in _containers:
        try:
            keys = _keys_for_container(*_containers[environ["HTTP_AUTHORIZATION"]])
            status, shown = "200 OK", json.dumps(keys)
        except STSClientError as error:
            status, shown = "400 Bad Request", json.dumps({"code": error.code, "message": error.message})
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(shown)))]
    start_response(status, headers)
    return [shown.encode()]


def _keys_for_container(role: str, session: str, region: str) -> dict[str, str]:
    credentials = _keys(role, session, region)
    return {
        "RoleArn": role,
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key,
        "Token": credentials.session_token,
        "Expiration": credentials.expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def may_administer(environ: dict[str, Any]) -> bool:
    """Whether a request for a path that is no service has the run's secret key as its bearer token."""
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    expected = next(iter(_secrets.values()))
    return scheme.lower() == "bearer" and hmac.compare_digest(token.strip().encode(), expected.encode())


def refused(environ: dict[str, Any], start_response: Start) -> Iterable[bytes] | None:
    """Refuse a request that is not signed, has an expired key or a wrong time; None if it is accepted."""
    signed = signature.read(environ)
    if signed is None:
        if _has_web_identity(environ):
            return None
        service, message = _service(environ), "Request is missing Authentication Token"
        code = "AccessDenied" if service == "s3" else "MissingAuthenticationToken"
        return refuse(environ, start_response, service, 403, code, message)
    return _refuse_expired(signed, environ, start_response) or _refuse_forged(signed, environ, start_response)


def _service(environ: dict[str, Any]) -> str:
    """The service that an unsigned request seems to be for; AWS would tell from the host name."""
    return "s3" if environ["REQUEST_METHOD"] in ("GET", "HEAD", "PUT", "DELETE") else "sts"


def _has_web_identity(environ: dict[str, Any]) -> bool:
    """Whether a request asks STS for the keys of a role with a token of the local Buildkite."""
    if environ["REQUEST_METHOD"] != "POST" or "HTTP_X_AMZ_TARGET" in environ:
        return False
    parameters = {name: values[0] for name, values in parse_qs(_body(environ).decode("latin-1")).items()}
    token = parameters.get("WebIdentityToken", "")
    return parameters.get("Action") == "AssumeRoleWithWebIdentity" and web_identity.is_valid(
        token, _web_identity_key
    )


def _body(environ: dict[str, Any]) -> bytes:
    """The body, which the service can still read afterwards."""
    body = drain(environ)
    environ["wsgi.input"] = BytesIO(body)
    environ["CONTENT_LENGTH"] = str(len(body))
    return body


def _secret(key_id: str) -> str | None:
    """The secret of a key of this server."""
    if key_id in _secrets:
        return _secrets[key_id]
    users = (
        user
        for partitions in list(iam_backends.values())
        for backend in list(partitions.values())
        for user in list(backend.users.values())
    )
    keys = {key.access_key_id: key.secret_access_key for user in users for key in user.access_keys}
    return keys.get(key_id)


def _refuse_forged(
    signed: Signature, environ: dict[str, Any], start_response: Start
) -> Iterable[bytes] | None:
    secret = _secret(signed.key)
    if secret is None:
        message = "The security token included in the request is invalid."
        code = "UnrecognizedClientException"
        if signed.service == "s3":
            code, message = "InvalidAccessKeyId", "The AWS Access Key Id is not one of this run's."
        elif signed.service in ("iam", "sts"):
            code = "InvalidClientTokenId"
        return refuse(environ, start_response, signed.service, 403, code, message)
    # A request to S3 names the hash of its body, which may be large.
    body = b"" if signed.service == "s3" else _body(environ)
    if signature.is_signed_with(signed, secret, environ, body):
        return None
    code = "SignatureDoesNotMatch" if signed.service in ("s3", "iam", "sts") else "InvalidSignatureException"
    message = "The request signature we calculated does not match the signature you provided."
    return refuse(environ, start_response, signed.service, 403, code, message)


def _refuse_expired(
    signed: Signature, environ: dict[str, Any], start_response: Start
) -> Iterable[bytes] | None:
    """Refuse a request with an expired key or a wrong time; None for any other."""
    service = signed.service
    if time.time() > _expiry.get(signed.key, float("inf")):
        if service == "s3":
            code, message = "ExpiredToken", "The provided token has expired."
        else:
            code = "ExpiredToken" if service in ("iam", "sts") else "ExpiredTokenException"
            message = "The security token included in the request is expired"
        return refuse(environ, start_response, service, 400, code, message)
    sent = signed.date
    skew = _seconds_off(sent)
    if signed.lifetime is not None:
        if -skew <= signed.lifetime:
            return None
        return refuse(environ, start_response, service, 403, "AccessDenied", "Request has expired")
    if service == "s3" and abs(skew) > _SKEW_SECONDS_OF_S3:
        message = "The difference between the request time and the current time is too large."
        return refuse(environ, start_response, service, 403, "RequestTimeTooSkewed", message)
    if service != "s3" and abs(skew) > _SKEW_SECONDS:
        now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        message = f"Signature expired: {sent} is now earlier than {now}"
        if skew > 0:
            message = f"Signature not yet current: {sent} is still later than {now}"
        code = "SignatureDoesNotMatch" if service in ("iam", "sts") else "InvalidSignatureException"
        return refuse(environ, start_response, service, 403, code, f"{message} (5 min.)")
    return None


def _seconds_off(sent: str) -> float:
    try:
        moment = datetime.strptime(sent, "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return 0.0
    return moment.timestamp() - time.time()


def _keys(role: str, session: str, region: str) -> AssumedRole:
    """New keys of a role, in the account that its ARN names."""
    partition, account = role.split(":")[1], role.split(":")[4]
    return sts_backends[account][partition].assume_role(
        region_name=region,
        role_session_name=session,
        role_arn=role,
        policy="",
        duration=_LONGEST_SECONDS,
        external_id="",
    )


def _assume_role_with_lifetime(
    self: STSBackend, *, role_arn: str, duration: int, **parameters: Any
) -> AssumedRole:
    _require_role(self.account_id, role_arn)
    seconds = min(int(duration), _longest["seconds"])
    credentials = _assume_role(self, role_arn=role_arn, duration=seconds, **parameters)
    _secrets[credentials.access_key_id] = credentials.secret_access_key
    _expiry[credentials.access_key_id] = credentials.expiration.replace(tzinfo=timezone.utc).timestamp()
    return credentials


def _require_role(caller: str, role: str) -> None:
    """Refuse a role that IAM does not have, with the error by which AWS refuses any role.

    Raises:
        STSClientError: IAM has no such role.
    """
    parts = role.split(":")
    if len(parts) != 6:
        raise STSValidationError(f"{role} is invalid")
    partition, account = parts[1], parts[4]
    known = iam_backends[account][partition].roles.values()
    if parts[5] != f"role/{OWNER_ROLE}" and role not in [one.arn for one in known]:
        message = f"account {caller} is not authorized to perform: sts:AssumeRole on resource: {role}"
        raise STSClientError("AccessDenied", message)
