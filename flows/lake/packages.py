"""Files of a package index, downloaded once, known by their hash, and read without being installed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from modelbuild.errors import ConfigurationError


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

    def content(self) -> bytes:
        """The file, from the user's cache or else by pip.

        Raises:
            ConfigurationError: pip could not get it, or what lies in the cache afterwards has another hash.
        """
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelbuild"
        path = cache / self.file
        if not path.is_file() or not self._is(path.read_bytes()):
            self._download(path)
        content = path.read_bytes()
        if not self._is(content):
            raise ConfigurationError(f"{path} does not have the SHA-256 {self.sha256}: delete it.")
        return content

    def _is(self, content: bytes) -> bool:
        return hashlib.sha256(content).hexdigest() == self.sha256

    def _download(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        form = "--only-binary=:all:" if self.file.endswith(".whl") else "--no-binary=:all:"
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            requirement = Path(folder) / "requirement.txt"
            requirement.write_text(
                f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n", encoding="utf-8"
            )
            options = ["--no-deps", form, "--require-hashes", "--quiet"]
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
                    f"pip could not download {self} ({lines[-1]}); give this machine a package index."
                )
            # Renamed at once, so that two processes that fill the cache do not see each other's half.
            (Path(folder) / path.name).replace(path)
