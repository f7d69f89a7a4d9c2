"""``matrix`` and ``parallelism``: one step as many jobs."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from modelbuild_local.buildkite import agents
from modelbuild_local.buildkite.environment import job_environment
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.pipeline.reader import PipelineError, parse_pipeline
from modelbuild_local.buildkite.state import Build

SETUP = {"os": ["linux", "windows"], "arch": ["amd64", "arm64"]}


def labels(build: Build) -> list[str]:
    """The labels of the steps that run."""
    return [step.definition.label for step in build.steps if not step.omitted]


def environment(job: Any) -> dict[str, str]:
    """The environment of a job that an agent runs."""
    return job_environment(job, job.step.definition, job.agent, "local", "http://page")


def test_a_matrix_makes_a_job_of_each_element(bench: Any) -> None:
    """``{{matrix}}`` stands for the element in command, label, env, plugins and agents."""
    step = {
        "label": "{{matrix}} build",
        "command": "GOOS={{ matrix }} go build",
        "env": {"OS": "{{matrix}}"},
        "agents": {"os": "{{matrix}}"},
        "plugins": [{"docker#v5": {"image": "{{matrix}}", "volumes": ["/{{matrix}}"]}}],
        "matrix": ["darwin", 7, True],
    }
    build = bench.build([step])
    assert labels(build) == ["darwin build", "7 build", "true build"]
    job = bench.begin(bench.agent("os=7"))
    env = environment(job)
    assert (env["OS"], env["BUILDKITE_COMMAND"]) == ("7", "GOOS=7 go build")
    assert '{"image": "7", "volumes": ["/7"]}' in env["BUILDKITE_PLUGINS"]


def test_dimensions_are_multiplied(bench: Any) -> None:
    """Each dimension is multiplied by the others; keys and ids are the step's own."""
    build = bench.build(
        [{"key": "k", "command": "x", "label": "{{matrix.os}} {{matrix.arch}}", "matrix": {"setup": SETUP}}]
    )
    assert labels(build) == ["linux amd64", "linux arm64", "windows amd64", "windows arm64"]
    assert {step.key for step in build.steps} == {"k"}
    assert len({step.id for step in build.steps}) == 1
    assert build.steps[1].matrix == {"os": "linux", "arch": "arm64"}


def test_adjustments_skip_excuse_and_add(bench: Any) -> None:
    """An adjustment leaves a combination out, lets it fail softly, or adds one."""
    adjustments = [
        {"with": {"os": "windows", "arch": "arm64"}, "skip": True},
        {"with": {"os": "windows", "arch": "amd64"}, "soft_fail": True},
        {"with": {"os": "plan9", "arch": "arm64"}},
    ]
    matrix = {"setup": SETUP, "adjustments": adjustments}
    build = bench.build([{"label": "{{matrix.os}}-{{matrix.arch}}", "command": "x", "matrix": matrix}])
    assert labels(build) == ["linux-amd64", "linux-arm64", "windows-amd64", "plan9-arm64"]
    assert bench.drain(bench.agent(), {"windows-amd64": 1}) == labels(build)
    assert build.state == "passed"


@pytest.mark.parametrize("combination", ["c", ["c"]])
def test_a_matrix_of_one_dimension_has_adjustments_too(bench: Any, combination: object) -> None:
    """``with`` of a matrix whose dimension has no name is one value, alone or in a list."""
    matrix = {"setup": ["a", "b"], "adjustments": [{"with": combination}, {"with": "a", "skip": "no"}]}
    build = bench.build([{"label": "{{matrix}}", "command": "x", "matrix": matrix}])
    assert labels(build) == ["b", "c"]


def test_parallel_jobs_know_their_number(bench: Any) -> None:
    """``parallelism`` makes numbered jobs; ``%n``, ``%N`` and ``%t`` in the label are number and total."""
    build = bench.build([{"command": "x", "label": "%n: %N/%t", "parallelism": 3}])
    assert labels(build) == ["0: 1/3", "1: 2/3", "2: 3/3"]
    jobs = [bench.begin(bench.agent()) for _ in range(3)]
    numbers = [
        (environment(job)["BUILDKITE_PARALLEL_JOB"], environment(job)["BUILDKITE_PARALLEL_JOB_COUNT"])
        for job in jobs
    ]
    assert numbers == [("0", "3"), ("1", "3"), ("2", "3")]


@pytest.mark.parametrize("many", [{"parallelism": 2}, {"matrix": ["x", "y"]}])
def test_a_dependency_is_on_all_jobs_of_a_step(bench: Any, many: dict[str, object]) -> None:
    """A step that depends on a step with several jobs waits for each, also for what each uploads."""
    build = bench.build(
        [{"command": "b", "key": "b", "depends_on": "a"}, {"command": "a", "key": "a", **many}]
    )
    agent = bench.agent()
    assert bench.run(agent) == "a"
    job = bench.begin(agent)
    bench.engine.upload(job, "1", {"steps": [{"command": "c", "key": "c"}]})
    agents.finish(bench.engine, job, 0, "", "")
    assert bench.drain(agent) == ["c", "b"]
    assert build.state == "passed"


def test_jobs_of_a_step_are_retried_each_for_itself(bench: Any) -> None:
    """A retry is of one job: its number stays, and the others' retries do not count."""
    retry = {"automatic": {"exit_status": 1, "limit": 1}}
    build = bench.build([{"command": "x", "parallelism": 2, "retry": retry}])
    agent = bench.agent()
    for _ in range(4):
        bench.run(agent, 1)
    assert len(build.jobs) == 4
    assert [step.job.exit_status for step in build.steps] == [1, 1]
    assert build.state == "failed"


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"matrix": ["a"], "parallelism": 2}, "cannot be used on the same step"),
        ({"matrix": {"setup": {str(n): ["x"] for n in range(7)}}}, "1 to 6 dimensions"),
        ({"matrix": [str(n) for n in range(26)]}, "over 25 elements"),
        ({"matrix": {"setup": {"node-version": ["20"]}}}, "dimension 'node-version'"),
        ({"matrix": ["x" * 129]}, "over 128 bytes"),
        ({"matrix": {"setup": {"a": list(range(8)), "b": list(range(8))}}}, "1 to 50 jobs, not 64"),
        ({"matrix": []}, "1 to 50 jobs, not 0"),
        ({"matrix": {"setup": SETUP, "adjustments": [{"with": {"os": "x"}}]}}, "must give: os, arch"),
        ({"matrix": {"setup": ["a"], "adjustments": [{"with": str(n)} for n in range(13)]}}, "adjustments"),
        ({"matrix": {"setup": ["a"], "more": 1}}, "matrix.more"),
        ({"parallelism": 0}, "parallelism"),
    ],
)
def test_limits_of_a_matrix(step: dict[str, object], message: str) -> None:
    """Six dimensions, 25 elements of 128 bytes, 12 adjustments, 50 jobs; and no parallelism beside it."""
    with pytest.raises(PipelineError, match=message):
        parse_pipeline([{"command": "x", "key": "k", **step}])


def test_the_jobs_of_a_matrix_are_counted_before_they_are_made() -> None:
    """A matrix with far too many combinations is refused at once, in little memory."""
    step = {"command": "x", "matrix": {"setup": {str(n): list(range(25)) for n in range(3)}}}
    tracemalloc.start()
    try:
        with pytest.raises(PipelineError, match="1 to 50 jobs, not 15625"):
            parse_pipeline([step])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_unknown_dimension_is_refused(bench: Any) -> None:
    """A name in ``{{matrix.name}}`` that is no dimension is refused with the step."""
    with pytest.raises(Refused, match=r"step 'k': \{\{matrix.cpu\}\} is not a dimension"):
        bench.build([{"command": "{{matrix.cpu}}", "key": "k", "matrix": {"setup": SETUP}}])


def test_an_upload_makes_500_jobs_at_most(bench: Any) -> None:
    """Parallel jobs count each for the limit of an upload."""
    with pytest.raises(Refused, match="501 jobs"):
        bench.build([{"command": "x", "parallelism": 501}])


def test_a_job_knows_the_tags_of_its_agent(bench: Any) -> None:
    """Each tag of the agent is a variable of the job, in capitals."""
    bench.build([{"command": "x", "agents": {"gpu": "a100"}}])
    env = environment(bench.begin(bench.agent("queue=default", "gpu=a100", "cuda-driver=580", "fast")))
    names = ("QUEUE", "GPU", "CUDA_DRIVER", "FAST")
    assert [env[f"BUILDKITE_AGENT_META_DATA_{name}"] for name in names] == ["default", "a100", "580", "true"]
