"""Service Quotas of EC2, which moto lacks: every quota of vCPUs allows the stand-in's number of vCPUs."""

from __future__ import annotations

from typing import Any

from moto.servicequotas.models import ServiceQuotasBackend

from modelbuild_local.aws.patching import replace

_get = ServiceQuotasBackend.get_service_quota


def install(vcpus: int) -> None:
    """Make each quota of EC2 allow ``vcpus`` vCPUs; call this once, before the server answers."""

    def quota(self: ServiceQuotasBackend, service_code: str, quota_code: str) -> dict[str, Any]:
        if service_code != "ec2":
            return _get(self, service_code, quota_code)
        return {"ServiceCode": "ec2", "QuotaCode": quota_code, "Value": float(vcpus), "Adjustable": True}

    replace(ServiceQuotasBackend, "get_service_quota", quota)
