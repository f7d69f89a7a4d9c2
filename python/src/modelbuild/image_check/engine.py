"""docker or podman, and the containers that a check starts and removes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.image_check.server import Server

PROGRAMS = ("docker", "podman")
MODEL_DIRECTORY = "/opt/ml/model"

_CALL_SECONDS = 120
# The documented exit codes of docker and podman for a program that cannot be run, and that the image lacks.
_NO_PROGRAM = (126, 127)
# Podman may be configured to share the network of the host, where no port can be published.
_NETWORK = {"docker": (), "podman": ("--network", "private")}


class Engine:
    """A container engine that runs on this machine."""

    def __init__(self, program: str) -> None:
        self.program = program

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the engine with these arguments.

        Raises:
            ConfigurationError: it cannot be run, or does not end in time.
        """
        try:
            return subprocess.run(
                [self.program, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_CALL_SECONDS,
                # Ctrl-C must not end a call that removes a container.
                start_new_session=True,
                check=False,
            )
        except OSError as error:
            raise ConfigurationError(
                f"cannot run {self.program}: {error.strerror}; install docker or podman"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ConfigurationError(
                f"{self.program} {arguments[0]} did not end within {_CALL_SECONDS} s; see whether the engine "
                "works"
            ) from error

    def require_image(self, image: str) -> None:
        """Refuse an image that is not on this machine.

        Raises:
            ConfigurationError: it is not.
        """
        if image.startswith("-"):
            raise ConfigurationError(f"IMAGE is {image!r}: give the name of an image, options come first")
        if self.call("image", "inspect", image).returncode:
            raise ConfigurationError(
                f"{self.program} has no image {image} on this machine: build it, or fetch it with "
                f"{self.program} pull {image}"
            )

    @contextmanager
    def container(self, image: str, directory: Path, environment: Mapping[str, str]) -> Iterator[Container]:
        """Start a container as SageMaker does, and remove it at the end.

        Args:
            image: the image, which gets the argument ``serve``.
            directory: what it sees, read-only, at /opt/ml/model.
            environment: its variables.

        Raises:
            ConfigurationError: the engine cannot start it.
            VerificationFailed: the image has no program that can be started.
        """
        name = f"modelbuild-check-{uuid.uuid4().hex[:12]}"
        options = (
            *("--detach", "--pull=never", "--name", name, "--publish", "127.0.0.1::8080"),
            *_NETWORK[Path(self.program).name],
            *("--mount", f"type=bind,source={directory},target={MODEL_DIRECTORY},readonly"),
            # Where SELinux is on, a container cannot read a folder of the host without this.
            *("--security-opt", "label=disable"),
            *(f"--env={key}={value}" for key, value in environment.items()),
        )
        try:
            started = self.call("run", *options, image, "serve")
            failure = f"{self.program} cannot start image {image} with the argument serve: "
            failure += _last_line(started.stderr)
            if started.returncode in _NO_PROGRAM:
                raise VerificationFailed(f"{failure}; correct its ENTRYPOINT")
            if started.returncode:
                raise ConfigurationError(failure)
            with _waiting(self.program, name) as waiter:
                yield Container(self, name, waiter)
        finally:
            self._remove(name)

    def _remove(self, name: str) -> None:
        # A second Ctrl-C waits until the container is gone.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            # Podman would give the container ten seconds to end by itself.
            self.call("kill", name)
            self.call("rm", "--force", "--volumes", name)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Container:
    """A container that was started."""

    def __init__(self, engine: Engine, name: str, waiter: subprocess.Popen[str]) -> None:
        self._engine = engine
        self._name = name
        self._waiter = waiter
        self._exit_code = ""

    def server(self) -> Server | None:
        """The address at which the engine publishes its port 8080; None if the container has ended.

        Raises:
            ConfigurationError: it runs, and the engine publishes no port.
        """
        found = self._engine.call("port", self._name, "8080/tcp").stdout.split()
        port = found[0].rpartition(":")[2] if found else ""
        if port.isdecimal():
            return Server("127.0.0.1", int(port))
        if self._ends_within(_CONSISTENT_SECONDS):
            return None
        raise ConfigurationError(
            f"{self._engine.program} publishes no port of the container on 127.0.0.1: let its containers "
            "have a network of their own"
        )

    def has_ended(self) -> bool:
        """Whether the container has ended."""
        return self._waiter.poll() is not None

    def describe_end(self) -> str:
        """The exit code and what the container printed last."""
        if self._waiter.stdout is not None and not self._exit_code:
            self._exit_code = self._waiter.stdout.read().strip()
        printed = _last_line(self.output())
        return f"it ended with exit code {self._exit_code or 'unknown'}" + (f": {printed}" if printed else "")

    def terminate(self, seconds: float) -> float | None:
        """Send SIGTERM; returns after how many seconds the container ended, or None if it did not in time."""
        start = time.monotonic()
        self._engine.call("kill", "--signal", "TERM", self._name)
        return time.monotonic() - start if self._ends_within(seconds) else None

    def output(self) -> str:
        """What the container has printed on standard output and standard error."""
        found = self._engine.call("logs", self._name)
        return found.stdout + found.stderr

    def _ends_within(self, seconds: float) -> bool:
        try:
            self._waiter.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


_CONSISTENT_SECONDS = 2.0


def find_engine(wanted: str | None) -> Engine:
    """The wanted engine, or the first of docker and podman that works.

    Raises:
        ConfigurationError: none does.
    """
    broken = []
    for program in (wanted,) if wanted else PROGRAMS:
        if shutil.which(program) is None:
            continue
        engine = Engine(program)
        information = engine.call("info")
        if not information.returncode:
            return engine
        broken.append(f"{program} does not work here ({_last_line(information.stderr)})")
    if broken:
        raise ConfigurationError(f"{' and '.join(broken)}: start it, or check a running server with --url")
    raise ConfigurationError(
        f"{wanted or 'neither docker nor podman'} is {'not ' if wanted else ''}on PATH: install it, or check "
        "a running server with --url"
    )


@contextmanager
def _waiting(program: str, name: str) -> Iterator[subprocess.Popen[str]]:
    """A process that ends when the container does, and prints its exit code."""
    waiter = subprocess.Popen(
        [program, "wait", name],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        start_new_session=True,
    )
    try:
        yield waiter
    finally:
        waiter.kill()
        waiter.wait()
        if waiter.stdout is not None:
            waiter.stdout.close()


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""
