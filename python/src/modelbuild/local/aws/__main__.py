"""``python -m modelbuild.local.aws``: the AWS stand-in as a process of its own."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from modelbuild.local.aws.server import serve
from modelbuild.local.aws.settings import Settings


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(
        prog="python -m modelbuild.local.aws",
        description="AWS on this machine; runs as long as its standard input is open.",
    )
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1; 0 takes a free one")
    parser.add_argument(
        "--scratch", type=Path, required=True, help="folder for what jobs and endpoints write"
    )
    parser.add_argument(
        "--images", type=Path, required=True, help="folder with one <name>/Dockerfile per image"
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
    settings = Settings(
        url="",
        scratch=options.scratch.resolve(),
        images=options.images.resolve(),
        bin=options.bin.absolute(),
        vcpus=options.vcpus,
        gpus=options.gpus,
        minute=options.minute,
    )
    try:
        serve(settings, options.port, sys.stdin, sys.stdout)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        sys.exit(f"The AWS stand-in cannot listen on port {options.port}: {why}; use --port 0.")


if __name__ == "__main__":
    main()
