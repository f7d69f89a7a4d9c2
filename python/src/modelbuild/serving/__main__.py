"""``python -m modelbuild.serving serve`` or ``score``: what the serving image runs.

``serve`` reads ``SM_MODEL_DIR`` (default /opt/ml/model), ``SAGEMAKER_BIND_TO_PORT`` (default 8080),
``BIND_ADDRESS`` (default 0.0.0.0: SageMaker calls from outside the container) and the variables of
:class:`modelbuild.contract.ServingEnvironment`. ``score`` is :mod:`modelbuild.serving.scoring`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from pydantic import ValidationError

from modelbuild import log
from modelbuild.contract import SCORE_COMMAND, ServingEnvironment
from modelbuild.errors import ConfigurationError, ModelbuildError, variable_error
from modelbuild.serving.app import Service
from modelbuild.serving.connection import Connection
from modelbuild.serving.limits import KEEP_ALIVE_SECONDS, SHUTDOWN_SECONDS
from modelbuild.serving.model import load_directory

_M_MMAP_THRESHOLD = -3
_LARGE_BUFFER_BYTES = 4 << 20


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Serve until a signal ends the process, or score some rows; returns the exit code."""
    _return_large_buffers()
    try:
        if arguments == ["serve"]:
            uvloop.run(_serve(environ))
        elif arguments == [*SCORE_COMMAND]:
            _score(environ)
        else:
            raise ConfigurationError(
                f"The commands are serve and score, not {' '.join(arguments) or 'nothing'}."
            )
    except ModelbuildError as error:
        log.warn(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _return_large_buffers() -> None:
    """Have the C library return the memory of a large body to the system when it is freed.

    glibc raises this threshold by itself, and then keeps the memory of freed bodies in its heap: after four
    of 6 MB at once the server kept up to 40 MB. Other C libraries have no such option. See mallopt(3).
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BUFFER_BYTES)


def _score(environ: Mapping[str, str]) -> None:
    # Imported only here, so that the server neither takes longer to start nor needs more memory.
    from modelbuild.serving.scoring import program
    from modelbuild.serving.scoring.objects import RoleObjects

    program.run(environ, RoleObjects(environ))


async def _serve(environ: Mapping[str, str]) -> None:
    environment = _environment(environ)
    service = Service(environment)
    server = uvicorn.Server(
        uvicorn.Config(
            service,
            http=Connection,
            ws="none",
            lifespan="off",
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            # At a lower level uvicorn logs each request that is not valid HTTP, and a client can send many.
            log_level="error",
            server_header=False,
            # The application does not ask for the client's address.
            proxy_headers=False,
        )
    )
    listening = _listen(environ)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    directory = Path(environ.get("SM_MODEL_DIR", "/opt/ml/model"))
    loading = asyncio.get_running_loop().run_in_executor(
        ThreadPoolExecutor(1), load_directory, directory, environment.description_sha256
    )
    # A signal ends the server also while the model is loaded.
    either: set[asyncio.Future[Any]] = {serving, loading}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    try:
        if loading.done():
            service.serve(loading.result())
    except ModelbuildError:
        server.should_exit = True
        await serving
        raise
    await serving


def _environment(environ: Mapping[str, str]) -> ServingEnvironment:
    try:
        return ServingEnvironment.read(environ)
    except ValidationError as error:
        raise variable_error(error, "set it as model/env of the training result says") from error


def _listen(environ: Mapping[str, str]) -> socket.socket:
    host, port = environ.get("BIND_ADDRESS", "0.0.0.0"), environ.get("SAGEMAKER_BIND_TO_PORT", "8080")
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ConfigurationError(f"SAGEMAKER_BIND_TO_PORT is {port!r}; it must be a port from 1 to 65535.")
    try:
        return socket.create_server((host, int(port)), backlog=2048)
    except OSError as error:
        # An address that cannot be resolved has a negative number, which os.strerror does not know.
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror
        raise ConfigurationError(f"Cannot listen on {host}:{port}: {reason}.") from error


if __name__ == "__main__":
    code = main(sys.argv[1:], os.environ)
    # The interpreter would wait for the thread of a prediction, and SageMaker does not.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
