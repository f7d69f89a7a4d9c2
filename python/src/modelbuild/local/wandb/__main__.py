"""``python -m modelbuild.local.wandb``: serve until standard input is closed."""

from __future__ import annotations

from pathlib import Path

from modelbuild.local import process
from modelbuild.local.wandb.app import create_app


def main() -> None:
    """Parse the command line, bind, say where, serve."""
    parser = process.parser("modelbuild.local.wandb", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder for the files of runs and artifacts")
    parser.add_argument("--api-key", help="the key that opens it; by default any of 40 characters or more")
    options = parser.parse_args()
    listener, url = process.listen("W&B", options.port)
    process.serve(create_app(options.data / "files", url, options.api_key), listener, url)


if __name__ == "__main__":
    main()
