"""The capacity of a compute environment: its free vCPUs and GPUs, and the queue of waiting jobs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_LOOK_AGAIN_SECONDS = 0.2


@dataclass(frozen=True)
class Share:
    """The vCPUs and GPUs of one job.

    Attributes:
        vcpus: vCPUs taken.
        gpus: Numbers of the GPUs taken.
    """

    vcpus: float
    gpus: tuple[int, ...]


class Capacity:
    """vCPUs and GPUs that jobs take and release, first come, first served.

    A job that requires more than the capacity gets all of it: a laptop has no second machine and often no
    GPU, and otherwise a flow with such a job could not run on it.
    """

    def __init__(self, vcpus: int, gpus: int) -> None:
        self._vcpus = vcpus
        self._gpus = gpus
        self._free_vcpus = float(vcpus)
        self._free_gpus = list(range(gpus))
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    def take(
        self,
        vcpus: float,
        gpus: int,
        abandoned: Callable[[], bool],
        blocked: Callable[[], bool] = lambda: False,
    ) -> Share | None:
        """Wait for this job's share; None as soon as ``abandoned()`` is true.

        While the first job in the queue is ``blocked()``, all others wait behind it.
        """
        vcpus, gpus = min(vcpus, self._vcpus), min(gpus, self._gpus)
        ticket = object()
        with self._changed:
            self._line.append(ticket)
            try:
                while not abandoned():
                    fits = self._free_vcpus >= vcpus and len(self._free_gpus) >= gpus
                    if self._line[0] is ticket and not blocked() and fits:
                        self._free_vcpus -= vcpus
                        return Share(vcpus, tuple(self._free_gpus.pop(0) for _ in range(gpus)))
                    self._changed.wait(_LOOK_AGAIN_SECONDS)
                return None
            finally:
                self._line.remove(ticket)
                self._changed.notify_all()

    def release(self, share: Share) -> None:
        """Release a share."""
        with self._changed:
            self._free_vcpus += share.vcpus
            self._free_gpus = sorted([*self._free_gpus, *share.gpus])
            self._changed.notify_all()
