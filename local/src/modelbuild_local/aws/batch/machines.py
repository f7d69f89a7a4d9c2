"""The machines that jobs run on: all of them are this machine."""

from __future__ import annotations

import itertools
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from modelbuild_local.aws.batch.bytecode import Bytecode
from modelbuild_local.aws.batch.capacity import Capacity
from modelbuild_local.aws.settings import Settings


class Machines:
    """The capacity of the compute environments, the folders of running jobs, and their byte code.

    Attributes:
        sold_out: names of queues for which AWS has no instances at the moment.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sold_out: set[str] = set()
        self.bytecode = Bytecode(settings.scratch / "bytecode")
        self._lock = threading.Lock()
        self._capacities: dict[str, Capacity] = {}
        self._slots: set[int] = set()

    def capacity(self, environment: Any) -> Capacity:
        """The capacity of a compute environment: its ``maxvCpus``, limited by the stand-in's capacity."""
        limit = int((environment.compute_resources or {}).get("maxvCpus") or self.settings.vcpus)
        with self._lock:
            capacity = self._capacities.get(environment.arn)
            if capacity is None:
                capacity = Capacity(min(limit, self.settings.vcpus), self.settings.gpus)
                self._capacities[environment.arn] = capacity
            return capacity

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """An empty folder for one job. Folders are reused, so that byte code, which is found by path, is
        reused too.
        """
        with self._lock:
            slot = next(number for number in itertools.count() if number not in self._slots)
            self._slots.add(slot)
        folder = self.settings.scratch / "batch" / f"slot-{slot}"
        try:
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "work").mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            with self._lock:
                self._slots.discard(slot)
