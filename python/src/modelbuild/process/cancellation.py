"""The cancellation of a step: the agent sends SIGTERM to the processes of its job, and kills them later."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_CODE = 128 + signal.SIGTERM


class Cancelled(BaseException):
    """The agent cancels this job; not an ``Exception``, so that no handler takes it for a failure."""


def hold_signals() -> None:
    """Block SIGTERM until the block of :func:`interruptible` begins."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise :class:`Cancelled` in the block when the agent cancels this job, and ignore what comes after."""

    def cancel(number: int, frame: FrameType | None) -> None:
        del number, frame
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Cancelled

    earlier = signal.signal(signal.SIGTERM, cancel)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is cancel:
            signal.signal(signal.SIGTERM, earlier)


@contextmanager
def ignored() -> Iterator[None]:
    """Complete the block although the agent cancels this job, as do the programs that the block starts."""
    earlier = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)
