"""What a sweep costs beside the training of its candidates, against Metaflow's own foreach.

The work of a candidate takes a few milliseconds (``sweep_flow/``), so that seconds per candidate are the
seconds of orchestration. Sweeps are run by ``modelbuild head``, from its start to its result: the snapshot,
the candidates, their ranking, and the ten best on all rows. What is left out is the delivery of the result to
Buildkite, as Metaflow delivers none. ``metaflow`` is ``python foreach_flow.py run`` with ``@batch``, from its
start to its exit. Both run at most eight candidates at the same time. Jobs are processes at the AWS stand-in
of laptop mode, to which all requests go over HTTP. Nothing waits for a container, an image or a machine; on
AWS, Metaflow's foreach does so once for each candidate, and a sweep once for each worker.

Requests are those of the head and of all jobs, counted where they arrive. Memory is the most that the head
and the processes below it had in memory together, where shared pages count for each. Prices of requests are
those of S3 Standard in us-east-1, and Batch costs nothing.

``ratio metaflow`` is the seconds per candidate of a sweep, by those of Metaflow, at the largest size that
both were run with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
from botocore.config import Config
from pydantic import JsonValue
from submit import BUCKET, QUEUE, ROOT, SECRETS, credentials, deploy_stack

from modelbuild.contract import Sweep, TrainingRequest, sha256_of_json
from modelbuild.flow.publish import archive

HERE = Path(__file__).parent
FLOWS = HERE / "sweep_flow"
IMAGE = "registry.example/modelbuild/default:1"
PARALLEL = 8
RESULT, DONE = "training-ended", "Done!"
GOAL, GOAL_MEGABYTES = 0.1, 400
# Dollars for a thousand requests, by https://aws.amazon.com/s3/pricing/
_PRICES = {"S3 PUT": 0.005, "S3 POST": 0.005, "S3 LIST": 0.005, "S3 GET": 0.0004, "S3 HEAD": 0.0004}
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Measured:
    """One sweep, or one run of Metaflow.

    Attributes:
        candidates: how many candidates it had.
        seconds: how long it took.
        requests: how many requests arrived, by service and operation.
        megabytes: the most memory of the process and of those below it.
    """

    candidates: int
    seconds: float
    requests: Mapping[str, int]
    megabytes: float

    @property
    def seconds_each(self) -> float:
        """Seconds per candidate."""
        return self.seconds / self.candidates

    @property
    def dollars(self) -> float:
        """The price of all requests."""
        return sum(_PRICES.get(name, 0.0) * count / 1000 for name, count in self.requests.items())

    def line(self, name: str) -> str:
        """A line of the table."""
        counts = [
            sum(count for key, count in self.requests.items() if key.startswith(kind)) / self.candidates
            for kind in ("S3 ", "Batch ", "other ")
        ]
        each = " ".join(f"{count:8.1f}" for count in counts)
        return (
            f"{name:9} {self.candidates:6,} {self.seconds:8.1f} {self.seconds_each:10.3f} {each} "
            f"{self.megabytes:7.0f} {self.dollars:9.5f}"
        )


HEADER = (
    f"{'':9} {'number':>6} {'seconds':>8} {'s/each':>10} {'S3/each':>8} {'Batch/e.':>8} {'other/e.':>8} "
    f"{'MB':>7} {'$, all':>9}"
)


@dataclass(frozen=True)
class Bench:
    """The stand-in with its stack.

    Attributes:
        url: its address.
        scratch: a folder for files.
        buildkite: the address of an API of Buildkite, whose only build is over.
        shows: whether the output of programs is printed.
    """

    url: str
    scratch: Path
    buildkite: str
    shows: bool

    def sweep(self, count: int, number: int) -> Measured:
        """Run a sweep with so many candidates in the build with this number."""
        prefix = f"s3://{BUCKET}/models/bench/threshold/{number}"
        content = archive(
            {f"flows/{path.name}": path.read_bytes() for path in FLOWS.iterdir() if path.is_file()}
        )
        self._put(f"{prefix}/source.tar.gz", content)
        self._put(f"{prefix}/request.json", _request(prefix, number, count, content).to_json().encode())
        environ = {
            **self._environment(),
            "ARTIFACTS": prefix,
            "MODEL_ID": str(number),
            "UNBLOCK_STEP": "training_finished",
            "METAFLOW_BATCH_DEFAULT_TAGS": '{"modelbuild:pipeline":"bench"}',
            "AWS_BATCH_JQ_NAME": QUEUE,
            "BUILDKITE_API_URL": self.buildkite,
            "BUILDKITE_API_TOKEN": "bench",
        }
        command = [sys.executable, "-m", "modelbuild", "head"]
        measured = self._run(command, self.scratch, environ, count, RESULT)
        leaderboard = json.loads(self._get(f"{prefix}/leaderboard.json"))
        ranked = sum(row["rank"] is not None for row in leaderboard["rows"])
        if ranked != count:
            sys.exit(f"{ranked} of {count} candidates were ranked")
        return measured

    def metaflow(self, count: int) -> Measured:
        """Run Metaflow's foreach over so many candidates."""
        environ = {
            **self._environment(),
            "METAFLOW_HOME": str(self.scratch / "metaflow"),
            "METAFLOW_BATCH_CONTAINER_IMAGE": IMAGE,
            "CANDIDATES": str(count),
        }
        command = [sys.executable, "foreach_flow.py", "--no-pylint", "run", "--max-workers", str(PARALLEL)]
        command += ["--max-num-splits", str(count)]
        return self._run(command, self.scratch / "flows", environ, count, DONE)

    def _run(
        self, command: Sequence[str], folder: Path, environ: Mapping[str, str], count: int, mark: str
    ) -> Measured:
        """Run a program until its output has ``mark``, and then to its end and that of its jobs."""
        requests = self.scratch / "requests"
        requests.write_text("")
        output, most, seconds = self.scratch / "output", 0.0, 0.0
        began = time.perf_counter()
        with output.open("w") as file:
            process = subprocess.Popen(
                command, cwd=folder, env=environ, stdout=file, stderr=subprocess.STDOUT
            )
            while process.poll() is None:
                most = max(most, _megabytes(process.pid))
                if not seconds and mark in output.read_text():
                    seconds = time.perf_counter() - began
                time.sleep(_LOOK_SECONDS)
        seconds = seconds or time.perf_counter() - began
        if process.returncode != 0 or self.shows:
            print(output.read_text())
        if process.returncode != 0 or mark not in output.read_text():
            sys.exit(f"{' '.join(command)} exited with {process.returncode}")
        self._wait_for_jobs()
        return Measured(count, seconds, Counter(requests.read_text().splitlines()), most)

    def _wait_for_jobs(self) -> None:
        batch = self._client("batch")
        states = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING")
        while any(
            batch.list_jobs(jobQueue="modelbuild-default", jobStatus=state)["jobSummaryList"]
            for state in states
        ):
            time.sleep(_LOOK_SECONDS)

    def _environment(self) -> dict[str, str]:
        """The variables that the stack gives the head."""
        definitions = self._client("batch").describe_job_definitions(jobDefinitionName=QUEUE)[
            "jobDefinitions"
        ]
        variables = {
            one["name"]: one["value"] for one in definitions[0]["containerProperties"]["environment"]
        }
        # Without this secret, candidates have no runs at W&B.
        variables.pop("WANDB_SECRET_ARN", None)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "HOME": str(self.scratch), **variables, **credentials(self.url)}

    def _client(self, service: str) -> Any:
        session = boto3.Session(SECRETS["key_id"], SECRETS["secret"], region_name="us-east-1")
        made: Any = session
        return made.client(service, endpoint_url=self.url, config=Config(user_agent_extra="bench"))

    def _put(self, uri: str, content: bytes) -> None:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        self._client("s3").put_object(Bucket=bucket, Key=key, Body=content)

    def _get(self, uri: str) -> bytes:
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        content: bytes = self._client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return content


def _request(prefix: str, number: int, count: int, content: bytes) -> TrainingRequest:
    space = {"threshold": {"minimum": 0.0, "maximum": 1.0}}
    sweep = {"method": "random", "candidates": count, "space": space, "max-parallel": PARALLEL}
    parameters: dict[str, JsonValue] = {"threshold": 0.5}
    return TrainingRequest.model_validate(
        {
            "model": "threshold",
            "model_id": str(number),
            "build": {
                **{"organization": "local", "pipeline": "bench", "number": number, "id": f"0190-{number}"},
                **{"url": f"http://buildkite.example/{number}", "commit": "0" * 40, "branch": "main"},
                **{"message": "a commit", "creator": "Ada"},
            },
            "source": {"path": f"{prefix}/source.tar.gz", "sha256": hashlib.sha256(content).hexdigest()},
            "flow": "flows/sweep_flow.py",
            "parameters": parameters,
            "parameters_sha256": sha256_of_json(parameters),
            "artifacts": prefix,
            "unblock": "training_finished",
            "images": {"default": IMAGE, "train-gpu": IMAGE, "serve": IMAGE},
            "sweep": Sweep.model_validate(sweep),
        }
    )


def _megabytes(pid: int) -> float:
    """The memory of a process and of those below it, with shared pages counted for each of them; on Linux."""
    found = 0.0
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        found += (
            next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024
        )
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            found += sum(_megabytes(int(child)) for child in children.read_text().split())
    except (OSError, StopIteration):
        pass  # it has ended
    return found


class _Buildkite(BaseHTTPRequestHandler):
    """The API of Buildkite where each build is over, so that the head delivers its result to none."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        answer: Any = {"number": 1, "state": "passed"}
        if path.endswith("/jobs"):
            answer = {"items": []}
        elif path.endswith(("/builds", "/annotations")):
            answer = json.loads(body) if body else []
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@contextmanager
def buildkite() -> Iterator[str]:
    """An API of Buildkite; yields its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Buildkite) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v2"
        server.shutdown()


@contextmanager
def bench(shows: bool) -> Iterator[Bench]:
    """Start the stand-in with the stack of ``infra/``."""
    with tempfile.TemporaryDirectory(prefix="modelbuild-bench-") as folder, buildkite() as api:
        scratch = Path(folder)
        arguments = [
            "--port",
            "0",
            "--vcpus",
            str(PARALLEL),
            "--scratch",
            f"{folder}/aws",
            "--minute",
            "3600",
        ]
        arguments += ["--images", str(ROOT / "docker"), "--bin", str(Path(sys.executable).parent)]
        with subprocess.Popen(
            [sys.executable, str(HERE / "sweep_aws.py"), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONWARNINGS": "ignore", "REQUESTS": str(scratch / "requests")},
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            try:
                process.stdin.write(json.dumps(SECRETS).encode() + b"\n")
                process.stdin.flush()
                url = json.loads(process.stdout.readline())["url"]
                deploy_stack(url)
                # Metaflow writes a folder of its own beside the flow.
                shutil.copytree(FLOWS, scratch / "flows", ignore=shutil.ignore_patterns(".*", "__pycache__"))
                yield Bench(url, scratch, api, shows)
            finally:
                process.stdin.close()
                process.wait(60)


def main() -> None:
    """Run sweeps and Metaflow, and print a table and the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 50, 200, 1000], metavar="N")
    parser.add_argument("--metaflow", type=int, nargs="*", default=[10, 50], metavar="N")
    parser.add_argument("--show", action="store_true", help="print the output of the programs")
    parser.add_argument("--requests", action="store_true", help="list the requests by operation")
    options = parser.parse_args()
    sweeps, others = dict[int, Measured](), dict[int, Measured]()
    with bench(options.show) as made:
        # Byte code and job definitions are there in what is measured.
        made.sweep(2, 1)
        print(HEADER)
        for number, count in enumerate(options.sizes, 2):
            sweeps[count] = made.sweep(count, number)
            print(sweeps[count].line("sweep"), flush=True)
        if options.metaflow:
            made.metaflow(1)
        for count in options.metaflow:
            others[count] = made.metaflow(count)
            print(others[count].line("metaflow"), flush=True)
    if options.requests:
        for name, some in (("sweep", sweeps), ("metaflow", others)):
            for count, one in some.items():
                listed = ", ".join(f"{key} {value:,}" for key, value in sorted(one.requests.items()))
                print(f"{name} {count:,}: {listed}")
    most = max(one.megabytes for one in sweeps.values())
    print(f"\ngoals: ratio {GOAL} or less, the head {GOAL_MEGABYTES} MB or less; it had {most:.0f} MB")
    common = max(set(sweeps) & set(others), default=None)
    if common is not None:
        print(f"ratio metaflow {sweeps[common].seconds_each / others[common].seconds_each:.2f}")


if __name__ == "__main__":
    main()
