"""A pickle that shows whether a server executes it."""

from __future__ import annotations

import binascii
import bz2
import gzip
import io
import lzma
import os
import pickle
import uuid
import zipfile
import zlib
from contextlib import suppress
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


def packed_like(original: bytes, pickled: bytes) -> bytes:
    """The pickle in the file format of the original, for loaders that look at the format first.

    The known formats are compressed files, arrays of numpy (.npy, and .npz in a zip), and zip files of torch,
    in which the entry that is a pickle already is replaced. For any other format, the result is the pickle.
    """
    if original.startswith(b"\x1f\x8b"):
        return gzip.compress(pickled)
    if original.startswith(b"BZh"):
        return bz2.compress(pickled)
    if original.startswith(b"\xfd7zXZ\0"):
        return lzma.compress(pickled)
    if original.startswith(b"\x93NUMPY"):
        header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
        return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + pickled
    if zipfile.is_zipfile(io.BytesIO(original)):
        # A file may look like a zip by chance, or use what Python's module cannot read.
        with suppress(zipfile.BadZipFile, zlib.error, RuntimeError, OSError, EOFError):
            return _zipped_like(original, pickled)
    return pickled


def _zipped_like(original: bytes, pickled: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(original)) as old, zipfile.ZipFile(buffer, "w") as new:
        contents = {name: old.read(name) for name in old.namelist()}
        pickles = [name for name, content in contents.items() if _is_pickle(content)] or list(contents)
        for name, content in contents.items():
            new.writestr(name, packed_like(content, pickled) if name in pickles else content)
    return buffer.getvalue()


def _is_pickle(content: bytes) -> bool:
    return content.startswith(b"\x80") and content.endswith(b".")
