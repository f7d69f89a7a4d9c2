"""``python -m modelbuild_local.buildkite``: serve until standard input is closed.

The first line of standard input is a JSON object: ``agent_token``, with which agents register, ``api_token``,
which REST clients of the user send, ``bot_token``, which trainings send, ``page_key``, which opens the pages,
and ``web_identity_key``, which signs OIDC tokens.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import replace
from pathlib import Path

from modelbuild_local.buildkite.app import create_app
from modelbuild_local.buildkite.engine import Engine
from modelbuild_local.buildkite.identity import User, user_id
from modelbuild_local.service import process


def main() -> None:
    """Read the command line and the secrets, bind the port, and serve."""
    options = _parse()
    secrets = process.read_secrets("agent_token", "api_token", "bot_token", "page_key", "web_identity_key")
    listener, url = process.listen("Buildkite", options.port)
    user = replace(options.user, teams=options.team and tuple(options.team))
    app = create_app(
        Engine(options.organization, user, options.data),
        url,
        rate_limit=options.rate_limit,
        **secrets,
    )
    process.serve(app, listener, url)


def _parse() -> argparse.Namespace:
    parser = process.parser("modelbuild_local.buildkite", description=__doc__)
    parser.add_argument("--organization", default="local", help="slug of the organization")
    parser.add_argument("--data", type=Path, required=True, help="folder for artifacts and logs")
    parser.add_argument("--rate-limit", type=int, default=0, help="REST requests per minute; 0: no limit")
    parser.add_argument("--user", type=_user, default="Local user <user@localhost>", help="who unblocks")
    parser.add_argument("--team", action="append", help="team that the user belongs to; by default to all")
    return parser.parse_args()


def _user(text: str) -> User:
    match = re.fullmatch(r"\s*(.+?)\s*<([^<>\s]+)>\s*", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form 'Name <address>'")
    return User(id=user_id(match[2]), name=match[1], email=match[2])


if __name__ == "__main__":
    main()
