"""Files of package indexes that trainings share, such as pretrained weights, known by their hash."""

from __future__ import annotations

from dataclasses import dataclass

from modelbuild import log
from modelbuild.aws.failures import NotFound
from modelbuild.contract import sha256_of, split_s3_uri
from modelbuild.store.objects import Objects


@dataclass(frozen=True)
class PackageStore:
    """``<bucket>/packages/<sha256>`` of the bucket that ``location`` lies in.

    Every method raises ``AwsError`` when S3 refuses.
    """

    objects: Objects
    location: str

    def read(self, sha256: str) -> bytes | None:
        """The file with this hash; None without it, or where something else lies in its place."""
        uri = self._uri(sha256)
        try:
            content = self.objects.read(uri)
        except NotFound:
            return None
        found = sha256_of(content)
        if found != sha256:
            log.warn(f"{uri} has SHA-256 {found}: it is not used.")
            return None
        return content

    def write(self, content: bytes) -> None:
        """Keep a file for later trainings, also in place of something else."""
        self.objects.write(self._uri(sha256_of(content)), content, "application/octet-stream")

    def _uri(self, sha256: str) -> str:
        return f"s3://{split_s3_uri(self.location)[0]}/packages/{sha256}"
