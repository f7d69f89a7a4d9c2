"""Signature Version 4 of a request to S3: serving images have no botocore, and need nothing else of it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Keys:
    """The temporary credentials of a role; their text has no secret."""

    key_id: str
    secret: str = field(repr=False)
    token: str = field(repr=False)


def sign(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body_sha256: str,
    *,
    keys: Keys,
    region: str,
    now: datetime,
) -> dict[str, str]:
    """The headers of a request to S3, with its signature.

    Args:
        method: ``GET`` or ``PUT``.
        url: the address, percent-encoded and without a query.
        headers: further headers, which are signed as well, by their names in small letters.
        body_sha256: the hash of the body.
        keys: the identity that signs.
        region: of the bucket.
        now: the time of the request, in UTC.
    """
    date = now.strftime("%Y%m%dT%H%M%SZ")
    address = urlsplit(url)
    sent = {
        **headers,
        "x-amz-content-sha256": body_sha256,
        "x-amz-date": date,
        "x-amz-security-token": keys.token,
    }
    signed = dict(sorted({**sent, "host": address.netloc}.items()))
    names = ";".join(signed)
    lines = [
        method,
        address.path,
        "",
        *(f"{name}:{value}" for name, value in signed.items()),
        "",
        names,
        body_sha256,
    ]
    scope = f"{date[:8]}/{region}/s3/aws4_request"
    request = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    key = f"AWS4{keys.secret}".encode()
    for part in (*scope.split("/"), "\n".join([_ALGORITHM, date, scope, request])):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    authorization = (
        f"{_ALGORITHM} Credential={keys.key_id}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    )
    return {**sent, "authorization": authorization}
