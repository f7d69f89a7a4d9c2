from __future__ import annotations

import contextlib
import os
import platform
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servers import reserved_port, serving, start
from waiting import SECONDS, wait_until


@pytest.fixture
def port() -> Iterator[int]:
    """A port where nothing listens."""
    with reserved_port() as port:
        yield port


def test_serves_until_sigterm(published: Any) -> None:
    """The process answers predictions once /ping is 200, and SIGTERM ends it."""
    with serving(published.directory, published.environment) as served:
        assert served.invoke(["fine"])["model_id"] == "12.3"
        served.process.terminate()
        assert served.process.communicate(timeout=SECONDS)[1] == ""


FREED = """
from pathlib import Path
from modelbuild.serving.__main__ import main

def resident():
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024

main(["other"], {})
before = resident()
len(b"x" * (30 << 20))
held = [(b"x" * (6 << 20), b"x" * 2_000) for _ in range(8)]
between = [small for _, small in held]
print(resident() - before)
del held
print(resident() - before)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists() or platform.libc_ver()[0] != "glibc",
    reason="only glibc keeps freed memory in this way, and only Linux shows it in /proc",
)
def test_freed_bodies_leave_no_memory_behind() -> None:
    """After a buffer of 30 MB was freed, glibc would keep eight freed bodies with small buffers between."""
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    held, after = map(float, done.stdout.split())
    assert held > 40
    assert after < 8


STUCK = """
import runpy, signal, sys, time
from modelbuild.serving import limits, model
from modelbuild.serving.kinds.hashed_ngrams import HashedNgramsModel

# As of PID 1, the signal that uvicorn raises again at its end does not end the process.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
limits.SHUTDOWN_SECONDS = 0.1
right = {"predict": HashedNgramsModel.predict, "load": model.load_directory}

def stay():
    print("began", flush=True)
    time.sleep(600)

def predict(self, texts):
    if "wait" in texts:
        stay()
    return right["predict"](self, texts)

def load(*arguments):
    if where == "loading":
        stay()
    return right["load"](*arguments)

HashedNgramsModel.predict = predict
model.load_directory = load
sys.argv[1:], where = ["serve"], sys.argv[1]
runpy.run_module("modelbuild.serving", run_name="__main__")
"""


@pytest.mark.parametrize("where", ["predicting", "loading"])
def test_sigterm_does_not_wait_for_a_thread(published: Any, port: int, where: str) -> None:
    """As PID 1 of its container, too, the server ends while a long prediction, or the load, goes on."""
    variables = {
        "PATH": os.environ["PATH"],
        "SM_MODEL_DIR": str(published.directory),
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "BIND_ADDRESS": "127.0.0.1",
        **published.environment.to_env(),
    }
    command = [sys.executable, "-c", STUCK, where]
    with subprocess.Popen(command, env=variables, stdout=subprocess.PIPE, encoding="utf-8") as server:
        assert server.stdout is not None
        with contextlib.ExitStack() as stack:
            stack.callback(server.kill)
            expected = 503 if where == "loading" else 200
            wait_until(lambda: _status_of_ping(port) == expected, f"/ping to be answered with {expected}")
            if where == "predicting":
                stack.enter_context(_client_that_waits(port))
            assert server.stdout.readline() == "began\n"
            server.terminate()
            assert server.wait(timeout=SECONDS) == 0


def _status_of_ping(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping") as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _client_that_waits(port: int) -> socket.socket:
    """A connection on which a prediction without end is asked for."""
    client = socket.create_connection(("127.0.0.1", port))
    # A body of this size is computed in a thread.
    body = b'{"instances": ["wait"]}' + b" " * 100_000
    head = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    client.sendall(b"POST /invocations HTTP/1.1\r\n" + head.encode() + body)
    return client


def test_ends_when_the_weights_are_not_the_approved_ones(published: Any, port: int) -> None:
    """A wrong hash is one sentence and exit code 14, never a server."""
    wrong = published.environment.model_copy(update={"description_sha256": "f" * 64})
    server = start(published.directory, wrong, port)
    message = server.communicate(timeout=SECONDS)[1]
    assert server.returncode == 14
    assert message.count("\n") == 1
    assert "SHA-256" in message


def test_ends_when_there_is_no_model(published: Any, port: int, tmp_path: Path) -> None:
    """A missing model is one sentence and exit code 10."""
    server = start(tmp_path / "nowhere", published.environment, port)
    message = server.communicate(timeout=SECONDS)[1]
    assert server.returncode == 10
    assert message.startswith("cannot read the model file")
    assert message.count("\n") == 1


def test_ends_when_its_port_is_taken(published: Any) -> None:
    """A port that another program has is one sentence and exit code 10."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = start(published.directory, published.environment, port)
        message = server.communicate(timeout=SECONDS)[1]
    assert server.returncode == 10
    assert message == f"Cannot listen on 127.0.0.1:{port}: Address already in use.\n"


@pytest.mark.parametrize(
    ("arguments", "header"),
    [
        (["train"], "not train"),
        ([], "not nothing"),
        (["serve"], "MODEL_NAME is not set: set it as model/env"),
    ],
)
def test_says_what_is_wrong_with_its_invocation(arguments: list[str], header: str) -> None:
    """A wrong command or an incomplete environment ends with exit code 10 and a sentence."""
    result = subprocess.run(
        [sys.executable, "-m", "modelbuild.serving", *arguments], env={}, capture_output=True, text=True
    )
    assert result.returncode == 10
    assert header in result.stderr
    assert result.stderr.count("\n") == 1


def test_needs_no_training_libraries() -> None:
    """The serving image stays small: neither torch, Metaflow, W&B nor AWS's client is imported."""
    program = "import sys, modelbuild.serving.__main__; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"torch", "metaflow", "wandb", "boto3", "pyarrow", "yaml"} & set(result.stdout.split())
