"""``python -m modelbuild_local.aws``: serve until standard input is closed.

The first line of standard input is a JSON object with ``key_id``, ``secret`` and ``web_identity_key``.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from modelbuild_local.aws.server import serve
from modelbuild_local.aws.settings import Settings
from modelbuild_local.service import process


def main() -> None:
    """Read the command line and serve."""
    parser = process.parser("modelbuild_local.aws", description=__doc__)
    parser.add_argument(
        "--scratch", type=Path, required=True, help="folder for what jobs and endpoints write"
    )
    parser.add_argument(
        "--images",
        type=Path,
        required=True,
        action="append",
        help="folder with one <name>/Dockerfile per image; may be repeated, and the first that has it counts",
    )
    parser.add_argument(
        "--bin", type=Path, required=True, help="folder put first on the PATH of every process"
    )
    parser.add_argument(
        "--vcpus",
        type=int,
        default=max(4, 2 * (os.cpu_count() or 1)),
        help="vCPUs of each Batch compute environment (default: %(default)s)",
    )
    parser.add_argument(
        "--gpus", type=int, default=0, help="GPUs of each Batch compute environment (default: %(default)s)"
    )
    parser.add_argument(
        "--minute", type=float, default=60.0, help="seconds of a minute of schedules (default: %(default)s)"
    )
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
    secrets = process.read_secrets("key_id", "secret", "web_identity_key")
    listener, url = process.listen("AWS", options.port)
    settings = Settings(
        url=url,
        scratch=options.scratch.resolve(),
        images=tuple(dict.fromkeys(folder.resolve() for folder in options.images)),
        bin=options.bin.absolute(),
        vcpus=options.vcpus,
        gpus=options.gpus,
        minute=options.minute,
    )
    serve(settings, listener, **secrets)


if __name__ == "__main__":
    main()
