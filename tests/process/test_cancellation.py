"""What SIGTERM does to a step that the agent cancels."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from modelbuild.process import cancellation


class Ended(BaseException):
    """The handler that was there before was called."""


@pytest.fixture(autouse=True)
def handled() -> Iterator[None]:
    """A handler of SIGTERM in place of the end of this process."""

    def end(*_: object) -> None:
        raise Ended

    before, mask = signal.signal(signal.SIGTERM, end), signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    # A signal that is still held does not end the tests.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    signal.signal(signal.SIGTERM, before)


def test_only_the_first_signal_interrupts() -> None:
    """What the step does because it is cancelled is not cancelled again."""
    with pytest.raises(cancellation.Cancelled), cancellation.interruptible():
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)


def test_a_signal_that_was_held_interrupts_the_block() -> None:
    """From the moment on when a step holds signals none is lost."""
    cancellation.hold_signals()
    signal.raise_signal(signal.SIGTERM)
    with pytest.raises(cancellation.Cancelled), cancellation.interruptible():
        pass


@pytest.mark.parametrize("raised", [None, ValueError])
def test_after_the_block_a_signal_is_handled_as_before(raised: type[Exception] | None) -> None:
    """Neither the end of the block nor an error of it leaves a handler behind."""
    for block in (cancellation.interruptible, cancellation.ignored):
        try:
            with block():
                if raised:
                    raise raised
        except ValueError:
            pass
        with pytest.raises(Ended):
            signal.raise_signal(signal.SIGTERM)


def test_a_block_is_completed_although_the_step_is_cancelled() -> None:
    """A signal that comes during the block does nothing, also after it."""
    with cancellation.ignored():
        signal.raise_signal(signal.SIGTERM)
