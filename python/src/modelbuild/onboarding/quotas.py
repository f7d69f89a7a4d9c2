"""Checks that EC2's quotas allow the compute environments of a queue to start an instance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from modelbuild.aws.account import Queue
from modelbuild.aws.quotas import Quota, quota_of, vcpus
from modelbuild.errors import ConfigurationError, ModelbuildError
from modelbuild.onboarding.checks import Check

_ASK = "ask for more under Service Quotas, Amazon EC2"


def examine(queues: Mapping[str, Queue], allowed: Callable[[Quota], float]) -> Iterator[Check]:
    """A line for the quotas of each queue.

    Args:
        queues: the queues by name.
        allowed: reads the vCPUs that a quota allows; raises ``ModelbuildError`` when AWS refuses.
    """
    for name, queue in queues.items():
        smallest = dict(_smallest(queue))
        if not smallest:
            continue
        try:
            yield Check(True, f"quotas of queue {name}: {_fitting(smallest, allowed)}")
        except ConfigurationError as error:
            yield Check(False, f"quotas of queue {name}: {error}")
        except ModelbuildError as error:
            codes = " or ".join(f"{quota.code} ({quota.name})" for quota in smallest)
            yield Check(
                True,
                f"quotas of queue {name}: not checked, because it {error}; check that one of "
                f"{codes} allows {min(smallest.values())} vCPUs, which a new account may not have",
            )


def _smallest(queue: Queue) -> Iterable[tuple[Quota, int]]:
    """The quotas of a queue's enabled compute environments, each with the vCPUs of its smallest instance."""
    found: dict[Quota, int] = {}
    for compute in queue.computes:
        if compute.state != "ENABLED":
            continue
        for kind in compute.instance_types:
            quota, size = quota_of(kind, spot=compute.spot), vcpus(kind)
            if quota is not None and size is not None:
                found[quota] = min(size, found.get(quota, size))
    return found.items()


def _fitting(smallest: Mapping[Quota, int], allowed: Callable[[Quota], float]) -> str:
    """A text with the limits of the quotas.

    Raises:
        ConfigurationError: none of them allows the smallest instance.
    """
    limits = {quota: allowed(quota) for quota in smallest}
    descriptions = [
        f"{quota.code} ({quota.name}) allows {limit:g} vCPUs, and the smallest instance has {smallest[quota]}"
        for quota, limit in limits.items()
    ]
    if all(limit < smallest[quota] for quota, limit in limits.items()):
        raise ConfigurationError(f"jobs wait there for ever, as {'; '.join(descriptions)}: {_ASK}")
    return "; ".join(descriptions)
