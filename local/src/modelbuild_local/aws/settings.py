"""What the parts of the AWS stand-in share: where they keep things and how large the "cloud" is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The stand-in's settings; the port is bound before they are made, so the address is known.

    Attributes:
        url: Address of this server, ``http://127.0.0.1:<port>``; every job and endpoint is given it.
        scratch: Folder for whatever jobs and endpoints write; may be deleted when the server is down.
        images: Folder with one ``<name>/Dockerfile`` for each image that may run.
        bin: Folder put first on the PATH of every process, in place of the image's own programs.
        vcpus: vCPUs of each Batch compute environment.
        gpus: GPUs of each Batch compute environment.
        minute: Seconds of a minute, for EventBridge's rules on a schedule.
    """

    url: str
    scratch: Path
    images: Path
    bin: Path
    vcpus: int
    gpus: int
    minute: float = 60.0
