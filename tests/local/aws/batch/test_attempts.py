"""How a job ends, and when it is tried again."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from batch_jobs import EXITED, Wait, sh
from standins import ADMINISTRATOR


def test_exit_code_and_overridden_command(cloud: Any) -> None:
    """The exit code is the program's; command, requirements and parameters can be overridden."""
    cloud.define("codes", sh("exit 3"), parameters={"word": "none"})
    assert cloud.ended(cloud.submit("codes"))["container"]["exitCode"] == 3
    job = cloud.ended(
        cloud.submit(
            "codes",
            parameters={"word": "said"},
            containerOverrides={
                "command": ["echo", "Ref::word"],
                "resourceRequirements": [{"type": "MEMORY", "value": "256"}],
            },
        )
    )
    assert (job["status"], cloud.log(job)) == ("SUCCEEDED", ["said"])
    assert {"type": "MEMORY", "value": "256"} in job["container"]["resourceRequirements"]


def test_retry_until_evaluate_on_exit_says_stop(cloud: Any) -> None:
    """SubmitJob's retry strategy counts, each attempt is listed with its own log, a rule ends it early."""
    cloud.define("again", sh("exit $((6 + AWS_BATCH_JOB_ATTEMPT))"), retryStrategy={"attempts": 1})
    strategy = {"attempts": 5, "evaluateOnExit": [{"onExitCode": "8", "action": "EXIT"}]}
    job = cloud.ended(cloud.submit("again", retryStrategy=strategy))
    assert [attempt["container"]["exitCode"] for attempt in job["attempts"]] == [7, 8]
    assert len({attempt["container"]["logStreamName"] for attempt in job["attempts"]}) == 2
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 8)


def test_retry_can_succeed(cloud: Any) -> None:
    """A later attempt that succeeds makes the job succeed."""
    job = cloud.run("lucky", sh("test $AWS_BATCH_JOB_ATTEMPT = 2"), retryStrategy={"attempts": 3})
    assert (job["status"], len(job["attempts"])) == ("SUCCEEDED", 2)


def test_lost_host_is_retried_as_the_strategy_says(cloud: Any, wait: Wait) -> None:
    """A job whose host goes away ends without SIGTERM or an exit code; evaluateOnExit sees the reason."""
    strategy = {
        "attempts": 3,
        "evaluateOnExit": [
            {"onStatusReason": "Host EC2*", "action": "RETRY"},
            {"onReason": "*", "action": "EXIT"},
        ],
    }
    script = "trap 'echo asked to end' TERM; echo attempt $AWS_BATCH_JOB_ATTEMPT; sleep 600"
    job_id = cloud.submit(
        cloud.define(
            "hosts", sh(f'[ "$AWS_BATCH_JOB_ATTEMPT" = 2 ] && exit 4; {script}'), retryStrategy=strategy
        )
    )

    def lose_host(job_id: str) -> int:
        request = urllib.request.Request(
            f"{cloud.url}/laptop/batch/{job_id}/lose-host", headers=ADMINISTRATOR, method="POST"
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    wait(lambda: cloud.job(job_id)["status"] == "RUNNING" and cloud.log(cloud.job(job_id)))
    assert lose_host(job_id) == 204
    job = cloud.ended(job_id)
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 4)
    first, second = job["attempts"]
    assert first["statusReason"].startswith("Host EC2 (instance i-")
    assert first["statusReason"].endswith(") terminated.")
    assert "exitCode" not in first["container"]
    assert second["statusReason"] == EXITED
    logged = cloud.client("logs").get_log_events(
        logGroupName="/aws/batch/job", logStreamName=first["container"]["logStreamName"]
    )["events"]
    assert [event["message"] for event in logged] == ["attempt 1"]
    assert lose_host(job_id) == lose_host("no-such-job") == 404


def test_timeout_ends_the_whole_group(cloud: Any, wait: Wait, alive: Callable[[str], bool]) -> None:
    """After its time a job gets SIGTERM, children included, and is not tried again."""
    cloud.define("slow", sh("sleep 60 & echo $!; wait"), timeout={"attemptDurationSeconds": 60})
    job = cloud.ended(
        cloud.submit("slow", timeout={"attemptDurationSeconds": 2}, retryStrategy={"attempts": 3})
    )
    assert (job["status"], job["statusReason"]) == ("FAILED", "Job attempt duration exceeded timeout")
    assert (job["container"]["exitCode"], len(job["attempts"])) == (143, 1)
    wait(lambda: not alive(cloud.log(job)[0]))


def test_log_is_live_and_terminate_gives_the_reason(cloud: Any, wait: Wait) -> None:
    """Lines can be read while the job runs; TerminateJob lets it clean up and becomes the reason."""
    command = "trap 'echo cleaned; exit 9' TERM; echo ready; while :; do sleep 0.05; done"
    job_id = cloud.submit(cloud.define("endless", sh(command)))
    wait(lambda: cloud.log(cloud.job(job_id)) == ["ready"])
    running = cloud.job(job_id)
    assert running["status"] == "RUNNING"
    assert "exitCode" not in running["container"]
    cloud.client("batch").cancel_job(jobId=job_id, reason="cancelling does nothing once it runs")
    cloud.client("batch").terminate_job(jobId=job_id, reason="Build 7 was cancelled.")
    job = cloud.ended(job_id)
    assert (job["status"], job["statusReason"]) == ("FAILED", "Build 7 was cancelled.")
    assert (job["isTerminated"], job["container"]["exitCode"]) == (True, 9)
    assert cloud.log(job)[-1] == "cleaned"
