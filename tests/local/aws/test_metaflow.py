"""Real Metaflow against the stand-in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

FLOW = """
import os

from metaflow import FlowSpec, batch, step


class TwoFlow(FlowSpec):
    @batch(image="registry.example/team/step:1", cpu=1, memory=512)
    @step
    def start(self):
        self.job = os.environ["AWS_BATCH_JOB_ID"]
        self.answer = 42
        self.next(self.end)

    @step
    def end(self):
        print(f"{self.job} says {self.answer}")


if __name__ == "__main__":
    TwoFlow()
"""


def test_batch_step_of_a_flow(cloud: Any, tmp_path: Path) -> None:
    """A step decorated with @batch runs as a job, its artifacts reach the next step through S3."""
    (tmp_path / "flow").mkdir()
    (tmp_path / "flow" / "two.py").write_text(FLOW, encoding="utf-8")
    cloud.client("s3").create_bucket(Bucket="metaflow")
    environment = {
        **cloud.environment(),
        "HOME": str(tmp_path),
        "METAFLOW_HOME": str(tmp_path / "home"),
        "METAFLOW_USER": "test",
        "METAFLOW_DEFAULT_DATASTORE": "s3",
        "METAFLOW_DEFAULT_METADATA": "local",
        "METAFLOW_DATASTORE_SYSROOT_S3": "s3://metaflow/root",
        "METAFLOW_S3_WORKER_COUNT": "2",
        "METAFLOW_BATCH_JOB_QUEUE": "work",
        "METAFLOW_ECS_S3_ACCESS_IAM_ROLE": "arn:aws:iam::123456789012:role/job",
    }
    done = subprocess.run(
        [sys.executable, "two.py", "--no-pylint", "run"],
        cwd=tmp_path / "flow",
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    listed = cloud.client("batch").list_jobs(jobQueue="work", jobStatus="SUCCEEDED")["jobSummaryList"]
    [job_id] = [job["jobId"] for job in listed if "TwoFlow" in job["jobName"]]
    assert f"{job_id} says 42" in done.stdout
    assert cloud.job(job_id)["container"]["exitCode"] == 0
