from __future__ import annotations

import pytest
from pydantic import ValidationError

from modelbuild.aws.batch.jobs import BatchJob
from modelbuild.buildkite import job
from modelbuild.contract import HeadEnvironment, StepEnvironment, Variables
from modelbuild.errors import ConfigurationError, variable_error
from modelbuild.train.attempts.attempt import head_environment

HEAD = {
    "ARTIFACTS": "s3://bucket/models/demo/sentiment/7",
    "ATTEMPT": "2",
    "SCHEDULE_TIMEOUT": "600",
    "METAFLOW_USER": "modelbuild",
    "METAFLOW_BATCH_JOB_QUEUE": "modelbuild-default",
    "GPU_JOB_QUEUE": "modelbuild-gpu",
    "AWS_BATCH_JOB_ID": "a-job",
    "PATH": "/bin",
}


def test_a_head_reads_its_variables_once() -> None:
    """Each value has a type, and other variables of the process are no part of it."""
    assert HeadEnvironment.read(HEAD) == HeadEnvironment(
        artifacts="s3://bucket/models/demo/sentiment/7",
        attempt=2,
        schedule_timeout=600.0,
        user="modelbuild",
        queue="modelbuild-default",
        gpu_queue="modelbuild-gpu",
        job_id="a-job",
    )


@pytest.mark.parametrize("name", sorted(HEAD.keys() - {"ARTIFACTS", "PATH"}))
def test_an_empty_variable_is_one_that_is_not_set(name: str) -> None:
    """Batch and a shell cannot unset what a definition sets; they can empty it."""
    unset = {key: value for key, value in HEAD.items() if key != name}
    assert HeadEnvironment.read({**HEAD, name: ""}) == HeadEnvironment.read(unset)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ARTIFACTS": ""}, "ARTIFACTS is not set: do this"),
        ({"ARTIFACTS": "secret-hunter2"}, r"ARTIFACTS is wrong \(String should match pattern .*\): do this"),
        ({"ATTEMPT": "hunter2"}, r"ATTEMPT is wrong \(Input should be a valid integer.*\): do this"),
        ({"ATTEMPT": "0"}, r"ATTEMPT is wrong \(Input should be greater than or equal to 1\): do this"),
    ],
)
def test_a_wrong_variable_is_named_without_its_value(variables: dict[str, str], message: str) -> None:
    """The sentence has the variable's name and the fix; the value may be a secret."""
    with pytest.raises(ValidationError) as caught:
        HeadEnvironment.read({**HEAD, **variables})
    error = variable_error(caught.value, "do this")
    with pytest.raises(ConfigurationError, match=f"^{message}$"):
        raise error
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    "variables", [{}, {"ARTIFACTS": "not a place"}, {**HEAD, "ATTEMPT": "first"}, {"ARTIFACTS": ""}]
)
def test_a_job_with_other_variables_is_no_head(variables: dict[str, str]) -> None:
    """Whatever a foreign job of the heads' queue has as its variables, it is left alone."""
    assert head_environment(BatchJob("j", "RUNNABLE", "", "", variables)) is None


@pytest.mark.parametrize(
    "name",
    [
        "BUILDKITE_ORGANIZATION_SLUG",
        "BUILDKITE_PIPELINE_SLUG",
        "BUILDKITE_BUILD_NUMBER",
        "BUILDKITE_BUILD_ID",
        "BUILDKITE_BUILD_URL",
        "BUILDKITE_COMMIT",
        "BUILDKITE_BRANCH",
    ],
)
def test_outside_of_a_job_the_missing_variable_is_named(name: str) -> None:
    """A plugin's command that a person runs in a shell says what it misses before it does anything."""
    own = {
        field.alias: "1"
        for field in job.JobEnvironment.model_fields.values()
        if field.alias not in (None, name)
    }
    with pytest.raises(
        ConfigurationError, match=f"{name} is not set: run this in a job of a Buildkite agent"
    ):
        job.read({str(key): value for key, value in own.items()})


@pytest.mark.parametrize(
    ("queue", "gpu_queue", "on_gpu"),
    [
        ("gpu", "gpu", True),
        ("gpu", "arn:aws:batch:us-east-1:123456789012:job-queue/gpu", True),
        ("default", "gpu", False),
        ("", "", False),
    ],
)
def test_a_step_knows_whether_it_is_on_the_gpu_queue(queue: str, gpu_queue: str, on_gpu: bool) -> None:
    """Batch names the queue of a job by its name, the stack perhaps by its ARN."""
    own = StepEnvironment.read({"AWS_BATCH_JQ_NAME": queue, "GPU_JOB_QUEUE": gpu_queue})
    assert own.runs_on_gpu_queue is on_gpu


@pytest.mark.parametrize("kind", Variables.__subclasses__())
def test_every_class_of_variables_names_each(kind: type[Variables]) -> None:
    """A field without the name of a variable could never be read."""
    assert all(field.alias and field.alias.isupper() for field in kind.model_fields.values())
