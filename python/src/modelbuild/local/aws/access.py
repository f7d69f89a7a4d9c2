"""Who may call: keys of roles that expire, handed out as on AWS, and clocks that are not far off.

moto takes any key for ever. Here a role's key is refused once it has expired, a container asks an address
for its keys, which AWS's libraries renew in time, and a request with a wrong time is refused.

``PUT /laptop/credentials`` with ``{"seconds": 20}`` lets the keys that roles are given from then on live no
longer than that, to rehearse their end.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from moto.sts.models import AssumedRole, STSBackend, sts_backends

from modelbuild.local.aws.patching import replace
from modelbuild.local.aws.refusal import Start, drain, refuse

PATH = "/laptop/credentials"
SIGNED = re.compile(r"Credential=(?P<key>[^/,]+)/\d+/[^/]*/(?P<service>[^/]+)/aws4_request")

_LONGEST_SECONDS = 12 * 3600
# How far the time of a request may be off.
_SKEW_SECONDS, _SKEW_SECONDS_OF_S3 = 300.0, 900.0

_assume_role = STSBackend.assume_role
_longest = {"seconds": _LONGEST_SECONDS}
_expiry: dict[str, float] = {}
_containers: dict[str, tuple[str, str, str]] = {}


def install() -> None:
    """Let keys of roles expire; to be called once, before the server answers."""
    replace(STSBackend, "assume_role", _assume_role_for_a_while)


def for_container(role: str, session: str, region: str, url: str) -> dict[str, str]:
    """The variables by which a container's programs ask ``url`` for keys of ``role``."""
    token = secrets.token_urlsafe(24)
    _containers[token] = (role, session, region)
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}{PATH}",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
    }


def forget(variables: dict[str, str]) -> None:
    """Give a container that has ended no more keys."""
    _containers.pop(variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN", ""), None)


def for_function(role: str, session: str, region: str) -> dict[str, str]:
    """The variables with keys of ``role`` for one invocation of a function."""
    given = _keys(role, session, region)
    return {
        "AWS_ACCESS_KEY_ID": given.access_key_id,
        "AWS_SECRET_ACCESS_KEY": given.secret_access_key,
        "AWS_SESSION_TOKEN": given.session_token,
    }


def answer(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """Answer a request to ``PATH``: keys for the container whose token it has, or how long keys live."""
    body = drain(environ)
    status, shown = "404 Not Found", "{}"
    if environ["REQUEST_METHOD"] == "PUT":
        try:
            _longest["seconds"] = min(int(json.loads(body)["seconds"]), _LONGEST_SECONDS)
            status, shown = "200 OK", json.dumps(_longest)
        except (KeyError, TypeError, ValueError):
            status, shown = "400 Bad Request", '{"message": "Send {\\"seconds\\": 20}."}'
    elif environ.get("HTTP_AUTHORIZATION", "") in _containers:
        role, session, region = _containers[environ["HTTP_AUTHORIZATION"]]
        given = _keys(role, session, region)
        keys = {
            "RoleArn": role,
            "AccessKeyId": given.access_key_id,
            "SecretAccessKey": given.secret_access_key,
            "Token": given.session_token,
            "Expiration": given.expiration.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        status, shown = "200 OK", json.dumps(keys)
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(shown)))]
    start_response(status, headers)
    return [shown.encode()]


def refused(environ: dict[str, Any], start_response: Start) -> Iterable[bytes] | None:
    """The refusal of a request whose key has expired or whose time is far off; None for any other."""
    signed = SIGNED.search(environ.get("HTTP_AUTHORIZATION", ""))
    if signed is None:
        return None
    service = signed["service"]
    if time.time() > _expiry.get(signed["key"], float("inf")):
        if service == "s3":
            code, said = "ExpiredToken", "The provided token has expired."
        else:
            code = "ExpiredToken" if service in ("iam", "sts") else "ExpiredTokenException"
            said = "The security token included in the request is expired"
        return refuse(environ, start_response, service, 400, code, said)
    sent = environ.get("HTTP_X_AMZ_DATE", "")
    skew = _seconds_off(sent)
    if service == "s3" and abs(skew) > _SKEW_SECONDS_OF_S3:
        said = "The difference between the request time and the current time is too large."
        return refuse(environ, start_response, service, 403, "RequestTimeTooSkewed", said)
    if service != "s3" and abs(skew) > _SKEW_SECONDS:
        now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        said = f"Signature expired: {sent} is now earlier than {now}"
        if skew > 0:
            said = f"Signature not yet current: {sent} is still later than {now}"
        code = "SignatureDoesNotMatch" if service in ("iam", "sts") else "InvalidSignatureException"
        return refuse(environ, start_response, service, 403, code, f"{said} (5 min.)")
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


def _assume_role_for_a_while(self: STSBackend, *, duration: int, **asked: Any) -> AssumedRole:
    given = _assume_role(self, duration=min(int(duration), _longest["seconds"]), **asked)
    _expiry[given.access_key_id] = given.expiration.replace(tzinfo=timezone.utc).timestamp()
    return given
