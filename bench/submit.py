"""How long the plugin ``train`` takes to submit a training, against ``aws batch submit-job``.

Both run against the AWS stand-in of laptop mode, in turns, each as the process that a step would start:
the hook ``plugins/train/hooks/command`` and awscli's bare SubmitJob, with the same Python. The hook does
more: it archives the commit, merges the parameters, keeps the request in S3 so that a retry trains nothing
twice, registers a job definition with the image of the build, and shows everything on the build page.

``ratio`` is the time of the hook, from its start to the line that says the job is submitted, divided by that
of the whole run of awscli, for which a step would wait. The other lines measure what the ratio leaves out:
what the hook shows on the page afterwards (``to exit``), the check of the parameters by the flow's own model,
where it has one, and the search for the helpers' environment on an agent without MODELBUILD_PYTHON.

No line includes the network, because the stand-in is on this machine, or ``buildkite-agent``, which a
recorder replaces. Before the job is submitted, the hook sends four requests one after the other, and awscli
one.

Jobs stay in the queue, so that none takes time from a later run. One more run of each command goes through a
proxy, which counts its requests, so that the proxy slows no measured run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import urllib3

ROOT = Path(__file__).resolve().parents[1]
BUCKET = "modelbuild-123456789012"
QUEUE = "modelbuild-head"
GOAL = 0.8
SUBMITTED = "submitted job "

_HOP_HEADERS = ("connection", "content-length", "date", "server", "transfer-encoding")

SECRETS = {"key_id": "bench", "secret": "bench-secret-key", "web_identity_key": "bench"}
_MODEL = """from pydantic import BaseModel, Field

from modelbuild.flow import parameters


class Training(BaseModel):
    epochs: int = Field(ge=1)
    rate: float = Field(gt=0)


class Parameters(BaseModel):
    training: Training


def parse(text: str) -> object:
    return parameters.parse(text, Parameters)
"""

# The recorder keeps each call's arguments, knows no meta-data, and costs as little as a process can.
_AGENT = """#!/bin/sh
echo "$*" >>"{calls}"
case "$1 $2" in "meta-data get") printf '%s' "$5" ;; esac
"""


@dataclass(frozen=True)
class Timing:
    """Seconds from the start of a command until its job was submitted, and until it ended."""

    submitted: float
    ended: float


@dataclass(frozen=True)
class Bench:
    """The stand-in, and a repository with a flow in ``flows`` and one with typed parameters in ``typed``."""

    url: str
    scratch: Path
    commit: str

    @property
    def python(self) -> Path:
        """The Python of the hook's helpers and of awscli."""
        return self.scratch / "environment/bin/python"

    def hook(
        self, build: int, proxy: str = "", *, flow: str = "flows", python_is_named: bool = True
    ) -> Timing:
        """Run the hook for a build of its own number and the flow in a folder, with or without
        MODELBUILD_PYTHON.
        """
        image = "registry.example/modelbuild"
        options = {
            "flow": f"{flow}/flow.py",
            "params": {"training.epochs": 9},
            "artifacts": f"s3://{BUCKET}/models",
            "unblock": "training_finished",
            "image": {name: f"{image}/{name}:1" for name in ("default", "train-gpu", "serve")},
        }
        environ = {
            **({"MODELBUILD_PYTHON": str(self.python)} if python_is_named else {}),
            "BUILDKITE": "true",
            "BUILDKITE_PLUGIN_CONFIGURATION": json.dumps(options),
            "BUILDKITE_ORGANIZATION_SLUG": "local",
            "BUILDKITE_PIPELINE_SLUG": "bench",
            "BUILDKITE_BUILD_NUMBER": str(build),
            "BUILDKITE_BUILD_ID": f"0190-{build}",
            "BUILDKITE_BUILD_URL": f"http://buildkite.example/local/bench/builds/{build}",
            "BUILDKITE_STEP_KEY": "train",
            "BUILDKITE_COMMIT": self.commit,
            "BUILDKITE_BRANCH": "main",
            "BUILDKITE_MESSAGE": "a commit",
            "BUILDKITE_BUILD_CREATOR": "Ada",
            "BUILDKITE_AGENT_ACCESS_TOKEN": "unused",
        }
        command = [str(ROOT / "plugins/train/hooks/command")]
        return self._run(command, SUBMITTED, environ, proxy)

    def cli(self, build: int, proxy: str = "") -> Timing:
        """Run awscli's SubmitJob with what the hook would submit."""
        overrides = {
            "command": ["python", "-m", "modelbuild", "head"],
            "environment": [
                {"name": "MODEL_ID", "value": str(build)},
                {"name": "ARTIFACTS", "value": f"s3://{BUCKET}/models/bench/sentiment/{build}"},
                {"name": "UNBLOCK_STEP", "value": "training_finished"},
            ],
        }
        command = [
            *(str(self.python), str(Path(sys.executable).with_name("aws")), "batch", "submit-job"),
            *("--job-name", f"bench-{build}", "--job-queue", QUEUE, "--job-definition", QUEUE),
            *("--container-overrides", json.dumps(overrides)),
        ]
        return self._run(command, '"jobId"', {}, proxy)

    def _run(self, command: list[str], mark: str, environ: Mapping[str, str], proxy: str) -> Timing:
        """Run a command, and see when it prints a line with ``mark``."""
        variables = {
            "HOME": str(self.scratch),
            # The Python that the hook would find, and not a version manager's script in its place.
            "PATH": os.pathsep.join((f"{self.scratch}/agent", f"{sys.base_prefix}/bin", os.environ["PATH"])),
            **credentials(self.url),
            **({"HTTP_PROXY": proxy} if proxy else {}),
            **environ,
        }
        submitted = None
        began = time.perf_counter()
        with subprocess.Popen(
            command,
            cwd=self.scratch / "repository",
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if submitted is None and mark in line:
                    submitted = time.perf_counter() - began
            code = process.wait()
        ended = time.perf_counter() - began
        if code != 0 or submitted is None:
            sys.exit(f"{command[0]} exited with {code}:\n{''.join(lines)}")
        return Timing(submitted, ended)


def credentials(url: str) -> dict[str, str]:
    """The variables of a program that may do everything in the data lake's account."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": SECRETS["key_id"],
        "AWS_SECRET_ACCESS_KEY": SECRETS["secret"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def bench() -> Iterator[Bench]:
    """Start the stand-in with the stack of ``infra/``, and make the repository and the recorder."""
    with tempfile.TemporaryDirectory(prefix="modelbuild-bench-") as folder:
        scratch = Path(folder)
        for name in ("agent", "bin", "images"):
            (scratch / name).mkdir(parents=True)
        for name in ("default", "unset"):
            (scratch / "images" / name).mkdir()
            (scratch / "images" / name / "Dockerfile").write_text("FROM scratch\n")
        _script(scratch / "agent/buildkite-agent", _AGENT.format(calls=scratch / "calls"))
        # The first job takes the only vCPU and keeps it; all others wait in the queue and cost nothing.
        _script(scratch / "bin/python", "#!/bin/sh\nexec sleep 3600\n")
        commit = _repository(scratch / "repository")
        _environment(scratch / "environment")
        _helpers(scratch / ".cache/modelbuild/helpers", scratch / "environment")
        arguments = ["--port", "0", "--vcpus", "1", "--scratch", folder]
        arguments += ["--images", str(scratch / "images"), "--bin", str(scratch / "bin")]
        with subprocess.Popen(
            [sys.executable, "-m", "modelbuild_local.aws", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(SECRETS).encode() + b"\n")
                process.stdin.flush()
                url = json.loads(process.stdout.readline())["url"]
                deploy_stack(url)
                yield Bench(url, scratch, commit)
            finally:
                process.stdin.close()
                process.wait(30)


def _script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def _environment(folder: Path) -> None:
    """An environment with the packages of this one, and without the start file that `make setup` adds to it.

    No agent has that file, and no awscli: it makes Python collect garbage rarely.
    """
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    paths = [sysconfig.get_path("purelib"), str(ROOT / "python/src")]
    (packages / "paths.pth").write_text("".join(f"{path}\n" for path in paths))


def _helpers(folder: Path, environment: Path) -> None:
    """The environment under the name by which the hook looks for that of its helpers."""
    command = ["bash", "-c", 'source "$1" && modelbuild_id', "-", str(ROOT / "plugins/lib/helpers.bash")]
    environ = {**os.environ, "PATH": f"{sys.base_prefix}/bin{os.pathsep}{os.environ['PATH']}"}
    name = subprocess.run(command, check=True, capture_output=True, text=True, env=environ).stdout.strip()
    folder.mkdir(parents=True)
    (folder / name).symlink_to(environment)


def _repository(folder: Path) -> str:
    """A commit with the flows; returns its id."""
    for flow in ("flows", "typed"):
        (folder / flow).mkdir(parents=True)
        (folder / flow / "flow.py").write_text("# a flow\n")
        (folder / flow / "params.yaml").write_text("training:\n  epochs: 3\n  rate: 0.5\n")
    (folder / "typed/parameters.py").write_text(_MODEL)

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        command = ["git", "-C", str(folder), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--quiet", "--initial-branch=main")
    git("add", "--all")
    git("commit", "--quiet", "--message", "a commit")
    return git("rev-parse", "HEAD")


def deploy_stack(url: str) -> None:
    """Deploy ``infra/training.yaml``."""

    def client(name: str) -> Any:
        made = boto3.Session(SECRETS["key_id"], SECRETS["secret"], region_name="us-east-1")
        return made.client(name, endpoint_url=url)  # type: ignore[call-overload]

    secret = client("secretsmanager").create_secret
    values = {
        "Image": "registry.example/modelbuild/unset:1",
        "SubnetIds": client("ec2").describe_subnets()["Subnets"][0]["SubnetId"],
        "SecurityGroupIds": client("ec2").describe_security_groups()["SecurityGroups"][0]["GroupId"],
        "BuildkiteSecretArn": secret(Name="buildkite", SecretString='{"BUILDKITE_API_TOKEN": "t"}')["ARN"],
        "WandbSecretArn": secret(Name="wandb", SecretString="{}")["ARN"],
    }
    client("cloudformation").create_stack(
        StackName="modelbuild",
        TemplateBody=(ROOT / "infra/training.yaml").read_text(),
        Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in values.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )


@contextmanager
def counting(upstream: str) -> Iterator[tuple[str, list[str]]]:
    """A proxy for requests to ``upstream``, which keep its address because they are signed.

    Yields the proxy's own address, and the requests that it has seen.
    """
    seen: list[str] = []
    http = urllib3.PoolManager(retries=False)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            seen.append(f"{self.command} {self.path.removeprefix(upstream)}")
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = dict(self.headers.items())
            answer = http.request(self.command, self.path, body=body, headers=headers)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in _HOP_HEADERS:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.data)))
            self.end_headers()
            self.wfile.write(answer.data)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", seen
        server.shutdown()


def main() -> None:
    """Run both commands in turns, and print medians, requests and the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15, help="paired runs (default: %(default)s)")
    parser.add_argument("--requests", action="store_true", help="list the requests of each command")
    options = parser.parse_args()
    if options.runs < 10:
        parser.error("a median of fewer than 10 runs says little")
    with bench() as made:
        commands: dict[str, Callable[..., Timing]] = {
            "hook": made.hook,
            "hook, parameters typed": partial(made.hook, flow="typed"),
            "hook, helpers looked for": partial(made.hook, python_is_named=False),
            "aws batch submit-job": made.cli,
        }
        builds = count(1)
        # Byte code, the one job definition of this image and the page cache are there in what is measured.
        for run in commands.values():
            run(next(builds))
        requests = {}
        (made.scratch / "calls").write_text("")
        for name in ("hook", "aws batch submit-job"):
            with counting(made.url) as (proxy, seen):
                commands[name](next(builds), proxy)
                requests[name] = seen
        calls = (made.scratch / "calls").read_text().splitlines()
        took: dict[str, list[Timing]] = {name: [] for name in commands}
        for _ in range(options.runs):
            for name, run in commands.items():
                took[name].append(run(next(builds)))
    cli = statistics.median(one.ended for one in took["aws batch submit-job"])
    print(f"medians of {options.runs} runs of each, in turns, and their ratio to all of awscli's run\n")
    print(f"{'':26}  to submitted     to exit")
    for name, runs in took.items():
        submitted = statistics.median(one.submitted for one in runs)
        ended = statistics.median(one.ended for one in runs)
        print(f"{name:26} {submitted:6.3f} s {submitted / cli:4.2f} {ended:6.3f} s {ended / cli:4.2f}")
    print(f"\nrequests to AWS: hook {len(requests['hook'])}, awscli {len(requests['aws batch submit-job'])}")
    print(f"calls of buildkite-agent, which is a recorder here: hook {len(calls)}")
    if options.requests:
        for name, lines in requests.items():
            print(f"\n{name}:", *lines, sep="\n  ")
    ratio = statistics.median(one.submitted for one in took["hook"]) / cli
    print(f"\nratio {ratio:.2f}")
    print(f"goal {GOAL}: {'met' if ratio <= GOAL else 'missed'}")


if __name__ == "__main__":
    main()
