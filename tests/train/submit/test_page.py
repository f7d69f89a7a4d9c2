"""The annotation of the train step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from modelbuild.aws.batch.jobs import BatchJob
from modelbuild.errors import TrainingFailed
from modelbuild.store.attempts import JobRecord
from modelbuild.train.head.stage import Stage
from modelbuild.train.submit import follow, page
from train_step import BUCKET, Build, put_result


def test_retried_step_leaves_the_result_on_the_page(build: Build, agent: Any) -> None:
    """Once the build knows the result, a head that is still about to end does not bring "training" back."""
    build.train()
    agent.meta_data |= {"training/status": "succeeded"}
    build.train()
    assert len(agent.annotations) == 1


@pytest.mark.parametrize(("status", "code"), [("failed", 13), ("cancelled", 143)])
def test_failure_that_a_step_waited_for_is_on_the_page(
    build: Build, agent: Any, monkeypatch: pytest.MonkeyPatch, status: str, code: int
) -> None:
    """A step that waits fails before what is behind it is reached: it says itself how the training ended."""
    monkeypatch.setattr(follow, "LOOK_SECONDS", 0.1)
    monkeypatch.setattr(follow, "_LAST_LINES_SECONDS", 0.0)
    put_result(build, "result.json", status, "step train failed: ValueError: <no> rows")
    with pytest.raises((TrainingFailed, SystemExit)) as caught:
        build.train(wait=True)
    assert (getattr(caught.value, "exit_code", None) or getattr(caught.value, "code", None)) == code
    during, after = agent.annotations
    assert [during.style, after.style] == ["info", "error"]
    assert "The step waits for it." in during.body
    assert "step train failed: ValueError: &lt;no&gt; rows" in after.body
    assert agent.meta_data["train/job/url"].replace("&", "&amp;") in after.body


def test_annotation_escapes_what_people_write(request_for: Any) -> None:
    """Branch names and parameters are text on the build page, never markup, even after a blank line."""
    text = "</code><script>alert(1)</script>\n\n# A heading"
    request = request_for(f"{BUCKET}/models/demo/sentiment/7", parameters={"text": text})
    request = request.model_copy(update={"build": request.build.model_copy(update={"branch": "<img src=x>"})})
    links = {"job_url": "https://console.example/#job", "logs_url": "https://console.example/#logs"}
    job = BatchJob("an-id", "RUNNING", "", "", {})
    record = JobRecord(job_id="an-id", queue="modelbuild-head", region="us-east-1")
    repository = "git@github.com:your-org/your-repository.git"
    body = page.training(request, record, job, links, repository)
    assert "\n\n" not in body
    assert "# A heading" in body
    assert "<script" not in body
    assert "<img" not in body
    assert "&lt;img src=x&gt;" in body
    assert 'href="https://console.example/#job"' in body
    assert f'href="https://github.com/your-org/your-repository/commit/{request.build.commit}"' in body


STAGES = {
    "running": Stage(step="train", since="12:30:00", measured="step 200: loss 0.41, learning_rate 0.05"),
    "waiting": Stage(step="train", waits=True, since="12:30:00"),
    "sweeping": Stage(sweep="The sweep has run since 12:30 UTC: 120 candidates have been trained."),
}


@pytest.mark.parametrize("name", STAGES)
def test_running_training_says_where_it_is(
    request_for: Any, golden: Callable[[str, str], None], name: str
) -> None:
    """The whole annotation of a training that runs: its step, since when and what it measured; that its step
    has no machine yet; or how far its sweep is.
    """
    request = request_for(f"{BUCKET}/models/demo/sentiment/7")
    links = {"job_url": "https://console.example/#job", "logs_url": "https://console.example/#logs"}
    job = BatchJob("an-id", "RUNNING", "", "", {})
    record = JobRecord(job_id="an-id", queue="modelbuild-head", region="us-east-1")
    golden(f"{name}.md", page.training(request, record, job, links, "", stage=STAGES[name]))
