"""What Batch lists, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from batch_jobs import sh


def test_list_jobs_by_status_and_name(cloud: Any) -> None:
    """ListJobs shows one state, RUNNING where none is named; a name filter shows every state."""
    cloud.define("listed", sh("true"))
    for name in ("list-a", "list-b"):
        cloud.ended(cloud.submit("listed", queue="other", name=name))
    batch = cloud.client("batch")

    def names(**options: Any) -> set[str]:
        return {job["jobName"] for job in batch.list_jobs(jobQueue="other", **options)["jobSummaryList"]}

    assert names() == set()
    assert {"list-a", "list-b"} <= names(jobStatus="SUCCEEDED")
    assert names(filters=[{"name": "JOB_NAME", "values": ["LIST-A"]}]) == {"list-a"}
    assert names(filters=[{"name": "JOB_NAME", "values": ["list-*"]}]) == {"list-a", "list-b"}


@pytest.mark.parametrize(
    "options",
    [
        {"jobQueue": "nowhere"},
        {"jobDefinition": "nothing"},
        {"jobName": "not a name"},
        {"dependsOn": [{"jobId": "nobody"}]},
        {"arrayProperties": {"size": 1}},
    ],
)
def test_impossible_submissions_are_refused(cloud: Any, options: dict[str, Any]) -> None:
    """SubmitJob refuses at once what could never run."""
    cloud.define("refused", sh("true"))
    batch = cloud.client("batch")
    with pytest.raises(batch.exceptions.ClientException):
        batch.submit_job(**{"jobName": "n", "jobQueue": "work", "jobDefinition": "refused", **options})
