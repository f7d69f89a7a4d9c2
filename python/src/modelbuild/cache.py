"""The folder in the user's cache in which modelbuild keeps what it can make again."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelbuild.errors import ConfigurationError

_FIX = "set XDG_CACHE_HOME to a folder in which you may write and run programs"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def folder(environ: Mapping[str, str]) -> Path:
    """The folder ``modelbuild`` in the user's cache, which may not exist yet.

    Raises:
        ConfigurationError: the variables name no absolute folder, and the user has no home folder.
    """
    named = environ.get("XDG_CACHE_HOME")
    if named and not os.path.isabs(named):
        raise ConfigurationError(f"XDG_CACHE_HOME is {named}, which is not an absolute path: correct it")
    try:
        return Path(named or Path.home() / ".cache") / "modelbuild"
    except RuntimeError:
        raise ConfigurationError(f"this user has no home folder: set HOME, or {_FIX}") from None


@contextmanager
def errors_explained() -> Iterator[None]:
    """Raise a ConfigurationError for an error of the file system that the user can mend; others pass.

    Raises:
        ConfigurationError: the disk is full, or the user may not use a folder or file of the cache.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise ConfigurationError(
                f"the disk is full ({error.strerror}): free some space, or set XDG_CACHE_HOME to a folder on "
                "another disk"
            ) from error
        if isinstance(error.filename, str) and _is_of_cache(Path(error.filename)):
            raise ConfigurationError(f"cannot use {error.filename} ({error.strerror}): {_FIX}") from error
        raise


def _is_of_cache(path: Path) -> bool:
    """Whether ``path`` is in the cache, or a folder around it, which is made with it."""
    cache = folder(os.environ)
    return path.is_relative_to(cache) or cache.is_relative_to(path)
