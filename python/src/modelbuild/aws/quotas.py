"""How many vCPUs of EC2 an account may run at once, by kind of instance and of purchase."""

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


# By the letters that the names of its instance types begin with; on demand, and spot.
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
    """The quota that an instance type such as ``g5.xlarge`` counts for; None where it is not known here."""
    family = re.match(r"(vt|[a-z])\d", instance_type)
    quotas = _QUOTAS.get(family[1]) if family else None
    return quotas[spot] if quotas else None


def vcpus(instance_type: str) -> int | None:
    """The vCPUs that the size of an instance type stands for; None where the name has no size."""
    size = instance_type.partition(".")[2]
    several = re.fullmatch(r"(\d+)xlarge", size)
    return 4 * int(several[1]) if several else _VCPUS.get(size)


class Quotas:
    """The quotas of an account as one identity sees them. Reading raises ``AwsError`` when AWS refuses."""

    def __init__(self, session: boto3.Session) -> None:
        with translated("set up a client for Service Quotas"):
            self._quotas: Any = session.client("service-quotas")
        self._known: dict[str, float] = {}

    def vcpus(self, quota: Quota) -> float:
        """The vCPUs that a quota allows; each quota is asked for once."""
        if quota.code not in self._known:
            with translated(f"read quota {quota.code} of EC2"):
                answer = self._quotas.get_service_quota(ServiceCode="ec2", QuotaCode=quota.code)
            self._known[quota.code] = float(answer["Quota"]["Value"])
        return self._known[quota.code]
