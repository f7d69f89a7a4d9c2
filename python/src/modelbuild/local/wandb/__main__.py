"""``python -m modelbuild.local.wandb``: serve until standard input is closed."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

import uvicorn

from modelbuild.local.wandb.app import create_app


def main() -> None:
    """Parse the command line, bind, say where, serve."""
    options = _parse()
    try:
        listener = socket.create_server(("127.0.0.1", options.port))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        sys.exit(f"The W&B stand-in cannot listen on port {options.port}: {why}; use --port 0.")
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = create_app(options.data / "files", url, options.api_key)
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
    parser = argparse.ArgumentParser(prog="python -m modelbuild.local.wandb", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--data", type=Path, required=True, help="folder for the files of runs and artifacts")
    parser.add_argument("--api-key", help="the key that opens it; by default any of 40 characters or more")
    return parser.parse_args()


if __name__ == "__main__":
    main()
