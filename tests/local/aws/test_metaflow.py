"""Real Metaflow against the stand-in."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import flow_files
from waiting import SECONDS


def test_batch_step_of_a_flow(cloud: Any, tmp_path: Path) -> None:
    """A step decorated with @batch runs as a job, its artifacts reach the next step through S3."""
    shutil.copytree(flow_files.FOLDER / "on_batch", tmp_path / "flow")
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
        [sys.executable, "flow.py", "--no-pylint", "run"],
        cwd=tmp_path / "flow",
        env=environment,
        capture_output=True,
        text=True,
        timeout=3 * SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    listed = cloud.client("batch").list_jobs(jobQueue="work", jobStatus="SUCCEEDED")["jobSummaryList"]
    [job_id] = [job["jobId"] for job in listed if "TwoFlow" in job["jobName"]]
    assert f"{job_id} says 42" in done.stdout
    assert cloud.job(job_id)["container"]["exitCode"] == 0
