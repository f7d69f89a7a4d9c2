"""Signatures of requests: Signature Version 4, in a header or in the query of a presigned address.

moto checks signatures only when it enforces policies. This stand-in requires that each request is signed with
a key that it issued, because jobs, functions and templates run code as the user who started it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

_HEADER = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/,]+)/\d+/(?P<region>[^/]*)/(?P<service>[^/]+)/aws4_request,"
    r" ?SignedHeaders=(?P<headers>[^,]+), ?Signature=(?P<signature>[0-9a-f]{64})"
)
_LIFETIME = re.compile("[0-9]{1,9}")
_CREDENTIAL = re.compile(r"(?P<key>[^/]+)/\d+/(?P<region>[^/]*)/(?P<service>[^/]+)/aws4_request")


@dataclass(frozen=True)
class Signature:
    """The signature of a request.

    Attributes:
        key: The access key id.
        region: The region of the request.
        service: The signing name of the service.
        headers: The names of the signed headers.
        date: When it was signed, as ``20260101T120000Z``.
        value: The signature itself, in hexadecimal.
        lifetime: Seconds for which a presigned address is valid; None for a signature in a header.
    """

    key: str
    region: str
    service: str
    headers: tuple[str, ...]
    date: str
    value: str
    lifetime: int | None = None


def read(environ: Mapping[str, Any]) -> Signature | None:
    """The signature of a WSGI request; None if it is missing or malformed."""
    match = _HEADER.fullmatch(environ.get("HTTP_AUTHORIZATION", ""))
    if match is not None:
        names = tuple(match["headers"].split(";"))
        date = environ.get("HTTP_X_AMZ_DATE", "")
        return Signature(match["key"], match["region"], match["service"], names, date, match["signature"])
    query = {name: values[0] for name, values in parse_qs(environ.get("QUERY_STRING", "")).items()}
    scope = _CREDENTIAL.fullmatch(query.get("X-Amz-Credential", ""))
    lifetime = query.get("X-Amz-Expires", "")
    if scope is None or not _LIFETIME.fullmatch(lifetime):
        return None
    return Signature(
        scope["key"],
        scope["region"],
        scope["service"],
        tuple(query.get("X-Amz-SignedHeaders", "").split(";")),
        query.get("X-Amz-Date", ""),
        query.get("X-Amz-Signature", ""),
        int(lifetime),
    )


def is_signed_with(signature: Signature, secret: str, environ: Mapping[str, Any], body: bytes) -> bool:
    """Whether a request was signed with ``secret``.

    Args:
        signature: the request's signature.
        secret: the secret of its key.
        environ: the request.
        body: its body; not used for S3, whose requests contain the hash of the body.
    """
    signed_headers = {name: _header(environ, name) for name in signature.headers}
    path, _, query = str(environ.get("RAW_URI") or environ["REQUEST_URI"]).partition("?")
    if signature.lifetime is not None:
        query = "&".join(part for part in query.split("&") if not part.startswith("X-Amz-Signature="))
    request = AWSRequest(
        environ["REQUEST_METHOD"],
        f"http://{environ['HTTP_HOST']}{path}{'?' if query else ''}{query}",
        signed_headers,
        body,
    )
    request.context["timestamp"] = signature.date
    kind = S3SigV4Auth if signature.service == "s3" else SigV4Auth
    if signature.lifetime is not None:
        kind = S3SigV4QueryAuth
    auth = kind(Credentials(signature.key, secret), signature.service, signature.region)
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return hmac.compare_digest(expected.encode(), signature.value.encode())


def _header(environ: Mapping[str, Any], name: str) -> str:
    key = name.upper().replace("-", "_")
    return str(environ.get(key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}", ""))
