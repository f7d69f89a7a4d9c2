"""Laptop mode as the end-to-end tests drive it: a person's commands, and the APIs behind them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import boto3
import yaml

from modelbuild.contract import Manifest, TrainingRequest, model_prefix
from modelbuild_local.laptop import PRODUCTION_ACCOUNT, REGION, State, running
from modelbuild_local.run.client import Client
from modelbuild_local.up.environment import process_environment

T = TypeVar("T")
Json = dict[str, Any]

PREPARED = "prepared.yml"
"""A pipeline of one model without the steps that prepare an account, for the builds after the first."""

QUICK = "quick.yml"
"""The same with the flow of ``SMALL`` and its own endpoint, for builds whose model is of no interest."""

SMALL = "small/sentiment"
"""The folder that has ``flows/sentiment`` of these tests in the clone."""

_ONE_MODEL = Path(__file__).parents[1] / "fixtures" / "pipeline.yml"
_SMALL = Path(__file__).parent / "flows" / "sentiment"
_MODELS = Path(__file__).with_name("models")


def eventually(look: Callable[[], T | None], what: str, seconds: float) -> T:
    """What ``look`` finds, once it finds something; an error that names ``what`` after ``seconds``."""
    until = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None:
            return found
        if time.monotonic() > until:
            raise AssertionError(f"no {what} within {seconds:.0f} s")
        time.sleep(0.2)


class Laptop:
    """A clone of this repository with its own running services."""

    def __init__(self, repository: Path, state: State) -> None:
        self.repository = repository
        self.state = state
        self.client = Client(state)
        self.environment = process_environment(state)
        self.data_lake = boto3.Session(state.aws_key_id, state.aws_secret, region_name=REGION)
        role = f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/modelbuild-deploy"
        sts = self.data_lake.client("sts", endpoint_url=state.aws_url)
        keys = sts.assume_role(RoleArn=role, RoleSessionName="end-to-end")["Credentials"]
        self.production = boto3.Session(
            keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=REGION
        )

    def aws(self, service: str, session: boto3.Session | None = None) -> Any:
        """A client of the AWS stand-in, in the data lake's account unless ``session`` says otherwise."""
        account: Any = session or self.data_lake
        return account.client(service, endpoint_url=self.state.aws_url)

    def modelbuild(self, *arguments: str) -> str:
        """What ``modelbuild`` prints."""
        command = [sys.executable, "-m", "modelbuild", *arguments]
        done = subprocess.run(
            command, cwd=self.repository, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def commit(self, message: str, files: dict[str, Callable[[str], str]]) -> str:
        """Commit changed files; each is what its function makes of the present content."""
        for name, change in files.items():
            path = self.repository / name
            path.write_text(change(path.read_text() if path.exists() else ""))
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        git(self.repository, "add", "--all")
        git(self.repository, *who, "commit", "--quiet", "--message", message)
        return git(self.repository, "rev-parse", "HEAD")

    @contextmanager
    def changed(self, message: str, files: dict[str, Callable[[str], str]]) -> Iterator[None]:
        """Have changed files in the commit, and their earlier content again afterwards."""
        before = {name: (self.repository / name).read_text() for name in files}
        self.commit(message, files)
        try:
            yield
        finally:
            self.commit(f"Revert: {message}", {name: partial(_put, text) for name, text in before.items()})

    @contextmanager
    def model(self, name: str, files: dict[str, Callable[[str], str]] | None = None) -> Iterator[None]:
        """Have a file of ``models/`` in the place of the small flow's model, and ``files`` changed."""
        model = partial(_put, (_MODELS / f"{name}.py").read_text())
        with self.changed(f"The {name} model", {f"{SMALL}/model.py": model, **(files or {})}):
            yield

    def commit_prepared_pipelines(self) -> None:
        """Have ``PREPARED``, ``QUICK`` and the small flow in the commit."""
        if not (self.repository / PREPARED).exists():
            shutil.copytree(
                _SMALL, self.repository / SMALL, ignore=shutil.ignore_patterns(".*", "__pycache__")
            )
            pipeline = _ONE_MODEL.read_text()
            prepared = _from_train_on(pipeline)
            quick = for_endpoint(train_options(prepared, flow=f"{SMALL}/flow.py"), "quick")
            self.commit(
                "Pipelines for prepared accounts",
                {
                    PREPARED: partial(_put, json.dumps(prepared)),
                    QUICK: partial(_put, json.dumps(quick)),
                },
            )

    @contextmanager
    def build(self, *arguments: str, model: str = "sentiment") -> Iterator[Running]:
        """A build of the current commit by ``modelbuild local run``, cancelled if it outlives the block.

        Args:
            arguments: of that command.
            model: the model that the build trains.
        """
        earlier = {build["id"] for build in self._builds()}
        log = self.state.data / f"run-{time.time_ns()}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "modelbuild", "local", "run", *arguments],
                cwd=self.repository,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            build = eventually(
                lambda: next((b for b in self._builds() if b["id"] not in earlier), None), "new build", 30
            )
            path = f"pipelines/{build['pipeline']['slug']}/builds/{build['number']}"
            yield Running(self, process, log, path, model)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(60)

    def build_beside(self, other: Running, pipeline: str) -> Running:
        """A build of the current commit whose jobs the agents of another build run as well."""
        build = self.client.post(
            f"pipelines/{other.pipeline}/builds",
            {
                "commit": git(self.repository, "rev-parse", "HEAD"),
                "branch": "main",
                "message": "beside another build",
                "env": {"LOCAL_PIPELINE_FILE": pipeline},
            },
        )
        path = f"pipelines/{other.pipeline}/builds/{build['number']}"
        return Running(self, other.process, other.log, path, other.model)

    def _builds(self) -> list[Json]:
        pipelines = self.client.get("pipelines")
        return [build for one in pipelines for build in self.client.get(f"pipelines/{one['slug']}/builds")]


class Running:
    """One build under way."""

    def __init__(
        self, laptop: Laptop, process: subprocess.Popen[bytes], log: Path, path: str, model: str
    ) -> None:
        self.laptop = laptop
        self.process = process
        self.log = log
        self.path = path
        self.model = model

    @property
    def pipeline(self) -> str:
        """The slug of the pipeline."""
        return self.path.split("/")[1]

    @property
    def model_id(self) -> str:
        """The number of the build, as text."""
        return self.path.rsplit("/", 1)[1]

    @property
    def artifacts(self) -> str:
        """Where everything about this build's model lies."""
        account = self.laptop.environment["DATA_LAKE_ACCOUNT"]
        root = f"s3://modelbuild-{account}/models"
        return model_prefix(root, self.pipeline, self.model, self.model_id)

    def of(self, model: str) -> Running:
        """The same build, of which another model is looked at."""
        return Running(self.laptop, self.process, self.log, self.path, model)

    def get(self) -> Json:
        """The build as REST shows it, with the jobs that were retried."""
        build: Json = self.laptop.client.get(f"{self.path}?include_retried_jobs=true")
        return build

    def jobs(self, key: str) -> list[Json]:
        """Every job of a step, in the order in which they were made."""
        return [job for job in self.get()["jobs"] if job["step_key"] == key]

    def reaches(self, key: str, *states: str, seconds: float = 300) -> Json:
        """The newest job of a step, once it is in one of the states."""

        def look() -> Json | None:
            jobs = self.jobs(key)
            return jobs[-1] if jobs and jobs[-1]["state"] in states else None

        return eventually(look, f"{' or '.join(states)} of step {key}; see {self.log}", seconds)

    def unblock(self, key: str) -> None:
        """Do what a person does on the page."""
        job = self.reaches(key, "blocked")
        self.laptop.client.put(f"{self.path}/jobs/{job['id']}/unblock", {"fields": {}})

    def over(self, seconds: float = 300) -> Json:
        """The build, once it is over."""

        def look() -> Json | None:
            build = self.get()
            return build if build["finished_at"] else None

        return eventually(look, f"end of the build; see {self.log}", seconds)

    def job_log(self, job: Json) -> str:
        """What a job printed."""
        return self.laptop.client.text(f"{self.path}/jobs/{job['id']}/log.txt")

    def annotations(self) -> dict[str, Json]:
        """The annotations by context."""
        return {note["context"]: note for note in self.laptop.client.get(f"{self.path}/annotations")}

    def object(self, name: str) -> bytes:
        """One of the objects about this build's model."""
        bucket, key = f"{self.artifacts}/{name}".removeprefix("s3://").split("/", 1)
        body: bytes = self.laptop.aws("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return body

    def put_object(self, name: str, body: bytes) -> None:
        """Replace one of the objects about this build's model."""
        bucket, key = f"{self.artifacts}/{name}".removeprefix("s3://").split("/", 1)
        self.laptop.aws("s3").put_object(Bucket=bucket, Key=key, Body=body)

    def request(self) -> TrainingRequest:
        """What was asked for."""
        return TrainingRequest.model_validate_json(self.object("request.json"))

    def manifest(self) -> Manifest:
        """Everything about the model."""
        return Manifest.model_validate_json(self.object("manifest.json"))

    def heads(self) -> list[Json]:
        """The head jobs of this build, in Batch, once all have ended."""

        def look() -> list[Json] | None:
            heads = self.heads_now()
            return heads if all("stoppedAt" in head for head in heads) else None

        return eventually(look, "end of the head", 30)

    def heads_now(self) -> list[Json]:
        """The head jobs of this build, in Batch, as they are."""
        filters = [{"name": "JOB_NAME", "values": [f"{self.pipeline}-{self.model}-{self.model_id}"]}]
        return self._batch_jobs(jobQueue="modelbuild-head", filters=filters)

    def steps(self, status: str = "SUCCEEDED") -> list[Json]:
        """The jobs in Batch of the flow's steps that have this status."""
        queues = ("modelbuild-default", "modelbuild-gpu")
        jobs = [job for queue in queues for job in self._batch_jobs(jobQueue=queue, jobStatus=status)]
        ours = {"name": "ARTIFACTS", "value": self.artifacts}
        return [job for job in jobs if ours in job["container"]["environment"]]

    def running_step(self, name: str, seconds: float = 180) -> str:
        """The id of the job of a step of the flow, once it runs."""

        def look() -> str | None:
            jobs = (job["jobId"] for job in self.steps("RUNNING") if f"-{name}-" in job["jobName"])
            return next(jobs, None)

        return eventually(look, f"job of step {name} that runs", seconds)

    def steps_end(self, seconds: float = 60) -> None:
        """Return once no job of a step of the flow runs."""
        eventually(lambda: None if self.steps("RUNNING") else True, "end of the flow's steps", seconds)

    def live_jobs(self) -> list[str]:
        """The names of all jobs in Batch that have not ended, of this build or another."""
        batch = self.laptop.aws("batch")
        return [
            job["jobName"]
            for queue in ("modelbuild-head", "modelbuild-default", "modelbuild-gpu")
            for status in ("SUBMITTED", "RUNNABLE", "STARTING", "RUNNING")
            for job in batch.list_jobs(jobQueue=queue, jobStatus=status)["jobSummaryList"]
        ]

    def _batch_jobs(self, **which: Any) -> list[Json]:
        batch = self.laptop.aws("batch")
        listed = batch.list_jobs(**which)["jobSummaryList"]
        found: list[Json] = (
            batch.describe_jobs(jobs=[one["jobId"] for one in listed])["jobs"] if listed else []
        )
        return found


def is_red(build: Running, status: str, reason: str) -> None:
    """The result says why, notify is red with the same words, and nothing was deployed."""
    meta_data = build.get()["meta_data"]
    assert meta_data["training/status"] == status, build.log.read_text()
    assert reason in meta_data["training/reason"]
    (notify,) = build.jobs("notify")
    assert (notify["state"], notify["exit_status"]) == ("failed", 13)
    assert reason in build.job_log(notify)
    assert reason in build.annotations()["training"]["body_html"]
    assert build.annotations()["training"]["style"] == "error"
    (deploy,) = build.jobs("deploy")
    assert deploy["started_at"] is None
    assert build.get()["state"] == "failed"


def git(repository: Path, *arguments: str) -> str:
    """What git prints."""
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def train_options(pipeline: Json, **options: Any) -> Json:
    """A pipeline whose first step, which trains, has other options."""
    changed: Json = json.loads(json.dumps(pipeline))
    changed["steps"][0]["plugins"][0]["./plugins/train"] |= options
    return changed


def for_endpoint(pipeline: Json, endpoint: str) -> Json:
    """A pipeline whose model is compared with the live one of this endpoint, and deployed there."""
    changed: Json = json.loads(json.dumps(pipeline))
    plugins = [plugin for step in changed["steps"] for plugin in step.get("plugins", [])]
    for plugin in plugins:
        if "./plugins/notify" in plugin:
            plugin["./plugins/notify"]["compare-with"]["endpoint"] = endpoint
        if "./plugins/deploy" in plugin:
            plugin["./plugins/deploy"]["endpoint"] = endpoint
    return changed


def _from_train_on(pipeline: str) -> Json:
    """The pipeline without what comes before its ``train`` step."""
    steps = yaml.safe_load(pipeline)["steps"]
    kept = [step for step in steps if step.get("key") not in ("images", "stack", "lake")]
    kept[0].pop("depends_on")
    return {"steps": kept}


def _put(text: str, _: str) -> str:
    """A change of a file that gives it another content, whatever it has."""
    return text


@contextmanager
def running_laptop(folder: Path) -> Iterator[Laptop]:
    """A clone of this repository's commit with ``modelbuild local up`` running for it."""
    repository = folder / "comments"
    origin = git(Path(__file__).parent, "rev-parse", "--show-toplevel")
    git(folder, "clone", "--quiet", origin, str(repository))
    with laptop_of(repository, folder) as laptop:
        yield laptop


@contextmanager
def laptop_of(repository: Path, folder: Path) -> Iterator[Laptop]:
    """``modelbuild local up`` running for a repository, with its data in ``folder``."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    log = folder / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            # Whatever ends these tests ends the services too.
            [
                *(sys.executable, "-m", "modelbuild_local.up.supervisor"),
                *(sys.executable, "-m", "modelbuild", "local", "up", "--data", str(folder / "data")),
            ],
            cwd=repository,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:

        def look() -> State | None:
            assert process.poll() is None, log.read_text()
            return running(repository.resolve())

        yield Laptop(repository, eventually(look, f"laptop mode; see {log}", 60))
    finally:
        process.terminate()
        process.wait(60)
