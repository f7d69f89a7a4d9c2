"""Caches byte code between jobs, so that the next job does not compile the same source again."""

from __future__ import annotations

import contextlib
import os
import sysconfig
import threading
from pathlib import Path


class Bytecode:
    """Caches for PYTHONPYCACHEPREFIX, one for each Metaflow code package.

    A job unpacks Metaflow's own source and starts half a dozen interpreters on it. All files of such a
    package have the same time, so byte code is valid for one package only. The installed packages of the host
    are compiled already and the same for all code packages: each cache shares one tree of links to them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._installed = {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}
        self._lock = threading.Lock()
        self._prepared = False

    def prepare(self) -> None:
        """Start to link the installed packages, unless that was started before; it takes about a second."""
        with self._lock:
            if self._prepared:
                return
            self._prepared = True
        threading.Thread(target=self._link_installed, daemon=True).start()

    def cache(self, package: str) -> Path:
        """The folder for the code package with this hash."""
        folder = self._folder / package
        for installed in self._installed:
            link = folder / installed.relative_to(installed.anchor)
            link.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                link.symlink_to(self._shared(installed))
        return folder

    def _shared(self, installed: Path) -> Path:
        return self._folder / "host" / installed.relative_to(installed.anchor)

    def _link_installed(self) -> None:
        for installed in self._installed:
            for parent, folders, files in os.walk(installed):
                if os.path.basename(parent) != "__pycache__":
                    if installed.name != "site-packages" and "site-packages" in folders:
                        folders.remove("site-packages")  # one of the other trees, or of no interest
                    continue
                source = os.path.relpath(os.path.dirname(parent), installed)
                target = self._shared(installed) / source
                target.mkdir(parents=True, exist_ok=True)
                for name in files:
                    with contextlib.suppress(FileExistsError):
                        os.symlink(os.path.join(parent, name), target / name)
