"""One build under way, as the end-to-end tests look at it and act on it."""

from __future__ import annotations

import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from modelbuild.contract import Manifest, TrainingRequest, model_prefix

if TYPE_CHECKING:
    from laptop import Laptop

T = TypeVar("T")
Json = dict[str, Any]


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

        return eventually(look, "end of the head", 60)

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

    def lose_host(self, job_id: str) -> None:
        """Take a job's machine away."""
        state = self.laptop.state
        request = urllib.request.Request(
            f"{state.aws_url}/laptop/batch/{job_id}/lose-host",
            headers={"Authorization": f"Bearer {state.aws_secret}"},
            method="POST",
        )
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 204

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


def retry(build: Running, key: str) -> None:
    """Press the button at the newest job of a step."""
    job = build.jobs(key)[-1]
    build.laptop.client.put(f"{build.path}/jobs/{job['id']}/retry", {})


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
