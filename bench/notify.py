"""How long the plugin ``notify`` takes to annotate a build, against a bare ``buildkite-agent annotate``.

Both are the process that a step would start, in turns: the hook ``plugins/notify/hooks/command``, and a bare
annotation by the agent's command line. The agent is the real one, whose API is answered by this program; S3
and W&B are stand-ins of laptop mode. The hook compares a model with the live one on 100,000 evaluation rows,
of three classes and four domains, and with an experiment that W&B has. It shows what it found: the report in
S3, its files among the artifacts of the build, and the annotation.

The times are from the start of a command until Buildkite has its annotation, and until it ends. ``CPU`` is
the processor time of all its processes, and ``memory`` the most that one of them had resident. ``hook, no
pictures`` is the same hook with a Python that lacks matplotlib, and ``hook, no W&B`` is the hook without
option ``wandb``.

No line includes the network, because all services are on this machine. ``ratio agent`` is the time of the
hook divided by that of the bare annotation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from modelbuild_local.agent import find

ROOT = Path(__file__).resolve().parents[1]
GOAL_SECONDS = {"hook": 5.0, "hook, no pictures": 2.5}
GOAL_MEGABYTES = 300

_SECRETS = {"key_id": "bench", "secret": "bench-secret-key", "web_identity_key": "bench"}
_FOLDERS = ("--images", str(ROOT / "docker"), "--bin", "/usr/bin")
_WANDB_KEYS = {"api_key": "b" * 40, "page_key": "bench"}
_OPTIONS = {"compare-with": {"endpoint": "sentiment", "artifacts": "s3://modelbuild-222222222222/models"}}
_NO_MATPLOTLIB = """#!/bin/sh
shift 5
exec '{python}' -I -X utf8 -c '
import sys
sys.modules["matplotlib"] = None
from modelbuild.__main__ import main
main()' "$@"
"""


class Buildkite(ThreadingHTTPServer):
    """The calls of the Agent API by which a job reads and writes what belongs to its build.

    Attributes:
        meta_data: of the build.
        annotated: when the annotation came, by ``time.perf_counter``; None before that.
        calls: how many there were.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.meta_data: dict[str, str] = {}
        self.annotated: float | None = None
        self.calls = 0

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing for a connection that the agent has closed; the agent reports all other failures."""

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and document of the answer to a call, whose path begins with the job's."""
        key = body.get("key", "")
        if path == "/data/keys":
            return 200, list(self.meta_data)
        if path == "/data/get":
            found = self.meta_data.get(key)
            return (404, {"message": "no such key"}) if found is None else (200, {"key": key, "value": found})
        if path == "/data/set":
            self.meta_data[key] = body["value"]
            return 200, {}
        if path == "/annotations":
            self.annotated = time.perf_counter()
            return 201, {"id": "annotation"}
        if path == "/artifacts" and "upload_destination" in body:
            action = {"url": self.url, "method": "POST", "path": "/uploads", "file_input": "file"}
            instructions = {"data": {"path": "${artifact:path}"}, "action": action}
            ids = [str(number) for number, _ in enumerate(body["artifacts"])]
            return 201, {"id": body["id"], "artifact_ids": ids, "upload_instructions": instructions}
        return (200, {}) if path == "/artifacts" else (404, {"message": f"{path} is not known here"})


class _Call(BaseHTTPRequestHandler):
    server: Buildkite
    protocol_version = "HTTP/1.1"

    def _respond(self) -> None:
        self.server.calls += 1
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status: int = 200
        document: Any = {}
        if self.path != "/uploads":
            path = self.path.removeprefix("/v3/jobs/job")
            status, document = self.server.answer(path, json.loads(body or b"{}"))
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = _respond

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@dataclass(frozen=True)
class Timing:
    """Seconds from the start of a command until its annotation and until its end, and what it used."""

    annotated: float
    ended: float
    cpu: float
    megabytes: float


@dataclass(frozen=True)
class Bench:
    """The services, and the models of a build."""

    buildkite: Buildkite
    aws: str
    wandb: str
    scratch: Path
    agent: Path
    commit: str
    meta_data: dict[str, str] = field(default_factory=dict)

    def hook(self, *, python: str = sys.executable, wandb: bool = True) -> Timing:
        """Run the hook with a Python that has the helpers, with or without option ``wandb``."""
        options = {**_OPTIONS, "wandb": {"entity": "local"}} if wandb else _OPTIONS
        environ = {
            "MODELBUILD_PYTHON": python,
            "BUILDKITE_PLUGIN_CONFIGURATION": json.dumps(options),
            "BUILDKITE_ORGANIZATION_SLUG": "local",
            "BUILDKITE_PIPELINE_SLUG": "comments",
            "BUILDKITE_BUILD_NUMBER": "12",
            "BUILDKITE_BUILD_ID": "0190-12",
            "BUILDKITE_BUILD_URL": "https://buildkite.example/local/comments/builds/12",
            "BUILDKITE_COMMIT": self.commit,
            "BUILDKITE_BRANCH": "main",
            "BUILDKITE_UNBLOCKER_ID": "0190-user",
            **_credentials(self.aws, self.wandb),
        }
        return self._run([str(ROOT / "plugins/notify/hooks/command")], environ)

    def annotate(self) -> Timing:
        """Run a bare annotation by the agent's command line."""
        command = [str(self.agent), "annotate", "--context", "training", "--style", "info", "A model."]
        return self._run(command, {})

    def _run(self, command: Sequence[str], environ: Mapping[str, str]) -> Timing:
        """Run a command, and see when its annotation comes."""
        variables = {
            "HOME": str(self.scratch),
            "PATH": os.pathsep.join((str(self.agent.parent), os.environ["PATH"])),
            "BUILDKITE": "true",
            "BUILDKITE_AGENT_ENDPOINT": f"{self.buildkite.url}/v3",
            "BUILDKITE_AGENT_ACCESS_TOKEN": "unused",
            "BUILDKITE_JOB_ID": "job",
            **environ,
        }
        self.buildkite.meta_data = dict(self.meta_data)
        self.buildkite.annotated = None
        log = self.scratch / "log"
        with log.open("wb") as output:
            began = time.perf_counter()
            process = subprocess.Popen(
                command,
                cwd=self.scratch / "repository",
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            _, status, used = os.wait4(process.pid, 0)
            ended = time.perf_counter()
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0 or self.buildkite.annotated is None:
            sys.exit(f"{command[0]} exited with {process.returncode}:\n{log.read_text()}")
        # macOS counts bytes, and Linux kilobytes.
        unit = 1 if sys.platform == "darwin" else 1024
        return Timing(
            self.buildkite.annotated - began,
            ended - began,
            used.ru_utime + used.ru_stime,
            used.ru_maxrss * unit / 1e6,
        )


def _credentials(aws: str, wandb: str) -> dict[str, str]:
    return {
        "WANDB_BASE_URL": wandb,
        "WANDB_API_KEY": _WANDB_KEYS["api_key"],
        "AWS_ENDPOINT_URL": aws,
        "AWS_ACCESS_KEY_ID": _SECRETS["key_id"],
        "AWS_SECRET_ACCESS_KEY": _SECRETS["secret"],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@contextmanager
def bench(rows: int) -> Iterator[Bench]:
    """Start the services, and make the repository and the models."""
    agent = find()
    with (
        tempfile.TemporaryDirectory(prefix="modelbuild-bench-") as folder,
        _buildkite() as buildkite,
        _stand_in(
            "aws", _SECRETS, "--scratch", folder, "--images", ROOT / "docker", "--bin", "/usr/bin"
        ) as aws,
        _stand_in("wandb", _WANDB_KEYS, "--data", folder) as wandb,
    ):
        scratch = Path(folder)
        commits = _repository(scratch / "repository")
        command = [sys.executable, str(Path(__file__).with_name("notify_models.py"))]
        made = subprocess.run(
            [*command, "--rows", str(rows), "--commits", *commits],
            cwd=scratch,
            env={
                **os.environ,
                **_credentials(aws, wandb),
                "PYTHONPATH": str(ROOT / "tests/shared"),
                "WANDB_SILENT": "true",
            },
            stdout=subprocess.PIPE,
            check=True,
        )
        yield Bench(buildkite, aws, wandb, scratch, agent, commits[1], json.loads(made.stdout))


@contextmanager
def _buildkite() -> Iterator[Buildkite]:
    with Buildkite() as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@contextmanager
def _stand_in(name: str, secrets: Mapping[str, str], *arguments: str | Path) -> Iterator[str]:
    """A stand-in of laptop mode; its address."""
    with subprocess.Popen(
        [sys.executable, "-m", f"modelbuild_local.{name}", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(secrets).encode() + b"\n")
            process.stdin.flush()
            yield json.loads(process.stdout.readline())["url"]
        finally:
            process.stdin.close()
            process.wait(30)


def _repository(folder: Path) -> tuple[str, str]:
    """A repository with two commits; their ids."""
    folder.mkdir()

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
        command = ["git", "-C", str(folder), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(message: str) -> str:
        git("commit", "--quiet", "--allow-empty", "--message", message)
        return git("rev-parse", "HEAD")

    git("init", "--quiet", "--initial-branch=main")
    return commit("the live model"), commit("the new model")


def main() -> None:
    """Run the commands in turns, and print medians, memory and the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=11, help="runs of each command (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=100_000, help="evaluation rows (default: %(default)s)")
    options = parser.parse_args()
    if options.runs < 1 or options.rows < 1:
        parser.error("there must be at least one run and one row")
    with bench(options.rows) as made:
        bare = made.scratch / "python"
        bare.write_text(_NO_MATPLOTLIB.format(python=sys.executable))
        bare.chmod(0o755)
        commands: dict[str, Callable[[], Timing]] = {
            "hook": made.hook,
            "hook, no pictures": partial(made.hook, python=str(bare)),
            "hook, no W&B": partial(made.hook, wandb=False),
            "buildkite-agent annotate": made.annotate,
        }
        calls = {}
        # Byte code, matplotlib's list of fonts and the page cache are there in what is measured.
        for name, run in commands.items():
            before = made.buildkite.calls
            run()
            calls[name] = made.buildkite.calls - before
        took: dict[str, list[Timing]] = {name: [] for name in commands}
        for _ in range(options.runs):
            for name, run in commands.items():
                took[name].append(run())
    report(took, calls, options.rows)


def report(took: Mapping[str, Sequence[Timing]], calls: Mapping[str, int], rows: int) -> None:
    """Print medians, memory and the ratio."""
    runs = len(took["hook"])
    print(f"medians of {runs} runs of each, in turns, and the fastest; {rows:,} evaluation rows\n")
    print(f"{'':24}  to annotation (fastest)    to exit       CPU   memory   calls")
    annotated = {}
    for name, timings in took.items():
        annotated[name] = statistics.median(one.annotated for one in timings)
        fastest = min(one.annotated for one in timings)
        ended = statistics.median(one.ended for one in timings)
        cpu = statistics.median(one.cpu for one in timings)
        memory = max(one.megabytes for one in timings)
        times = f"{annotated[name]:13.3f} s {fastest:7.3f} s {ended:8.3f} s {cpu:7.3f} s"
        print(f"{name:24} {times} {memory:5.0f} MB {calls[name]:7}")
    goals = ", ".join(f"{name} {seconds} s" for name, seconds in GOAL_SECONDS.items())
    print(f"\ngoals to the annotation: {goals}; memory {GOAL_MEGABYTES} MB\n")
    print(f"ratio agent {annotated['hook'] / annotated['buildkite-agent annotate']:.1f}")


if __name__ == "__main__":
    main()
