"""Caches byte code between jobs, so that the next job does not compile the same source again."""

from __future__ import annotations

import contextlib
import importlib.machinery
import importlib.util
import marshal
import os
import sysconfig
import threading
from pathlib import Path

_CHECKED_HASH = 3
"""The flags in the header of byte code that Python compares with a hash of its source (PEP 552)."""


class Bytecode:
    """Caches for PYTHONPYCACHEPREFIX, one for each Metaflow code package.

    A job unpacks Metaflow's own source and starts half a dozen interpreters on it. All files of such a
    package have the same time, so byte code by time is valid for one package only. The installed packages of
    the host are compiled already and the same for all code packages: each cache shares one tree of links to
    them. The caches also share the byte code of Metaflow, which is valid by the hash of its source.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._installed = {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}
        own = _source("modelbuild")
        if own and not any(own.is_relative_to(installed) for installed in self._installed):
            self._installed.add(own)  # it is installed as editable
        self._metaflow = folder / "metaflow"
        self._has_metaflow = threading.Event()
        self._lock = threading.Lock()
        self._prepared = False

    def prepare(self) -> None:
        """Start to fill what caches share, unless that was started before; it takes about a second."""
        with self._lock:
            if self._prepared:
                return
            self._prepared = True
        threading.Thread(target=self._fill, daemon=True).start()

    def cache(self, package: str, work: Path) -> Path:
        """The folder for the code package with this hash, which a job unpacks in its folder ``work``."""
        folder = self._folder / package
        for installed in self._installed:
            _link(_below(folder, installed), _below(self._folder / "host", installed))
        if self._has_metaflow.is_set():
            _link(_below(folder, work / "metaflow" / ".mf_code" / "metaflow"), self._metaflow)
        return folder

    def _fill(self) -> None:
        metaflow = _source("metaflow")
        if metaflow:
            write_by_hash(metaflow, self._metaflow)
            self._has_metaflow.set()
        for installed in self._installed:
            self._link_installed(installed)

    def _link_installed(self, installed: Path) -> None:
        for parent, folders, files in os.walk(installed):
            if os.path.basename(parent) != "__pycache__":
                if installed.name != "site-packages" and "site-packages" in folders:
                    folders.remove("site-packages")  # one of the other trees, or of no interest
                continue
            source = os.path.relpath(os.path.dirname(parent), installed)
            target = _below(self._folder / "host", installed) / source
            target.mkdir(parents=True, exist_ok=True)
            for name in files:
                with contextlib.suppress(FileExistsError):
                    os.symlink(os.path.join(parent, name), target / name)


def write_by_hash(source: Path, target: Path) -> None:
    """Write the byte code of each module below ``source`` to ``target``, a folder of a cache.

    It is valid for the same source in another place and with another time.
    """
    for file in source.rglob("*.py"):
        name = Path(importlib.util.cache_from_source(str(file))).name
        written = target / file.parent.relative_to(source) / name
        with contextlib.suppress(SyntaxError):  # a template of a program
            code = importlib.machinery.SourceFileLoader(file.stem, str(file)).get_code(file.stem)
            header = importlib.util.MAGIC_NUMBER + _CHECKED_HASH.to_bytes(4, "little")
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_bytes(header + importlib.util.source_hash(file.read_bytes()) + marshal.dumps(code))


def _source(package: str) -> Path | None:
    """The folder of a package if it is installed; it is not imported."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin else None


def _below(folder: Path, path: Path) -> Path:
    """Where Python looks for byte code of the folder ``path`` if its prefix is ``folder``."""
    return folder / path.relative_to(path.anchor)


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        link.symlink_to(target)
