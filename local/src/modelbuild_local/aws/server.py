"""The HTTP server: moto's application with the services of this package."""

from __future__ import annotations

import functools
import gc
import logging
import os
import socket
import threading

from werkzeug.serving import BaseWSGIServer, make_server

from modelbuild_local.aws import descriptions
from modelbuild_local.aws.settings import Settings
from modelbuild_local.service import process

_LOOK_AGAIN_SECONDS = 0.1


def serve(
    settings: Settings, listener: socket.socket, *, key_id: str, secret: str, web_identity_key: str
) -> None:
    """Serve at the settings' url until this process is told to end, then end every job and endpoint.

    Args:
        settings: The stand-in's settings.
        listener: The socket behind their url.
        key_id: Id of the access key of the data lake account.
        secret: Secret of the same key.
        web_identity_key: The key with which the local Buildkite signs its OIDC tokens.
    """
    # Garbage collections took a quarter of the time until the server answers, when there is no garbage yet.
    gc.set_threshold(50_000)
    descriptions.share()
    stopping = threading.Event()
    process.on_stop_request(stopping.set)
    server = _server(listener)
    # Imported after _server has set moto's settings in the environment.
    from modelbuild_local.aws import consistency, quotas
    from modelbuild_local.aws.access import control
    from modelbuild_local.aws.athena import service as athena
    from modelbuild_local.aws.batch import service as batch
    from modelbuild_local.aws.cloudformation import stacks
    from modelbuild_local.aws.events import rules
    from modelbuild_local.aws.functions import service as functions
    from modelbuild_local.aws.sagemaker import service as sagemaker

    control.install(key_id, secret, web_identity_key)
    consistency.install()
    stacks.install()
    functions.install()
    quotas.install(settings.vcpus)
    rules.install(settings.minute)
    services = [sagemaker, batch, athena]
    for service in services:
        service.install(settings)
    # Moto's modules live until the end: garbage collections need not visit them.
    gc.freeze()
    threading.Thread(target=server.serve_forever, args=(_LOOK_AGAIN_SECONDS,), daemon=True).start()
    process.announce(settings.url)
    stopping.wait()
    for service in services:
        service.stop()
    server.shutdown()


def _server(listener: socket.socket) -> BaseWSGIServer:
    """Moto's application, answering on ``listener`` with one thread for each connection."""
    host, port = listener.getsockname()
    os.environ["MOTO_PORT"] = str(port)
    # Without this, moto takes a host name with a dot for a bucket's.
    os.environ["S3_IGNORE_SUBDOMAIN_BUCKETNAME"] = "true"
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )

    class Dispatcher(DomainDispatcherApplication):
        # For each request moto lists its own folder and compares the host with the patterns of all services.
        get_backend_for_host = functools.lru_cache(maxsize=256)(
            DomainDispatcherApplication.get_backend_for_host
        )

    class Handler(MotoRequestHandler):
        protocol_version = "HTTP/1.1"  # for uploads that wait for "100 Continue"

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Do not log single requests."""

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    from modelbuild_local.aws import faults
    from modelbuild_local.aws.access import admission

    application = admission.guarded(
        faults.with_faults(Dispatcher(create_backend_app)), f"http://{host}:{port}"
    )
    return make_server(host, port, application, threaded=True, request_handler=Handler, fd=listener.fileno())
