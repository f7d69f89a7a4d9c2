"""The machines of a compute environment: how many vCPUs and GPUs are free, and who is next."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_LOOK_AGAIN_SECONDS = 0.2


@dataclass(frozen=True)
class Share:
    """What one job holds of the machines.

    Attributes:
        vcpus: vCPUs taken.
        gpus: Numbers of the GPUs taken.
    """

    vcpus: float
    gpus: tuple[int, ...]


class Capacity:
    """vCPUs and GPUs that jobs take and give back, first come, first served.

    A job that asks for more than there is gets all there is: a laptop has no second machine and often no
    GPU, and a job that could never start would make the same flow unusable on it.
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
        """Wait for the turn and the room; None as soon as ``given_up()`` is true.

        The first job is asked whether it is ``blocked()``; such a job stays first, and the others wait.
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
        """Free what ``share`` held."""
        with self._changed:
            self._free_vcpus += share.vcpus
            self._free_gpus = sorted([*self._free_gpus, *share.gpus])
            self._changed.notify_all()
