"""What notify is handed of a training: its result, its meta-data and its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import samples
from modelbuild.aws.storage import NotFound, Storage
from modelbuild.contract import Failure, Manifest, TrainingResult, attempt_prefix
from modelbuild.errors import ConfigurationError, ModelbuildError, TrainingFailed, VerificationFailed
from modelbuild.notify import command
from modelbuild.settings.notify import NotifySettings


def write(storage: Storage, manifest: Manifest) -> None:
    """The request and the manifest where step and training put them."""
    storage.write(f"{manifest.request.artifacts}/request.json", manifest.request.to_json().encode())
    storage.write(f"{manifest.request.artifacts}/manifest.json", manifest.to_json().encode())


def notify(environ: Mapping[str, str]) -> None:
    """The plugin without options."""
    command.run(NotifySettings(), environ)


def test_success_replaces_the_annotation_of_the_train_step(
    agent: Any, storage: Storage, manifest: Manifest, result: TrainingResult, environ: Mapping[str, str]
) -> None:
    """The context is the one that the train step annotated, so the page has one account of the training."""
    write(storage, manifest)
    noted = samples.train_step_meta_data(manifest.request)
    agent.meta_data = {**result.to_fields(), **noted, "train/logs/url": "https://logs.example/12"}
    notify(environ)
    [(context, style, body)] = agent.annotations
    assert (context, style) == ("training", "info")
    assert result.wandb_run_url in body
    assert "https://logs.example/12" in body


@pytest.mark.parametrize("attempt", [1, 2])
def test_the_end_of_the_log_is_on_the_page(
    agent: Any, storage: Storage, manifest: Manifest, environ: Mapping[str, str], attempt: int
) -> None:
    """What the head of the newest attempt saw of the flow is shown; what cannot be read costs no page."""
    result = TrainingResult(status="failed", reason="step train failed: boom")
    failure = Failure(step="train", reason="step train failed: boom", log=("Epoch 3", "boom"))
    here = attempt_prefix(manifest.request.artifacts, attempt)
    storage.write(f"{here}/result.json", result.to_json().encode())
    storage.write(f"{here}/failure.json", failure.to_json().encode())
    noted = samples.train_step_meta_data(manifest.request)
    agent.meta_data = {**result.to_fields(), **noted, "train/attempt": str(attempt)}
    with pytest.raises(TrainingFailed, match="boom"):
        notify(environ)
    assert "\n```term\nEpoch 3\nboom\n```\n" in agent.annotations[-1].body
    storage.write(f"{here}/failure.json", b"{}")
    with pytest.raises(TrainingFailed, match="boom"):
        notify(environ)
    assert "```" not in agent.annotations[-1].body
    assert "step train failed: boom" in agent.annotations[-1].body


@pytest.mark.parametrize("status", ["failed", "cancelled"])
def test_a_training_that_did_not_succeed_fails_the_step_with_its_reason(
    agent: Any, environ: Mapping[str, str], status: Any
) -> None:
    """The reason is in the error and on the page, and no AWS is needed to say it."""
    result = TrainingResult(status=status, reason="the parameter tau is 'x'")
    agent.meta_data = {**result.to_fields(), "train/logs/url": "https://logs.example/12"}
    with pytest.raises(TrainingFailed, match=r"the parameter tau is 'x'.*https://logs.example/12"):
        notify(environ)
    [(context, style, body)] = agent.annotations
    assert (context, style) == ("training", "error")
    assert "the parameter tau is &#39;x&#39;" in body
    assert 'href="https://logs.example/12"' in body


def test_a_later_attempt_says_how_the_training_ended(
    agent: Any, storage: Storage, manifest: Manifest, result: TrainingResult, environ: Mapping[str, str]
) -> None:
    """Fields of an unblocked step stay as they are: what a retried training made is read where it lies."""
    write(storage, manifest)
    artifacts = manifest.request.artifacts
    failed = TrainingResult(status="failed", reason="no rows")
    about = {**samples.train_step_meta_data(manifest.request), "train/attempt": "2"}
    agent.meta_data = {**failed.to_fields(), **about}
    with pytest.raises(TrainingFailed, match="attempt 2 of the training has not ended yet: retry this step"):
        notify(environ)
    storage.write(f"{artifacts}/attempts/2/result.json", b"{}")
    with pytest.raises(VerificationFailed, match="is not a training result of this version"):
        notify(environ)
    storage.write(f"{artifacts}/attempts/2/result.json", failed.to_json().encode())
    with pytest.raises(TrainingFailed, match="no rows"):
        notify(environ)
    storage.write(f"{artifacts}/attempts/2/result.json", result.to_json().encode())
    notify(environ)
    assert agent.annotations[-1][1] == "info"


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"train/attempt": "second"}, "train/attempt is 'second', which no train step sets"),
        ({"train/attempt": "9" * 5_000}, "train/attempt is '999.*', which no train step sets"),
        ({"train/attempt": "2"}, "train/artifacts is not set"),
    ],
)
def test_meta_data_that_no_train_step_sets_is_a_sentence(
    agent: Any, storage: Storage, environ: Mapping[str, str], about: dict[str, str], message: str
) -> None:
    """A value that a person set by hand is named in an error, not a crash."""
    assert storage
    agent.meta_data = about
    with pytest.raises(ConfigurationError, match=message):
        notify(environ)


@pytest.mark.parametrize("fields", [{}, {"training/status": ""}, {"training/status": " "}])
def test_a_step_that_was_unblocked_by_hand_never_turns_green(
    agent: Any, environ: Mapping[str, str], fields: dict[str, str]
) -> None:
    """A missing status is an error: it is not known how the training ended."""
    agent.meta_data = fields
    with pytest.raises(TrainingFailed, match=r"training/status is empty.*start a new build"):
        notify(environ)
    assert agent.annotations == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training/status", "green"),
        ("model/env", "not JSON"),
        ("model/env", "[" * 100_000),
        ("train/attempt", "1" * 5_000),
        ("model/env", '["MODEL_ID"]'),
        ("model/manifest", ""),
        ("model/data/sha256", ""),
    ],
)
def test_a_field_that_no_training_writes_is_named(
    agent: Any, result: TrainingResult, environ: Mapping[str, str], key: str, value: str
) -> None:
    """A person may type anything into a block step; the message says which field it was."""
    agent.meta_data = {**result.to_fields(), key: value}
    with pytest.raises(ConfigurationError, match=f"meta-data {key} is "):
        notify(environ)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model/data/sha256", "0" * 64),
        ("model/data/path", "s3://elsewhere/model.tar.gz"),
        ("model/image", "team/other:1"),
        ("model/env", '{"MODEL_ID": "13"}'),
    ],
)
def test_fields_that_contradict_the_manifest_are_refused(
    agent: Any,
    storage: Storage,
    manifest: Manifest,
    result: TrainingResult,
    environ: Mapping[str, str],
    key: str,
    value: str,
) -> None:
    """What a person is shown must be what a deployment would serve."""
    write(storage, manifest)
    agent.meta_data = {**result.to_fields(), **samples.train_step_meta_data(manifest.request), key: value}
    with pytest.raises(VerificationFailed, match=f"{key} is "):
        notify(environ)
    [(context, style, body)] = agent.annotations
    assert (context, style) == ("training", "error")
    assert f"{key} is " in body


def test_a_page_that_cannot_be_written_hides_no_refusal(
    agent: Any,
    storage: Storage,
    manifest: Manifest,
    result: TrainingResult,
    environ: Mapping[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where the agent fails, the step still ends with why the model was refused."""
    write(storage, manifest)
    agent.meta_data = {
        **result.to_fields(),
        **samples.train_step_meta_data(manifest.request),
        "model/image": "team/other:1",
    }
    agent.refuse("annotate")
    with pytest.raises(VerificationFailed, match="model/image is "):
        notify(environ)
    assert "the page does not show why the model was refused: 'buildkite-agent" in capsys.readouterr().err


def test_what_is_no_manifest_is_refused(
    agent: Any, storage: Storage, manifest: Manifest, result: TrainingResult, environ: Mapping[str, str]
) -> None:
    """A missing manifest and a document of another kind are each a sentence with the place."""
    agent.meta_data = {**result.to_fields(), **samples.train_step_meta_data(manifest.request)}
    storage.write(f"{manifest.request.artifacts}/request.json", manifest.request.to_json().encode())
    with pytest.raises(NotFound, match=result.manifest):
        notify(environ)
    storage.write(result.manifest, b'{"version": 2}')
    with pytest.raises(VerificationFailed, match=f"{result.manifest} is not a manifest"):
        notify(environ)


def test_outside_of_a_job_the_message_says_so(
    agent: Any, storage: Storage, manifest: Manifest, result: TrainingResult
) -> None:
    """A person who runs the command by hand learns what is missing."""
    write(storage, manifest)
    agent.meta_data = result.to_fields()
    with pytest.raises(ModelbuildError, match="BUILDKITE_ORGANIZATION_SLUG is not set"):
        notify({})


def test_with_soft_fail_a_failed_training_passes_and_deploy_refuses_it(
    agent: Any, environ: Mapping[str, str]
) -> None:
    """The page is red all the same, and nothing is pinned that deploy could serve."""
    agent.meta_data = TrainingResult(status="failed", reason="no rows").to_fields()
    command.run(NotifySettings.from_options({"soft-fail": True}), environ)
    assert [style for _, style, _ in agent.annotations] == ["error"]
    assert "notify/model/sha256" not in agent.meta_data
