"""A service of laptop mode as a process: its port, its announcement, and its end."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp

HOST = "127.0.0.1"

# The largest size of the line of secrets.
_SECRETS_BYTES = 65_536


def parser(module: str, **options: Any) -> argparse.ArgumentParser:
    """A parser for the command line of ``python -m module``, with the option ``--port`` of every service."""
    made = argparse.ArgumentParser(prog=f"python -m {module}", **options)
    made.add_argument("--port", type=int, default=0, help=f"TCP port on {HOST}; 0 takes a free one")
    return made


def read_secrets(*names: str) -> dict[str, str]:
    """The secrets of a service, from the first line of standard input: a JSON object with text by name.

    Standard input is a pipe of the process that starts the service: every user of the machine can read the
    arguments of a process. The rest of standard input is left for :func:`on_stop_request`.

    Raises:
        SystemExit: the line is not such an object; with a message that names the missing keys.
    """
    line = b""
    while not line.endswith(b"\n") and len(line) < _SECRETS_BYTES:
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            break
        line += byte
    try:
        document = json.loads(line)
        return {name: str(document[name]) for name in names}
    except (ValueError, KeyError, TypeError):
        form = ", ".join(f'"{name}": "…"' for name in names)
        sys.exit(f"The first line of standard input must be the secrets of this service: {{{form}}}")


def listen(name: str, port: int) -> tuple[socket.socket, str]:
    """A socket that listens on this machine, and its address.

    Raises:
        SystemExit: the port is in use or not permitted; with a message that names the service.
    """
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        sys.exit(f"The {name} stand-in cannot listen on port {port}: {reason}; use --port 0.")
    return listener, f"http://{HOST}:{listener.getsockname()[1]}"


def announce(url: str) -> None:
    """Tell the parent process that ``url`` answers."""
    print(json.dumps({"url": url}), flush=True)


def on_stop_request(stop: Callable[[], object]) -> None:
    """Call ``stop`` at the end of standard input, or at SIGTERM or SIGINT."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop())

    def read() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        stop()

    threading.Thread(target=read, daemon=True).start()


def serve(app: ASGIApp, listener: socket.socket, url: str) -> None:
    """Serve an application until this process must stop."""
    # Imported here, because the AWS stand-in uses another server.
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    # uvicorn calls the previous handler of a signal, and the default handler would end the process.
    on_stop_request(lambda: setattr(server, "should_exit", True))
    # The socket already listens, so the parent can connect at once.
    announce(url)
    server.run(sockets=[listener])
