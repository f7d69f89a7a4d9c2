"""The EC2 instance that this process runs on, from the instance metadata service (IMDSv2).

Batch gives a job on EC2 the network of its host, so a token of hop limit 1 reaches it. Fargate and a laptop
have no such service.
Source: https://docs.aws.amazon.com/batch/latest/userguide/networking-modes-jobs.html
"""

from __future__ import annotations

import os
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException

_ADDRESS = "http://169.254.169.254"
_SECONDS = 1.0
_TOKEN_HEADERS = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}


@dataclass(frozen=True)
class Instance:
    """An EC2 instance.

    Attributes:
        type: such as ``m5.large``.
        spot: whether it is a spot instance.
        vcpus: how many vCPUs it has. Batch limits a job by shares, so a job sees all of them.
    """

    type: str
    spot: bool
    vcpus: int


def this_instance(environ: Mapping[str, str] = os.environ) -> Instance | None:
    """The instance, or None where the service does not answer within a second or is switched off.

    Args:
        environ: ``AWS_EC2_METADATA_DISABLED`` and ``AWS_EC2_METADATA_SERVICE_ENDPOINT`` as for AWS's SDKs.
    """
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    address = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", _ADDRESS).rstrip("/")
    # The service is on the host, so no proxy of the environment leads to it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(path: str, headers: Mapping[str, str], method: str = "GET") -> str:
        request = urllib.request.Request(f"{address}/latest/{path}", headers=dict(headers), method=method)
        with opener.open(request, timeout=_SECONDS) as answer:
            return str(answer.read(1_000).decode("ascii")).strip()

    try:
        token = {"X-aws-ec2-metadata-token": ask("api/token", _TOKEN_HEADERS, "PUT")}
        found = Instance(
            type=ask("meta-data/instance-type", token),
            spot=ask("meta-data/instance-life-cycle", token) == "spot",
            vcpus=os.cpu_count() or 1,
        )
    except (OSError, HTTPException, ValueError):
        return None
    return found if found.type else None
