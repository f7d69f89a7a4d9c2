"""Objects in S3, read and written with the role of the job, by the standard library alone."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime, timezone
from urllib.parse import quote

from modelbuild.contract import split_s3_uri
from modelbuild.errors import AwsError, ConfigurationError
from modelbuild.serving.scoring.signature import Keys, sign

_CHUNK_BYTES = 1 << 20
_SECONDS = 60.0
_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.5
_CREDENTIALS_HOST = "http://169.254.170.2"
_EXISTS = 412
# A conditional write while S3 executes another one of the same object, and too many requests.
_TRY_AGAIN = (409, 429)


class RoleObjects:
    """Objects by ``s3://bucket/key``. Every method raises ``AwsError`` if S3 refuses or cannot be reached."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._region = environ.get("AWS_DEFAULT_REGION") or environ.get("AWS_REGION") or ""
        if not self._region:
            raise ConfigurationError(
                "AWS_DEFAULT_REGION is not set: the job definition of the stack infra/training.yaml sets it"
            )
        suffix = "amazonaws.com.cn" if self._region.startswith("cn-") else "amazonaws.com"
        self._address = environ.get("AWS_ENDPOINT_URL") or f"https://s3.{self._region}.{suffix}"

    def read(self, uri: str) -> bytes:
        """The bytes of an object."""
        return self._send("GET", uri, b"", {})

    def write_once(self, uri: str, body: bytes) -> bool:
        """Write a JSON document unless the object exists; returns whether this call wrote it."""
        try:
            self._send("PUT", uri, body, {"content-type": "application/json", "if-none-match": "*"})
        except _Refused as error:
            if error.status == _EXISTS:
                return False
            raise
        return True

    def _send(self, method: str, uri: str, body: bytes, headers: Mapping[str, str]) -> bytes:
        """The body of the answer to a request, which is sent again if S3 is busy or a connection breaks."""
        verb = "read" if method == "GET" else "write"
        bucket, key = split_s3_uri(uri)
        url = f"{self._address.rstrip('/')}/{bucket}/{quote(key, safe='/-_.~')}"
        for attempt in range(1, _ATTEMPTS + 1):
            signed = sign(
                method,
                url,
                headers,
                hashlib.sha256(body).hexdigest(),
                keys=self._keys(),
                region=self._region,
                now=datetime.now(timezone.utc),
            )
            request = urllib.request.Request(url, body if method == "PUT" else None, signed, method=method)
            try:
                answer: http.client.HTTPResponse
                with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                    return answer.read()
            except urllib.error.HTTPError as error:
                if (error.code < 500 and error.code not in _TRY_AGAIN) or attempt == _ATTEMPTS:
                    raise _Refused(verb, uri, error) from None
                error.close()
            except (OSError, http.client.HTTPException) as error:
                if attempt == _ATTEMPTS:
                    raise AwsError(f"could not {verb} {uri}: S3 did not answer in full") from error
            time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _keys(self) -> Keys:
        """The keys of the job's role, from the address that ECS gives to its containers."""
        relative = self._environ.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
        url = (
            f"{_CREDENTIALS_HOST}{relative}"
            if relative
            else self._environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI")
        )
        if not url:
            raise ConfigurationError(
                "this job has no role: its definition must name one, as that of the stack "
                "infra/training.yaml does"
            )
        token = self._environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
        request = urllib.request.Request(url, headers={"authorization": token} if token else {})
        # The address is on the host of the job, where no proxy leads.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=_SECONDS) as answer:
                found = json.load(answer)
            return Keys(found["AccessKeyId"], found["SecretAccessKey"], found["Token"])
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            raise AwsError("the host gives no keys for the role of this job") from None


class _Refused(AwsError):
    """S3 refused a request."""

    def __init__(self, verb: str, uri: str, error: urllib.error.HTTPError) -> None:
        with error:
            code = re.search(rb"<Code>(\w+)</Code>", error.read(_CHUNK_BYTES))
        self.status = error.code
        super().__init__(f"could not {verb} {uri} ({code[1].decode() if code else f'HTTP {error.code}'})")
