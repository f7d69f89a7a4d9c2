"""The OIDC tokens that the local Buildkite issues and the local STS accepts.

Buildkite signs with a key pair whose public key AWS fetches. Here both stand-ins share one secret key of the
run, so that no other user of the machine can create a token (RFC 7519 with HS256 of RFC 7518).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any


def sign(claims: Mapping[str, Any], key: str) -> str:
    """A JSON web token with these claims."""
    parts = [_encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, dict(claims))]
    return ".".join([*parts, _signature(".".join(parts), key)])


def is_valid(token: str, key: str) -> bool:
    """Whether a token was signed with the key, is meant for AWS, and has not expired."""
    signed, _, signature = token.rpartition(".")
    if not key or not hmac.compare_digest(_signature(signed, key).encode(), signature.encode()):
        return False
    claims = json.loads(_decoded(signed.partition(".")[2]))
    return bool(claims["aud"] == "sts.amazonaws.com" and claims["nbf"] <= time.time() < claims["exp"])


def _signature(text: str, key: str) -> str:
    return _encoded(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest())


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
