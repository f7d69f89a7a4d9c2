"""EC2's quotas of vCPUs that an account may run at once, by instance family and purchase option."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelbuild.aws.failures import translated

if TYPE_CHECKING:
    import boto3


@dataclass(frozen=True)
class Quota:
    """A quota of EC2 in Service Quotas, with its code and name there."""

    code: str
    name: str


# By the first letters of the names of instance types: the on-demand quota and the spot quota.
_STANDARD = (
    Quota("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances"),
    Quota("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests"),
)
_GRAPHICS = (
    Quota("L-DB2E81BA", "Running On-Demand G and VT instances"),
    Quota("L-3819A6DF", "All G and VT Spot Instance Requests"),
)
_QUOTAS = {
    **dict.fromkeys(("a", "c", "d", "h", "i", "m", "r", "t", "z"), _STANDARD),
    **dict.fromkeys(("g", "vt"), _GRAPHICS),
    "p": (
        Quota("L-417A185B", "Running On-Demand P instances"),
        Quota("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests"),
    ),
}
_VCPUS = {"medium": 1, "large": 2, "xlarge": 4}


def quota_of(instance_type: str, *, spot: bool) -> Quota | None:
    """The quota that an instance type such as ``g5.xlarge`` counts towards; None for a family not listed
    here.
    """
    family = re.match(r"(vt|[a-z])\d", instance_type)
    quotas = _QUOTAS.get(family[1]) if family else None
    return quotas[spot] if quotas else None


def vcpus(instance_type: str) -> int | None:
    """The number of vCPUs of an instance type, from the size in its name; None for others, such as metal."""
    size = instance_type.partition(".")[2]
    several = re.fullmatch(r"(\d+)xlarge", size)
    return 4 * int(several[1]) if several else _VCPUS.get(size)


class Quotas:
    """A client of Service Quotas with one identity. Reading raises ``AwsError`` when AWS refuses."""

    def __init__(self, session: boto3.Session) -> None:
        with translated("set up a client for Service Quotas"):
            self._quotas: Any = session.client("service-quotas")
        self._values: dict[str, float] = {}

    def vcpus(self, quota: Quota) -> float:
        """The number of vCPUs that a quota allows; the client reads each quota once."""
        if quota.code not in self._values:
            with translated(f"read quota {quota.code} of EC2"):
                answer = self._quotas.get_service_quota(ServiceCode="ec2", QuotaCode=quota.code)
            self._values[quota.code] = float(answer["Quota"]["Value"])
        return self._values[quota.code]
