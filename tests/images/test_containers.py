"""The images as SageMaker runs the server, Batch the head and the steps, and Lambda the function.

The tests run where docker or podman does. BASE_IMAGE names another base image than the Dockerfiles do, for a
machine that reaches no registry; the base image needs `python`, 3.10 or newer, with pip.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from models import Published, publish
from waiting import SECONDS, wait_until

ROOT = Path(__file__).resolve().parents[2]
MiB = 1 << 20

# Asks the server from inside of its container, so that no port of the host is taken.
ASK = """
import http.client, json, sys
connection = http.client.HTTPConnection("127.0.0.1", 8080, timeout=10)
method, path, body = json.load(sys.stdin)
try:
    connection.request(method, path, body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    print(json.dumps([answer.status, dict(answer.getheaders()), answer.read().decode()]))
except ConnectionRefusedError:
    print(json.dumps([0, {}, ""]))
"""


class Engine:
    """docker or podman."""

    def __init__(self, program: str) -> None:
        self.program = program

    def call(self, *arguments: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the engine with these arguments, and fail with what it printed."""
        command = [self.program, *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if check and done.returncode:
            pytest.fail(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def inspect(self, kind: str, name: str) -> Any:
        """What the engine knows of a container or an image."""
        return json.loads(self.call(kind, "inspect", name).stdout)[0]


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The first engine that answers."""
    for program in ("docker", "podman"):
        if shutil.which(program) and not subprocess.run([program, "info"], capture_output=True).returncode:
            return Engine(program)
    pytest.skip("neither docker nor podman runs on this machine")


@pytest.fixture(scope="session")
def base(engine: Engine) -> str:
    """The base image: BASE_IMAGE, or that of the Dockerfiles, which is pulled."""
    named = os.environ.get("BASE_IMAGE", "")
    if named:
        return named
    dockerfile = (ROOT / "docker" / "serve" / "Dockerfile").read_text()
    (pinned,) = (line.partition("=")[2] for line in dockerfile.splitlines() if line.startswith("ARG BASE"))
    if engine.call("pull", "--platform", "linux/amd64", pinned, check=False).returncode:
        pytest.skip(f"{engine.program} cannot pull {pinned}, and BASE_IMAGE names no other base image")
    return pinned


@pytest.fixture(scope="session")
def build(engine: Engine, base: str) -> Callable[[str], str]:
    """Builds an image of this checkout, and gives its name."""

    def build(name: str) -> str:
        image = f"modelbuild-test/{name}"
        file = str(ROOT / "docker" / name / "Dockerfile")
        options = ("--platform", "linux/amd64", "--network", "host", "--build-arg", f"BASE_IMAGE={base}")
        engine.call("build", *options, "--file", file, "--tag", image, str(ROOT))
        return image

    return build


@pytest.fixture
def container(engine: Engine) -> Iterator[Callable[..., str]]:
    """Starts containers, which are removed after the test."""
    names: list[str] = []

    def start(image: str, *command: str, options: tuple[str, ...] = ()) -> str:
        names.append(f"modelbuild-test-{uuid.uuid4().hex[:12]}")
        engine.call("run", "--detach", "--name", names[-1], *options, image, *command)
        return names[-1]

    yield start
    for name in names:
        engine.call("rm", "--force", name, check=False)


@pytest.fixture(scope="session")
def serve(build: Callable[[str], str]) -> str:
    """The serving image."""
    return build("serve")


@pytest.fixture(scope="session")
def default(build: Callable[[str], str]) -> str:
    """The image of heads, steps and the function."""
    return build("default")


@pytest.fixture
def published(tmp_path: Path) -> Published:
    """A model, readable for the container's user."""
    tmp_path.chmod(0o755)
    return publish(tmp_path)


class Served:
    """A running container of the serving image."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name

    def ask(self, method: str, path: str, body: str = "") -> tuple[int, dict[str, str], str]:
        """Status, headers and body of an answer; status 0 while nothing listens."""
        command = ("exec", "--interactive", self.name, "python", "-c", ASK)
        status, headers, text = json.loads(
            self.engine.call(*command, stdin=json.dumps([method, path, body])).stdout
        )
        return status, {key.lower(): value for key, value in headers.items()}, text


@pytest.fixture
def served(engine: Engine, serve: str, container: Callable[..., str], published: Published) -> Served:
    """The model served as on SageMaker: command `serve`, no network, nothing but /tmp can be written."""
    environment = [f"--env={key}={value}" for key, value in published.environment.to_env().items()]
    options = (
        *("--network", "none", "--read-only", "--tmpfs", "/tmp"),
        *("--volume", f"{published.directory}:/opt/ml/model:ro"),
        *environment,
    )
    found = Served(engine, container(serve, "serve", options=options))
    wait_until(lambda: found.ask("GET", "/ping")[0] == 200, "a 200 of /ping")
    return found


def test_serving_image_answers_as_sagemaker_asks(served: Served) -> None:
    """The server starts on a read-only file system without a network, and its answers carry the model id."""
    instances = {"instances": ["what a lovely day", "this is awful"]}
    status, headers, text = served.ask("POST", "/invocations", json.dumps(instances))
    assert status == 200
    assert headers["x-model-id"] == "12.3"
    assert [prediction["model_id"] for prediction in json.loads(text)["predictions"]] == ["12.3", "12.3"]
    assert served.ask("POST", "/invocations", "{")[0] == 400


def test_serving_image_ends_on_sigterm(engine: Engine, served: Served) -> None:
    """The server ends by itself, with exit code 0, in less than the 30 seconds that SageMaker gives it."""
    engine.call("kill", "--signal", "TERM", served.name)
    wait_until(lambda: not engine.inspect("container", served.name)["State"]["Running"], "the end", 30.0)
    assert engine.inspect("container", served.name)["State"]["ExitCode"] == 0


def test_serving_image_refuses_another_model(
    engine: Engine, serve: str, container: Callable[..., str], published: Published
) -> None:
    """A model whose bytes are not the approved ones is not served; the container ends with a sentence."""
    environment = {**published.environment.to_env(), "MODEL_DESCRIPTION_SHA256": "0" * 64}
    options = (
        *("--network", "none", "--volume", f"{published.directory}:/opt/ml/model:ro"),
        *(f"--env={key}={value}" for key, value in environment.items()),
    )
    name = container(serve, "serve", options=options)
    wait_until(lambda: not engine.inspect("container", name)["State"]["Running"], "the end")
    assert engine.inspect("container", name)["State"]["ExitCode"] == 14
    output = engine.call("logs", name)
    assert "0" * 64 in output.stdout + output.stderr
    assert "Traceback" not in output.stdout + output.stderr


def test_serving_image_passes_check_image(engine: Engine, serve: str, published: Published) -> None:
    """The serving image does all that `modelbuild check-image` asks of an image of the user's own."""
    command = ("check-image", serve, str(published.directory), "--engine", engine.program)
    done = subprocess.run([sys.executable, "-m", "modelbuild", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    unchecked = [line for line in done.stdout.splitlines() if not line.startswith("ok ")]
    assert unchecked == [
        "not checked golden predictions: no golden predictions are known: give --manifest FILE",
        "16 ok, 0 failed, 1 not checked",
    ]
    assert "modelbuild-check-" not in engine.call("ps", "--all", "--format", "{{.Names}}").stdout


def test_serving_image_is_small(engine: Engine, base: str, serve: str) -> None:
    """What is added to the base image stays below 200 MiB: endpoints start by pulling it."""
    added = engine.inspect("image", serve)["Size"] - engine.inspect("image", base)["Size"]
    assert added < 200 * MiB


def test_default_image_has_what_heads_and_steps_import(engine: Engine, default: str) -> None:
    """As user 1000, without a network, Metaflow, W&B and the library of flows can be imported."""
    program = (
        "import os, metaflow, wandb, pyarrow, numpy; from modelbuild.flow import tracking; print(os.getuid())"
    )
    done = engine.call("run", "--rm", "--network", "none", default, "python", "-c", program)
    assert done.stdout.split()[-1] == "1000"


def test_default_image_is_a_head(engine: Engine, default: str) -> None:
    """The command of the head's job definition runs; without variables it exits with 10 and a sentence."""
    template = (ROOT / "infra" / "training.yaml").read_text()
    done = engine.call(
        "run", "--rm", "--network", "none", default, "python", "-m", "modelbuild", "head", check=False
    )
    assert "Command: [python, -m, modelbuild, head]" in template
    assert done.returncode == 10, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.skipif(
    sys.platform == "darwin", reason="containers on macOS do not reach a server of the host by 127.0.0.1"
)
def test_default_image_is_a_function(engine: Engine, default: str, container: Callable[..., str]) -> None:
    """With any user, 256 MB and a read-only file system, as on Lambda, the image asks for an invocation."""
    asked = threading.Event()

    class Runtime(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/2018-06-01/runtime/invocation/next":
                asked.set()
            self.send_response(500)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Runtime) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        options = (
            *("--network", "host", "--read-only", "--tmpfs", "/tmp", "--user", "993", "--memory", "256m"),
            *(f"--env=AWS_LAMBDA_RUNTIME_API=127.0.0.1:{server.server_port}", "--env=HOME=/tmp"),
        )
        name = container(default, "python", "-m", "modelbuild", "ended", options=options)
        assert asked.wait(SECONDS), engine.call("logs", name).stderr
        server.shutdown()
