"""How fast the inference server answers, against FastAPI over the same model.

Both are processes of their own on this machine with the same files of a model of random weights: 2^20
buckets, pairs of words, three labels, as the sentiment flow makes it. FastAPI has what its documentation
shows: pydantic models for request and answer, and uvicorn[standard]. The client is a third process with one
thread and raw sockets, which it keeps open; it checks the status of each answer and parses no body.

The servers are measured in turns, in short rounds, and a figure is that of its best round: other programs
only make an answer slower. Memory is the most that a process had
resident (VmHWM), after the load, and after four bodies of 6 MB at once.

``ratio p50`` is ours by FastAPI's for one text on one connection. ``ratio requests`` is ours by FastAPI's in
requests/s, on 16 or 64 connections, whichever is less.
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

import numpy as np
import safetensors.numpy

from modelbuild.contract import DESCRIPTION_FILE, ServingEnvironment
from modelbuild.flow import linear

GOAL_P50 = 0.7
GOAL_REQUESTS = 2.0
LABELS = ("negative", "neutral", "positive")
BUCKETS = 2**20
TEXT = "The onboarding went very well, but the tools are slow and nobody answers the help desk in time."
CASES = ((1, 1), (16, 1), (64, 1), (1, 32), (16, 32))
LARGE = 6_000_000


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


def send_requests(port: int, connections: int, texts: int, seconds: float) -> Load:
    """Keep ``connections`` requests on their way for some seconds."""
    body = json.dumps({"instances": [TEXT] * texts}).encode()
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

    def post_large(self, count: int) -> None:
        """Send some bodies of 6 MB at the same time, and wait for the answers."""
        text = ("word " * (LARGE // 1_000 // 5))[: LARGE // 1_000]
        body = json.dumps({"instances": [text] * 1_000}).encode()

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
def servers() -> Iterator[list[Server]]:
    """Both servers, over one model."""
    with tempfile.TemporaryDirectory(prefix="modelbuild-bench-") as folder:
        directory = Path(folder)
        environment = {
            "PATH": os.environ["PATH"],
            "SM_MODEL_DIR": folder,
            "BIND_ADDRESS": "127.0.0.1",
            **_model(directory).to_env(),
        }
        commands = {
            "modelbuild": [sys.executable, "-m", "modelbuild.serving", "serve"],
            "FastAPI": [sys.executable, str(Path(__file__).with_name("fastapi_server.py"))],
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


def _model(directory: Path) -> ServingEnvironment:
    weight = np.random.default_rng(1).normal(size=(BUCKETS, len(LABELS))).astype(np.float32)
    weights = safetensors.numpy.save({"weight": weight, "bias": np.zeros(len(LABELS), np.float32)})
    files = linear.files(weights, labels=LABELS, buckets=BUCKETS, ngrams=2, parameters={})
    for name, content in files.items():
        (directory / name).write_bytes(content)
    content = files[DESCRIPTION_FILE]
    return ServingEnvironment(
        model="bench", model_id="1", pipeline="bench", description_sha256=hashlib.sha256(content).hexdigest()
    )


def main() -> None:
    """Measure both servers in turns, and print a table and the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="rounds for each row (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of each (default: %(default)s)")
    options = parser.parse_args()
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("there must be at least one round, and it must take some time")
    measured: dict[tuple[str, int, int], list[Load]] = {}
    with servers() as both:
        for server in both:
            send_requests(server.port, 16, 1, options.seconds)
        for connections, texts in CASES:
            for _ in range(options.rounds):
                for server in both:
                    load = send_requests(server.port, connections, texts, options.seconds)
                    measured.setdefault((server.name, connections, texts), []).append(load)
        after_load = {server.name: server.memory() for server in both}
        for server in both:
            server.post_large(4)
        after_large = {server.name: server.memory() for server in both}
        names = [server.name for server in both]
    p50 = {case: min(one.p50 for one in loads) for case, loads in measured.items()}
    rate = {case: max(one.rate for one in loads) for case, loads in measured.items()}
    print(f"{'connections':>11} {'texts':>6}  " + "  ".join(f"{name:>10} p50   requests/s" for name in names))
    for connections, texts in CASES:
        cells = [
            f"{p50[name, connections, texts]:>11.2f} ms {rate[name, connections, texts]:>12,.0f}"
            for name in names
        ]
        print(f"{connections:>11} {texts:>6}  " + "  ".join(cells))
    for what, found in (("after the load", after_load), ("after four bodies of 6 MB", after_large)):
        print(f"memory {what}: " + ", ".join(f"{name} {found[name]:.0f} MB" for name in names))
    ours, other = names
    ratio_p50 = p50[ours, 1, 1] / p50[other, 1, 1]
    ratio_requests = min(rate[ours, count, 1] / rate[other, count, 1] for count in (16, 64))
    print(f"goals: p50 {GOAL_P50} or less, requests {GOAL_REQUESTS:g} or more\n")
    print(f"ratio p50 {ratio_p50:.2f}")
    print(f"ratio requests {ratio_requests:.2f}")


if __name__ == "__main__":
    main()
