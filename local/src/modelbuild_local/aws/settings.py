"""The settings that all parts of the AWS stand-in share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The stand-in's settings; they are created after the port is bound, so that the address is known.

    Attributes:
        url: Address of this server, ``http://127.0.0.1:<port>``; every job and endpoint gets it.
        scratch: Folder for the files of jobs and endpoints; may be deleted when the server does not run.
        images: Folders with one ``<name>/Dockerfile`` for each image that may run; an image is that of the
            first folder that has one of its name.
        bin: Folder put first on the PATH of every process, in place of the image's own programs.
        vcpus: vCPUs of each Batch compute environment.
        gpus: GPUs of each Batch compute environment.
        minute: Seconds of a minute, for EventBridge's rules on a schedule.
    """

    url: str
    scratch: Path
    images: tuple[Path, ...]
    bin: Path
    vcpus: int
    gpus: int
    minute: float = 60.0
