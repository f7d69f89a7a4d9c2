"""The HTTP server: moto's application with this room's services in it."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
from dataclasses import replace
from typing import TextIO

from werkzeug.serving import BaseWSGIServer, make_server

from modelbuild.local.aws.settings import Settings

HOST = "127.0.0.1"

_LOOK_AGAIN_SECONDS = 0.1


def serve(settings: Settings, port: int, stdin: TextIO, stdout: TextIO) -> None:
    """Serve until ``stdin`` ends or SIGTERM or SIGINT comes, then end every job and endpoint.

    Writes one line to ``stdout`` once requests are answered: ``{"url": "http://127.0.0.1:<port>"}``.

    Args:
        settings: The stand-in's settings; the url is filled in here.
        port: TCP port; 0 takes a free one.
        stdin: What is read until its end.
        stdout: Where the line goes.

    Raises:
        OSError: the port is taken.
    """
    stopping = _stopping(stdin)
    with socket.create_server((HOST, port)) as listener:
        settings = replace(settings, url=f"http://{HOST}:{listener.getsockname()[1]}")
        server = _server(listener)
        # After _server: moto must not be imported before its own settings are in the environment.
        from modelbuild.local.aws import access, athena, batch, cloudformation, events, functions, sagemaker

        access.install()
        cloudformation.install()
        functions.install()
        events.install(settings.minute)
        services = [sagemaker, batch, athena]
        for service in services:
            service.install(settings)
        threading.Thread(target=server.serve_forever, args=(_LOOK_AGAIN_SECONDS,), daemon=True).start()
        print(json.dumps({"url": settings.url}), file=stdout, flush=True)
        stopping.wait()
        for service in services:
            service.stop()
        server.shutdown()


def _server(listener: socket.socket) -> BaseWSGIServer:
    """Moto's application, answering on ``listener`` with one thread for each connection."""
    host, port = listener.getsockname()
    os.environ["MOTO_PORT"] = str(port)
    # Without this, a host name with a dot is taken for a bucket's.
    os.environ["S3_IGNORE_SUBDOMAIN_BUCKETNAME"] = "true"
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )

    class Handler(MotoRequestHandler):
        protocol_version = "HTTP/1.1"  # for uploads that wait for "100 Continue"

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Say nothing of single requests."""

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    from modelbuild.local.aws import mishaps

    application = mishaps.beside(DomainDispatcherApplication(create_backend_app))
    return make_server(host, port, application, threaded=True, request_handler=Handler, fd=listener.fileno())


def _stopping(stdin: TextIO) -> threading.Event:
    """An event that is set when ``stdin`` ends or SIGTERM or SIGINT comes."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())

    def read() -> None:
        while stdin.readline():
            pass
        stopping.set()

    threading.Thread(target=read, daemon=True).start()
    return stopping
