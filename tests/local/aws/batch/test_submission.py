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
        {"containerOverrides": {"environment": [{"name": "A", "value": "x" * 8192}]}},
        {"containerOverrides": {"environment": [{"name": "AWS_BATCH_JOB_ID", "value": "x"}]}},
        {"dependsOn": [{"jobId": "nobody"}] * 21},
        {"tags": {f"tag-{number}": "x" for number in range(51)}},
    ],
)
def test_impossible_submissions_are_refused(cloud: Any, options: dict[str, Any]) -> None:
    """SubmitJob refuses at once what could never run."""
    cloud.define("refused", sh("true"))
    batch = cloud.client("batch")
    with pytest.raises(batch.exceptions.ClientException):
        batch.submit_job(**{"jobName": "n", "jobQueue": "work", "jobDefinition": "refused", **options})


def test_filtered_jobs_come_in_pages_of_the_newest_first(cloud: Any) -> None:
    """ListJobs with a filter has the newest jobs first, 100 in a page at most, and takes one filter."""
    cloud.define("paged", sh("true"))
    array = cloud.submit("paged", queue="other", name="paged-0", arrayProperties={"size": 101})
    jobs = [cloud.submit("paged", queue="other", name=f"paged-{number}") for number in (1, 2)]
    for job in (array, *jobs):
        cloud.ended(job)
    batch = cloud.client("batch")
    name = {"name": "JOB_NAME", "values": ["paged-*"]}
    first = batch.list_jobs(jobQueue="other", filters=[name], maxResults=2)
    assert [job["jobId"] for job in first["jobSummaryList"]] == [jobs[1], jobs[0]]
    rest = batch.list_jobs(jobQueue="other", filters=[name], nextToken=first["nextToken"])
    assert ([job["jobId"] for job in rest["jobSummaryList"]], "nextToken" in rest) == ([array], False)
    with pytest.raises(batch.exceptions.ClientException, match="one filter"):
        batch.list_jobs(jobQueue="other", filters=[name, name])
    with pytest.raises(batch.exceptions.ClientException, match="100 jobs"):
        batch.describe_jobs(jobs=[array] * 101)


def test_jobs_are_filtered_by_definition(cloud: Any) -> None:
    """The name of a definition stands for all of its revisions, an ARN for one; both are case-sensitive."""
    batch = cloud.client("batch")
    cloud.define("revised", sh("true"))
    first = cloud.submit("revised", queue="other")
    cloud.define("revised", sh("true"))
    second = cloud.submit("revised", queue="other")
    arn = cloud.job(first)["jobDefinition"]

    def found(value: str) -> list[str]:
        filters = [{"name": "JOB_DEFINITION", "values": [value]}]
        return [job["jobId"] for job in batch.list_jobs(jobQueue="other", filters=filters)["jobSummaryList"]]

    assert found("revised") == found("revis*") == [second, first]
    assert found(arn) == [first]
    assert found("Revised") == found("revise") == []
