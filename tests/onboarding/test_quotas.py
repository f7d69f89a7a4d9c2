from __future__ import annotations

import pytest

from modelbuild.aws.account import Compute, Queue
from modelbuild.aws.quotas import Quota, quota_of, vcpus
from modelbuild.errors import AwsError
from modelbuild.onboarding.quotas import examine

CODES = {"spot": "L-3819A6DF", "on demand": "L-DB2E81BA"}


def queue(
    *spots: bool, state: str = "ENABLED", types: tuple[str, ...] = ("g5.2xlarge", "g5.xlarge")
) -> Queue:
    """A queue with an environment for each answer to whether it has spot instances."""
    computes = (Compute(f"c{spot}", state, "VALID", "", 256, types, spot) for spot in spots)
    return Queue("ENABLED", "VALID", "", tuple(computes))


@pytest.mark.parametrize(
    ("spot", "on_demand", "ok"), [(0, 0, False), (3, 3, False), (0, 4, True), (64, 0, True), (3, 64, True)]
)
def test_one_quota_for_the_smallest_instance_is_enough(spot: int, on_demand: int, ok: bool) -> None:
    """A queue has no use where no quota allows the smallest instance of its environments; the line has the
    codes, names and figures, and where to ask for more.
    """
    limits = {CODES["spot"]: spot, CODES["on demand"]: on_demand}
    [line] = examine({"gpus": queue(True, False)}, lambda quota: limits[quota.code])
    assert line.ok is ok
    assert f"L-3819A6DF (All G and VT Spot Instance Requests) allows {spot} vCPUs" in line.text
    assert "the smallest instance has 4" in line.text
    assert ("ask for more under Service Quotas" in line.text) is not ok


def test_environments_that_start_nothing_do_not_count() -> None:
    """Disabled environments, and types whose quota is not known here, are passed over."""
    asked: list[Quota] = []
    queues = {"off": queue(True, state="DISABLED"), "other": queue(False, types=("inf2.xlarge", "optimal"))}

    def allowed(quota: Quota) -> float:
        asked.append(quota)
        return 0.0

    assert list(examine(queues, allowed)) == []
    assert asked == []


def test_quotas_that_may_not_be_read_are_named() -> None:
    """Where AWS refuses to tell, the line is no failure, and has what to look at."""

    def refuse(quota: Quota) -> float:
        raise AwsError(f"could not read quota {quota.code} (AccessDenied)")

    [line] = examine({"gpus": queue(True, False)}, refuse)
    assert line.ok
    assert "not checked" in line.text
    assert all(code in line.text for code in CODES.values())
    assert "4 vCPUs" in line.text


@pytest.mark.parametrize(
    ("kind", "code", "size"),
    [
        ("m5.large", "L-1216C47A", 2),
        ("c7gn.medium", "L-1216C47A", 1),
        ("t3.2xlarge", "L-1216C47A", 8),
        ("g4dn.12xlarge", "L-DB2E81BA", 48),
        ("vt1.3xlarge", "L-DB2E81BA", 12),
        ("p5.48xlarge", "L-417A185B", 192),
        ("inf2.xlarge", None, 4),
        ("trn1.2xlarge", None, 8),
        ("m5.metal", "L-1216C47A", None),
        ("m5", "L-1216C47A", None),
        ("optimal", None, None),
    ],
)
def test_types_count_for_quotas(kind: str, code: str | None, size: int | None) -> None:
    """The letters of an instance type give its quota, and its size the vCPUs."""
    found = quota_of(kind, spot=False)
    assert (found.code if found else None) == code
    assert vcpus(kind) == size
    spot = quota_of(kind, spot=True)
    assert (spot is None) is (code is None)
    assert spot is None or spot != found
