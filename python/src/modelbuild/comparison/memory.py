"""The memory of this process."""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = threading.Lock()


@contextmanager
def limited(further: int) -> Iterator[None]:
    """Limit the address space to what this process has now and ``further`` bytes, while the block runs.

    One thread at a time, because the limit is that of the whole process: other threads share it.
    A lower limit that the process has stays. On other systems than Linux there is no limit.

    Raises:
        MemoryError: the block needs more memory; libraries may raise another error.
    """
    if sys.platform != "linux":
        yield
        return
    with _LOCK:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
        limits = [pages * resource.getpagesize() + further, soft, hard]
        lowest = min(limit for limit in limits if limit != resource.RLIM_INFINITY)
        resource.setrlimit(resource.RLIMIT_AS, (lowest, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
