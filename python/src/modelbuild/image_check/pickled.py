"""A pickle that shows whether a server executes it."""

from __future__ import annotations

import binascii
import os
import pickle
import uuid
from typing import Any


class _Call:
    """Unpickles as the result of a call."""

    def __init__(self, *call: Any) -> None:
        self._call = call

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        function, *arguments = self._call
        return function, tuple(arguments)


def printing() -> tuple[bytes, str]:
    """A pickle that writes a marker to standard error when it is loaded, and the marker.

    The marker does not occur in the pickle, so a server that prints the file does not print the marker.
    Protocol 2 is read by every pickle module.
    """
    marker = f"modelbuild-unpickled-{uuid.uuid4().hex}"
    written = binascii.hexlify(f"{marker}\n".encode())
    return pickle.dumps(_Call(os.write, 2, _Call(binascii.unhexlify, written)), protocol=2), marker
