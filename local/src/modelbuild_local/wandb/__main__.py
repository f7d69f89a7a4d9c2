"""``python -m modelbuild_local.wandb``: serve until standard input is closed.

The first line of standard input is a JSON object: ``api_key``, which SDKs send, and ``page_key``, which
opens the pages.
"""

from __future__ import annotations

from pathlib import Path

from modelbuild_local.service import process
from modelbuild_local.wandb.app import create_app


def main() -> None:
    """Read the command line and the secrets, bind the port, and serve."""
    parser = process.parser("modelbuild_local.wandb", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder for the files of runs and artifacts")
    options = parser.parse_args()
    secrets = process.read_secrets("api_key", "page_key")
    listener, url = process.listen("W&B", options.port)
    process.serve(create_app(options.data / "files", url, **secrets), listener, url)


if __name__ == "__main__":
    main()
