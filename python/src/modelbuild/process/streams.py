"""Standard input and output, which the program that starts a command may have closed."""

from __future__ import annotations

import os
import sys


def open_closed() -> None:
    """Put the null device in place of each standard stream that is closed.

    Otherwise the next file or connection gets the stream's number, and child processes write into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest number that is free, which is the stream's.
            stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - as long as the process runs
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
