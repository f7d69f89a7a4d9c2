"""The process behind one variant of an endpoint: its start, health, calls and end."""

from __future__ import annotations

import contextlib
import http.client
import logging
import shutil
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from moto.logs.models import logs_backends

from modelbuild_local.aws import images, process
from modelbuild_local.aws.access import control
from modelbuild_local.aws.logs import LogStream
from modelbuild_local.aws.sagemaker.model_files import StartFailed, install_model
from modelbuild_local.aws.settings import Settings

log = logging.getLogger(__name__)
HOST = "127.0.0.1"
# SageMaker's documented limits for containers.
PING_SECONDS = 2.0
INVOKE_SECONDS = 60.0
GRACE_SECONDS = 30.0
_LOOK_AGAIN_SECONDS = 0.1
_LONGEST_RESTART_SECONDS = 30.0
_LAST_LINES_SECONDS = 5.0


@dataclass(frozen=True)
class Plan:
    """The plan of a variant's process; later changes of the model do not affect it.

    Attributes:
        account: The endpoint's account.
        region: Its region.
        endpoint: Its name.
        config: Name of the endpoint configuration.
        variant: Name of the variant.
        image: Image reference.
        data: Address of the model's ``.tar.gz``, or of the folder of its files (ending in ``/``), or None.
        environment: The model's own variables.
        role: ARN of the execution role.
        isolated: Whether the container has no network, and therefore no credentials.
        startup_seconds: How long ``/ping`` may take to answer with 200.
    """

    account: str
    region: str
    endpoint: str
    config: str
    variant: str
    image: str
    data: str | None
    environment: Mapping[str, str]
    role: str
    isolated: bool
    startup_seconds: float


@dataclass(frozen=True)
class Answer:
    """The container's answer to a call."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Server:
    """A variant's process. Like SageMaker, it starts the process again when it dies in service.

    Attributes:
        plan: The plan of the process.
        exit_code: The exit code of the last process that ended, or None.
    """

    def __init__(self, plan: Plan, settings: Settings) -> None:
        self.plan = plan
        self._settings = settings
        instance = f"i-{uuid.uuid4().hex[:17]}"
        self._folder = settings.scratch / "endpoints" / plan.endpoint / plan.config / plan.variant / instance
        self._port = _free_port()
        self._stream = LogStream(
            logs_backends[plan.account][plan.region],
            log_group(plan.endpoint),
            f"{plan.variant}/{instance}",
        )
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.exit_code: int | None = None
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._keep_running, daemon=True)

    def start(self) -> None:
        """Fetch the model, start the process and return once it answers ``/ping`` with 200.

        Raises:
            StartFailed: it does not; the process is stopped.
        """
        try:
            install_model(self.plan.account, self.plan.data, self._folder / "opt" / "ml" / "model")
            self._begin()
            self._watcher.start()
            self._wait_for_ping()
        except StartFailed:
            self.stop()
            raise
        except (images.CannotPull, OSError) as error:
            self.stop()
            raise StartFailed(f"{_unhealthy(self.plan.variant)} It could not be started: {error}") from None

    def call(self, method: str, path: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Answer:
        """Send a request to the process; returns its answer.

        Raises:
            OSError: it does not answer within ``seconds``.
            http.client.HTTPException: its answer is no HTTP.
        """
        connection = http.client.HTTPConnection(HOST, self._port, timeout=seconds)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, dict(response.headers.items()), response.read())
        finally:
            connection.close()

    def prevent_restarts(self) -> None:
        """Do not restart the process when it ends."""
        self._stopping.set()

    def stop(self) -> None:
        """End the process, by force after 30 seconds, and remove its files."""
        self.prevent_restarts()
        with self._lock:
            running = self._process
        if running is not None:
            process.end(running, GRACE_SECONDS)
        if self._watcher.ident is not None:
            self._watcher.join(2 * _LAST_LINES_SECONDS)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self) -> None:
        image = images.resolve(self.plan.image, self._settings)
        command = process.program([*image.entrypoint, "serve"], self._settings)
        with self._lock:
            if self._stopping.is_set():
                return
            self._process = process.start(
                command, self._folder, self._variables(image), self._settings.scratch
            )

    def _variables(self, image: images.Image) -> dict[str, str]:
        plan, settings = self.plan, self._settings
        keys = {}
        if not plan.isolated:
            keys = control.for_container(plan.role, "SageMaker", plan.region, settings.url)
        return {
            **process.host_environment(settings),
            "HOME": str(self._folder),
            **image.environment,
            **plan.environment,
            "SM_MODEL_DIR": str(self._folder / "opt" / "ml" / "model"),
            "SAGEMAKER_BIND_TO_PORT": str(self._port),
            "BIND_ADDRESS": HOST,
            "AWS_REGION": plan.region,
            "AWS_DEFAULT_REGION": plan.region,
            "AWS_ENDPOINT_URL": settings.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            **keys,
        }

    def _wait_for_ping(self) -> None:
        deadline = time.monotonic() + self.plan.startup_seconds
        while not self._stopping.is_set():
            if self.exit_code is not None:
                raise StartFailed(f"{_unhealthy(self.plan.variant)} It exited with code {self.exit_code}.")
            if self._is_healthy():
                return
            if time.monotonic() > deadline:
                raise StartFailed(_unhealthy(self.plan.variant))
            time.sleep(_LOOK_AGAIN_SECONDS)
        raise StartFailed("The endpoint was deleted.")

    def _is_healthy(self) -> bool:
        try:
            return self.call("GET", "/ping", b"", {}, PING_SECONDS).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def _keep_running(self) -> None:
        pause = 1.0
        while self._process is not None:
            self.exit_code = self._follow(self._process)
            if self._stopping.wait(pause):
                return
            log.warning(
                "The container of endpoint %s exited with code %s; it starts again.",
                self.plan.endpoint,
                self.exit_code,
            )
            pause = min(2 * pause, _LONGEST_RESTART_SECONDS)
            with contextlib.suppress(OSError, images.CannotPull):
                self._begin()

    def _follow(self, running: subprocess.Popen[bytes]) -> int:
        """Copy the process's output to its log until it ends; returns its exit code."""
        assert running.stdout is not None
        reader = threading.Thread(target=self._stream.copy_from, args=(running.stdout.fileno(),), daemon=True)
        reader.start()
        running.wait()
        process.sweep(running)
        reader.join(_LAST_LINES_SECONDS)
        if not reader.is_alive():
            running.stdout.close()
        return process.exit_code(running)


def log_group(endpoint: str) -> str:
    """CloudWatch's log group of an endpoint."""
    return f"/aws/sagemaker/Endpoints/{endpoint}"


def _unhealthy(variant: str) -> str:
    return (
        f"The primary container for production variant {variant} did not pass the ping health check. "
        "Please check CloudWatch logs for this endpoint."
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
