from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest

from modelbuild.contract import Build, Images, Source, TrainingRequest, sha256_of_json

BUCKET = "modelbuild-123456789012"


@dataclass(frozen=True)
class Laptop:
    """The AWS stand-in, and the folder that is first on the PATH of its jobs."""

    url: str
    bin: Path

    def environ(self) -> dict[str, str]:
        """What a client needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing-secret-key",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


@pytest.fixture(scope="session")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Laptop]:
    """The AWS stand-in with the queue of heads; what a job runs is the script ``python`` in its ``bin``."""
    root = tmp_path_factory.mktemp("aws")
    for name in ("default", "other"):
        (root / "images" / name).mkdir(parents=True)
        (root / "images" / name / "Dockerfile").write_text("FROM scratch\nENV IN_IMAGE=1\n")
    (root / "bin").mkdir()
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "modelbuild.local.aws", "--port", "0", "--vcpus", "64"),
            *("--scratch", str(root / "scratch"), "--images", str(root / "images")),
            *("--bin", str(root / "bin")),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        laptop = Laptop(json.loads(process.stdout.readline())["url"], root / "bin")
        _set_up(laptop)
        yield laptop
        process.stdin.close()
        process.wait(20)


def _set_up(laptop: Laptop) -> None:
    """Deploy the stack that trainings stand on."""
    made = boto3.Session("testing", "testing-secret-key", region_name="us-east-1")
    secrets = made.client("secretsmanager", endpoint_url=laptop.url)
    ec2 = made.client("ec2", endpoint_url=laptop.url)
    values = {
        "Image": "registry.example/modelbuild/unset:1",
        "SubnetIds": ec2.describe_subnets()["Subnets"][0]["SubnetId"],
        "SecurityGroupIds": ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"],
        "BuildkiteSecretArn": secrets.create_secret(
            Name="modelbuild/buildkite", SecretString=json.dumps({"BUILDKITE_API_TOKEN": "the-rest-token"})
        )["ARN"],
        "WandbSecretArn": secrets.create_secret(Name="modelbuild/wandb", SecretString="{}")["ARN"],
    }
    made.client("cloudformation", endpoint_url=laptop.url).create_stack(
        StackName="modelbuild",
        TemplateBody=(Path(__file__).parents[2] / "infra" / "training.yaml").read_text(),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
    )


@pytest.fixture
def aws(laptop: Laptop, monkeypatch: pytest.MonkeyPatch) -> Laptop:
    """The AWS stand-in, as the environment of this process."""
    for name, value in laptop.environ().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    return laptop


@dataclass
class Agent:
    """A recorder in the place of ``buildkite-agent``: meta-data in a file, calls in another."""

    folder: Path

    @property
    def calls(self) -> list[dict[str, Any]]:
        """Each call's arguments and standard input."""
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]

    @property
    def meta_data(self) -> dict[str, str]:
        """What was set."""
        found: dict[str, str] = json.loads((self.folder / "meta-data").read_text())
        return found

    def set(self, key: str, value: str) -> None:
        """Set meta-data, as an earlier step would."""
        (self.folder / "meta-data").write_text(json.dumps({**self.meta_data, key: value}))

    def annotations(self) -> list[str]:
        """The bodies of the annotations."""
        return [call["stdin"] for call in self.calls if call["argv"][0] == "annotate"]


_AGENT = """#!{python}
import json, pathlib, sys
folder, argv = pathlib.Path({folder!r}), sys.argv[1:]
stdin = sys.stdin.read()
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps({{"argv": argv, "stdin": stdin}}) + "\\n")
data = json.loads((folder / "meta-data").read_text())
if argv[:2] == ["meta-data", "get"]:
    print(data.get(argv[2], argv[4]))
elif argv[:2] == ["meta-data", "keys"]:
    print("".join(key + "\\n" for key in data), end="")
elif argv[:2] == ["oidc", "request-token"]:
    print("a.b.c")
elif argv[:2] == ["meta-data", "set"]:
    (folder / "meta-data").write_text(json.dumps({{**data, argv[2]: stdin}}))
"""


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Agent:
    """A recorder for calls of ``buildkite-agent``, first on PATH."""
    folder = tmp_path / "agent"
    folder.mkdir()
    (folder / "calls").write_text("")
    (folder / "meta-data").write_text("{}")
    script = folder / "buildkite-agent"
    script.write_text(_AGENT.format(python=sys.executable, folder=str(folder)))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Agent(folder)


class Repository:
    """A git repository with a flow and its parameters."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        """Run git, and return what it prints."""
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        done = subprocess.run(
            ["git", "-C", str(self.folder), *identity, *arguments], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, files: dict[str, str]) -> str:
        """Write files, commit all, and return the commit's id."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a commit")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """An empty repository."""
    return Repository(tmp_path / "repository")


@dataclass
class Buildkite:
    """A build whose step ``training_finished`` waits, at an address of its own."""

    url: str = ""
    state: str = "blocked"
    fields: list[dict[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)


@pytest.fixture
def buildkite() -> Iterator[Buildkite]:
    """The two REST calls of the callback, for one build that waits."""
    build = Buildkite()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            build.tokens.add(self.headers["Authorization"])
            job = {"id": "j1", "type": "manual", "step_key": "training_finished", "state": build.state}
            listed = "/jobs?" in self.path
            self._answer({"items": [job]} if listed else {"state": "running", "blocked": True})

        def do_PUT(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            build.fields.append(body["fields"])
            build.state = "unblocked"
            self._answer({"id": "j1"})

        def _answer(self, value: object) -> None:
            data = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        build.url = f"http://127.0.0.1:{server.server_port}/v2"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield build
        server.shutdown()
        thread.join()


def request_for(artifacts: str, **changes: Any) -> TrainingRequest:
    """A valid request; ``changes`` replace its values."""
    parameters = changes.pop("parameters", {"epochs": 1})
    values: dict[str, Any] = {
        "model_id": "7",
        "build": Build(
            organization="local",
            pipeline="demo",
            number=7,
            id="0190-build",
            url="http://buildkite.example/local/demo/builds/7",
            commit="a" * 40,
            branch="main",
            message="a commit",
            creator="Ada",
        ),
        "source": Source(path=f"{artifacts}/source.tar.gz", sha256="0" * 64),
        "flow": "flows/flow.py",
        "parameters": parameters,
        "parameters_sha256": sha256_of_json(parameters),
        "artifacts": artifacts,
        "unblock": "training_finished",
        "images": Images(default="default:1", train_gpu="train-gpu:1", serve="serve:1"),
    }
    return TrainingRequest(**{**values, **changes})


@pytest.fixture(name="request_for")
def _request_for() -> Any:
    return request_for
