"""What holds for every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start: in the background it is ignored, which children inherit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
