"""How fast the inference server answers, against FastAPI over the same model, for each kind of model.

Both are processes of their own on this machine with the same files of a model (``bench/serving_models.py``).
FastAPI has what its documentation shows: pydantic models for request and answer, and uvicorn[standard]. The
client is a third process with one thread and raw sockets, which it keeps open; it checks the status of each
answer and parses no body.

The servers are measured in turns, in short rounds, and a figure is that of its best round: other programs
only make an answer slower. Memory is the most that a process had resident (VmHWM), after the load, and after
four large bodies at once.

``ratio p50`` is our time divided by FastAPI's, for one instance on one connection. ``ratio requests`` is our
requests/s divided by FastAPI's, on 16 or 64 connections, whichever is less. Those of kind ``onnx`` are named
``onnx-p50`` and ``onnx-requests``.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import json
import os
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving_models import SUBJECTS, Subject

from modelbuild.contract import DESCRIPTION_FILE, ServingEnvironment

GOAL_P50 = 0.7
GOAL_REQUESTS = 2.0
CASES = ((1, 1), (16, 1), (64, 1), (1, 32), (16, 32))


@dataclass(frozen=True)
class Load:
    """What one connection count made of a server: seconds of each answer, and of all together."""

    latencies: list[float]
    seconds: float

    @property
    def p50(self) -> float:
        """The median time of an answer, in milliseconds."""
        return statistics.median(self.latencies) * 1000

    @property
    def rate(self) -> float:
        """Answers in a second."""
        return len(self.latencies) / self.seconds


def send_requests(port: int, connections: int, instances: list[Any], seconds: float) -> Load:
    """Keep ``connections`` requests on their way for some seconds."""
    body = json.dumps({"instances": instances}).encode()
    head = (
        "POST /invocations HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    request = "\r\n".join((*head, "", "")).encode() + body
    selector = selectors.DefaultSelector()
    latencies: list[float] = []
    with contextlib.ExitStack() as sockets:
        sent = {}
        received: dict[socket.socket, bytes] = {}
        for _ in range(connections):
            one = sockets.enter_context(socket.create_connection(("127.0.0.1", port)))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(one, selectors.EVENT_READ)
            received[one] = b""
            sent[one] = time.perf_counter()
            one.sendall(request)
        began = time.perf_counter()
        while (now := time.perf_counter()) < began + seconds or not latencies:
            if now > began + seconds + 60:
                sys.exit("no request was answered within a minute")
            for key, _ in selector.select(1):
                one = key.fileobj  # type: ignore[assignment]
                received[one] += one.recv(1 << 20)
                if not _complete(received[one]):
                    continue
                received[one] = b""
                now = time.perf_counter()
                latencies.append(now - sent[one])
                sent[one] = now
                one.sendall(request)
        return Load(latencies, now - began)


def _complete(answer: bytes) -> bool:
    """Whether an answer has all its bytes."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    if not head.startswith(b"HTTP/1.1 200 "):
        sys.exit(f"a request was not answered with 200: {answer[:500]!r}")
    length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    return len(body) == int(length.partition(b":")[2])


class Server:
    """A server that runs."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path):
        self.name = name
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        environment = {**environment, "SAGEMAKER_BIND_TO_PORT": str(self.port)}
        self._log = log
        self._process = subprocess.Popen(command, env=environment, stderr=log.open("wb"))

    def wait(self) -> None:
        """Return once /ping is answered with 200."""
        deadline = time.monotonic() + 60
        while self._ping() != 200:
            if self._process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{self.name} does not serve:\n{self._log.read_text()}")
            time.sleep(0.1)

    def _ping(self) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    def memory(self) -> float:
        """The most memory that the process had resident, in MB; 0 where /proc is not there."""
        with contextlib.suppress(FileNotFoundError):
            for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) / 1024
        return 0.0

    def post_large(self, count: int, instances: list[Any]) -> None:
        """Send some large bodies at the same time, and wait for the answers."""
        body = json.dumps({"instances": instances}).encode()

        def post() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            connection.close()
            if answer.status != 200:
                sys.exit(f"{self.name} answered a large body with {answer.status}")

        with ThreadPoolExecutor(count) as pool:
            for done in [pool.submit(post) for _ in range(count)]:
                done.result()

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(60)


@contextlib.contextmanager
def servers(subject: Subject) -> Iterator[list[Server]]:
    """Both servers, over one model."""
    with tempfile.TemporaryDirectory(prefix="modelbuild-bench-") as folder:
        directory = Path(folder)
        for name, content in subject.files.items():
            (directory / name).write_bytes(content)
        served = ServingEnvironment(
            model="bench",
            model_id="1",
            pipeline="bench",
            description_sha256=hashlib.sha256(subject.files[DESCRIPTION_FILE]).hexdigest(),
        )
        environment = {
            "PATH": os.environ["PATH"],
            "SM_MODEL_DIR": folder,
            "BIND_ADDRESS": "127.0.0.1",
            **served.to_env(),
        }
        commands = {
            "modelbuild": [sys.executable, "-m", "modelbuild.serving", "serve"],
            "FastAPI": [sys.executable, str(Path(__file__).with_name(subject.server))],
        }
        made = []
        try:
            for name, command in commands.items():
                made.append(Server(name, command, environment, directory / f"{name}.log"))
            for server in made:
                server.wait()
            yield made
        finally:
            for server in made:
                server.stop()


@dataclass(frozen=True)
class Measured:
    """Both servers' loads of each case, and their memory in MB: after the load, and after large bodies."""

    loads: dict[tuple[str, int, int], list[Load]]
    memory: dict[str, tuple[float, float]]

    def p50(self, server: str, connections: int, instances: int) -> float:
        """The median time of an answer in milliseconds, in the best round."""
        return min(one.p50 for one in self.loads[server, connections, instances])

    def rate(self, server: str, connections: int, instances: int) -> float:
        """Answers in a second, in the best round."""
        return max(one.rate for one in self.loads[server, connections, instances])


def measure(subject: Subject, rounds: int, seconds: float) -> Measured:
    """Load both servers in turns."""
    loads: dict[tuple[str, int, int], list[Load]] = {}
    with servers(subject) as both:
        for server in both:
            send_requests(server.port, 16, [subject.instance], seconds)
        for connections, instances in CASES:
            for _ in range(rounds):
                for server in both:
                    load = send_requests(server.port, connections, [subject.instance] * instances, seconds)
                    loads.setdefault((server.name, connections, instances), []).append(load)
        after_load = {server.name: server.memory() for server in both}
        for server in both:
            server.post_large(4, subject.large)
        memory = {server.name: (after_load[server.name], server.memory()) for server in both}
    return Measured(loads, memory)


def report(kind: str, measured: Measured) -> list[str]:
    """Print a table for a kind; the lines with its ratios."""
    ours, other = measured.memory
    print(f"{kind}\n{'connections':>11} {'instances':>9}", end="")
    print("".join(f"  {name:>10} p50   requests/s" for name in (ours, other)))
    for case in CASES:
        cells = [
            f"{measured.p50(name, *case):>11.2f} ms {measured.rate(name, *case):>12,.0f}"
            for name in (ours, other)
        ]
        print(f"{case[0]:>11} {case[1]:>9}  " + "  ".join(cells))
    for at, what in enumerate(("the load", "four large bodies")):
        megabytes = ", ".join(f"{name} {found[at]:.0f} MB" for name, found in measured.memory.items())
        print(f"memory after {what}: {megabytes}")
    print()
    p50 = measured.p50(ours, 1, 1) / measured.p50(other, 1, 1)
    requests = min(measured.rate(ours, count, 1) / measured.rate(other, count, 1) for count in (16, 64))
    prefix = "onnx-" if kind == "onnx" else ""
    return [f"ratio {prefix}p50 {p50:.2f}", f"ratio {prefix}requests {requests:.2f}"]


def main() -> None:
    """Measure both servers in turns over each model, and print tables and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds for each row (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of each (default: %(default)s)")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("there must be at least one round, and it must take some time")
    lines: list[str] = []
    for kind, make_subject in SUBJECTS.items():
        lines += report(kind, measure(make_subject(), options.rounds, options.seconds))
    print(f"goals: p50 {GOAL_P50} or less, requests {GOAL_REQUESTS:g} or more\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
