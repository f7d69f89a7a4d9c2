from __future__ import annotations

import pytest

from modelbuild.aws.storage import NotFound
from modelbuild.contract import StepEnvironment, TrainingRequest
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.flow.training import main, prefix, require_request, steps
from modelbuild.store.model import ModelStore


def test_a_build_writes_to_its_own_prefix() -> None:
    """The prefix is the request's, to which retries and the head come back."""
    assert (
        prefix(StepEnvironment(model_id="12", artifacts="s3://bucket/models/p/m/12"), "7")
        == "s3://bucket/models/p/m/12"
    )


def test_a_flow_on_its_own_starts_afresh() -> None:
    """Each run writes to a folder of its own, so that nothing of an earlier run is taken for its own."""
    assert prefix(StepEnvironment(artifacts="s3://bucket/scratch/ada/"), "7") == "s3://bucket/scratch/ada/7"


def test_a_flow_on_its_own_may_write_nowhere() -> None:
    """Without ARTIFACTS a flow that needs none leaves its model with Metaflow only."""
    assert prefix(StepEnvironment(), "7") == ""


@pytest.mark.parametrize(
    ("variables", "message"), [({"MODEL_ID": "12"}, "is not set"), ({"ARTIFACTS": "/tmp"}, "is '/tmp'")]
)
def test_missing_or_wrong_artifacts_is_an_error(variables: dict[str, str], message: str) -> None:
    """A missing or wrong place is one sentence with an example."""
    with pytest.raises(ConfigurationError, match=f"ARTIFACTS {message}.*s3://bucket/scratch/you"):
        prefix(StepEnvironment.read(variables), "7")


def test_reads_what_the_build_asked_for(store: ModelStore, asked: TrainingRequest) -> None:
    """The request comes back as it was written."""
    store.write_request_once(asked)
    assert require_request(store, {"seed": 1}) == asked


def test_refuses_other_parameters_than_were_asked_for(store: ModelStore, asked: TrainingRequest) -> None:
    """A model is never published under parameters that did not make it."""
    store.write_request_once(asked)
    with pytest.raises(VerificationFailed, match="The flow runs with parameters"):
        require_request(store, {"seed": 2})


def test_refuses_what_is_no_request(store: ModelStore) -> None:
    """A missing request and an unreadable request have different errors."""
    with pytest.raises(NotFound):
        require_request(store, {})
    store.objects.write(store.request_uri, b"{}")
    with pytest.raises(VerificationFailed, match="is not a training request"):
        require_request(store, {})


def test_a_step_does_not_replace_a_method_of_the_base(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step named as a method or attribute of the base is a sentence; other steps are those of the flow."""

    class Base:
        evaluation: int

        def timed(self) -> None:
            """A method."""

    def step(name: str) -> type:
        def run(self: object) -> None:
            """A step."""

        run.is_step = True  # type: ignore[attr-defined]
        return type("Flow", (Base,), {name: run})

    monkeypatch.setattr("sys.argv", ["flow.py", "run"])
    with pytest.raises(SystemExit) as exit:
        main(step("timed"))
    assert exit.value.code == ConfigurationError.exit_code
    assert (
        "step timed has the name of a method of Base: give the step another name" in capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        main(step("evaluation"))
    assert "step evaluation has the name of an attribute of Base" in capsys.readouterr().err
    main(step("train"))


def test_a_parameter_file_is_no_step() -> None:
    """Metaflow's Config answers each name, also that by which steps are known."""

    class Config:
        def __getattr__(self, name: str) -> object:
            return self

    assert steps(type("Flow", (), {"config": Config()})) == []
