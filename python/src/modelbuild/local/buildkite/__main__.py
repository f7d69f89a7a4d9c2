"""``python -m modelbuild.local.buildkite``: serve until standard input is closed."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import sys
import threading
from pathlib import Path

import uvicorn

from modelbuild.local.buildkite.app import create_app
from modelbuild.local.buildkite.engine import Engine, user_id
from modelbuild.local.buildkite.state import User


def main() -> None:
    """Parse the command line, bind, say where, serve."""
    options = _parse()
    listener = socket.create_server(("127.0.0.1", options.port))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    engine = Engine(options.organization, options.user, options.data)
    app = create_app(
        engine,
        url,
        agent_token=options.agent_token,
        api_token=options.api_token,
        rate_limit=options.rate_limit,
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    # uvicorn passes a signal on to the handler it found, and that one's default is to die of it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    threading.Thread(target=_stop_at_end_of_input, args=[server], daemon=True).start()
    # The socket already listens, so whoever reads this line can connect at once.
    print(json.dumps({"url": url}), flush=True)
    server.run(sockets=[listener])


def _stop_at_end_of_input(server: uvicorn.Server) -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    server.should_exit = True


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m modelbuild.local.buildkite", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--organization", default="local", help="slug of the organization")
    parser.add_argument("--agent-token", required=True, help="what agents register with")
    parser.add_argument("--api-token", required=True, help="what REST clients send")
    parser.add_argument("--data", type=Path, required=True, help="folder for artifacts and logs")
    parser.add_argument("--rate-limit", type=int, default=0, help="REST requests per minute; 0: no limit")
    parser.add_argument("--user", type=_user, default="Local user <user@localhost>", help="who unblocks")
    return parser.parse_args()


def _user(text: str) -> User:
    match = re.fullmatch(r"\s*(.+?)\s*<([^<>\s]+)>\s*", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form 'Name <address>'")
    return User(id=user_id(match[2]), name=match[1], email=match[2])


if __name__ == "__main__":
    main()
