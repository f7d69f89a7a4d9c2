from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import samples
import trained
from modelbuild.aws.storage import NotFound, Storage
from modelbuild.contract import Failure, Manifest, Report, TrainingResult, attempt_prefix
from modelbuild.errors import (
    ConfigurationError,
    GateFailed,
    ModelbuildError,
    TrainingFailed,
    VerificationFailed,
)
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
    noted = samples.noted(manifest.request)
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
    noted = samples.noted(manifest.request)
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
    about = {**samples.noted(manifest.request), "train/attempt": "2"}
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
    agent.meta_data = {**result.to_fields(), **samples.noted(manifest.request), key: value}
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
    agent.meta_data = {**result.to_fields(), **samples.noted(manifest.request), "model/image": "team/other:1"}
    agent.refuse("annotate")
    with pytest.raises(VerificationFailed, match="model/image is "):
        notify(environ)
    assert "the page does not show why the model was refused: 'buildkite-agent" in capsys.readouterr().err


def test_what_is_no_manifest_is_refused(
    agent: Any, storage: Storage, manifest: Manifest, result: TrainingResult, environ: Mapping[str, str]
) -> None:
    """A missing manifest and a document of another kind are each a sentence with the place."""
    agent.meta_data = {**result.to_fields(), **samples.noted(manifest.request)}
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


class Notifier:
    """The pipeline "comments" with both accounts on the stand-in: build 12 is trained, build 11 is live."""

    def __init__(self, agent: Any, storage: Storage, environ: Mapping[str, str]) -> None:
        self.agent, self._storage, self._environ = agent, storage, environ
        truth = trained.truth_of(400)
        live = trained.evaluated(truth, trained.guesses(truth, 0.9, 1))
        trained.deploy(storage, storage, trained.store_model(storage, 11, live), root=self.production)
        worse = trained.evaluated(truth, trained.guesses(truth, 0.6, 2))
        self.manifest = trained.store_model(storage, 12, worse)

    production = f"{trained.LAKE}/production"
    """A prefix of the same bucket, in place of production's own."""

    def run(self, **options: Any) -> None:
        """Run the plugin with these options in build 12."""
        request = self.manifest.request
        result = trained.result_of(self.manifest)
        self.agent.meta_data = {**self.agent.meta_data, **result.to_fields(), **samples.noted(request)}
        compared: Any = {"endpoint": "sentiment", "artifacts": self.production}
        settings = NotifySettings.from_options({"compare-with": compared, **options})
        command.run(settings, {**self._environ, "BUILDKITE_COMMIT": request.build.commit, **BUILD_12})

    def stored(self, name: str) -> bytes:
        """A file beside the manifest."""
        return self._storage.read(f"{self.manifest.request.artifacts}/{name}")


BUILD_12 = {"BUILDKITE_ORGANIZATION_SLUG": "local", "BUILDKITE_BUILD_ID": "0190-12"}


@pytest.fixture
def notifier(agent: Any, storage: Storage, environ: Mapping[str, str]) -> Notifier:
    """A worse model than the live one."""
    return Notifier(agent, storage, environ)


def test_a_report_is_on_the_page_in_s3_and_among_the_artifacts(notifier: Notifier) -> None:
    """One run gives the annotation, its pictures and documents, the files beside the manifest, and figures
    for conditions.
    """
    notifier.run()
    [(context, style, body)] = notifier.agent.annotations
    assert (context, style) == ("training", "error")
    assert "Worse than the live model sentiment 11: macro-F1" in body
    report = Report.model_validate_json(notifier.stored("report.json"))
    assert report.verdict.outcome == "worse"
    assert notifier.stored("report.html").startswith(b"<!doctype html>")
    artifacts = notifier.agent.artifacts
    assert artifacts["report/sentiment-12/report.html"] == notifier.stored("report.html")
    shown = re.findall(r'artifact://([^"]+)', body)
    assert shown
    assert set(shown) <= set(artifacts)
    assert notifier.agent.meta_data["modelbuild/verdict"] == "worse"
    accuracy = report.manifest.evaluation.overall.metrics["accuracy"]
    assert float(notifier.agent.meta_data["modelbuild/metric/accuracy"]) == accuracy


def test_a_gate_that_is_not_met_fails_the_step_after_the_page_is_shown(notifier: Notifier) -> None:
    """The pipeline stops before a person is asked, and the page says why."""
    with pytest.raises(GateFailed, match=r"does not meet the gates of this pipeline \(macro-F1\)"):
        notifier.run(gates=[{"metric": "macro_f1", "minimum": 0.99}])
    assert "Not met: the gate for macro-F1." in notifier.agent.annotations[-1].body
    assert notifier.agent.meta_data["notify/gates/failed"] == "macro-F1"


def test_what_is_pinned_for_deploy_was_shown_and_its_gates_are_noted(
    notifier: Notifier, tmp_path: Path
) -> None:
    """A step that ends before leaves nothing that could be deployed without its gates; a retry pins it."""
    template = tmp_path / "page.html.j2"
    template.write_text("{{ report.nothing }}")
    gates = [{"metric": "macro_f1", "minimum": 0.99}]
    with pytest.raises(ConfigurationError, match="has no attribute 'nothing'"):
        notifier.run(gates=gates, template=str(template), **{"on-failure": "block"})
    assert not {"notify/manifest/sha256", "notify/model/sha256"} & notifier.agent.meta_data.keys()
    notifier.run(gates=gates, **{"on-failure": "block"})
    calls = [" ".join(argv[:3]) for argv, _ in notifier.agent.calls]
    pinned = calls.index("meta-data set notify/manifest/sha256")
    shown = calls.index("annotate --context training")
    assert calls.index("meta-data set notify/gates/failed") < shown < pinned


@pytest.mark.parametrize("field", ["decision", "reason", "candidate"])
def test_a_decision_that_a_build_was_made_with_is_refused(notifier: Notifier, field: str) -> None:
    """Meta-data of a new build would replace what the approver decides on the page, in the approver's name;
    what was decided after the page was shown is no reason to refuse a retried step.
    """
    key = f"deploy/sentiment/{field}"
    notifier.agent.meta_data = {key: "deploy"}
    with pytest.raises(VerificationFailed, match=f"meta-data {key} was set before this build showed a model"):
        notifier.run()
    assert f"meta-data {key} was set" in notifier.agent.annotations[-1].body
    assert "notify/manifest/sha256" not in notifier.agent.meta_data
    notifier.agent.meta_data = {}
    notifier.run()
    notifier.agent.meta_data = {**notifier.agent.meta_data, key: "deploy"}
    notifier.run()
    assert notifier.agent.annotations[-1].body.startswith("<h2>Worse than the live model")


def test_a_build_that_was_made_with_the_hash_of_its_model_has_shown_none(notifier: Notifier) -> None:
    """The same commit and rows may give the same model again, so its hash may be known before the build; the
    manifest has times, and its hash is not.
    """
    notifier.run()
    known = notifier.agent.meta_data["notify/model/sha256"]
    notifier.agent.meta_data = {"notify/model/sha256": known, "deploy/sentiment/decision": "deploy"}
    with pytest.raises(VerificationFailed, match="was set before this build showed a model"):
        notifier.run()


@pytest.mark.parametrize(("on_failure", "noted"), [("block", "macro-F1"), ("warn", None)])
def test_a_gate_may_block_deploy_or_only_warn(notifier: Notifier, on_failure: str, noted: str | None) -> None:
    """With block, deploy asks the approver for a reason; with warn, the page alone says it."""
    notifier.run(gates=[{"metric": "macro_f1", "minimum": 0.99}], **{"on-failure": on_failure})
    assert notifier.agent.meta_data.get("notify/gates/failed") == noted
    assert notifier.agent.annotations[-1].style == "error"


def test_a_retried_step_that_meets_its_gates_says_so(notifier: Notifier) -> None:
    """Meta-data cannot be deleted: a later success replaces the gates that were not met."""
    notifier.run(gates=[{"metric": "macro_f1", "minimum": 0.99}], **{"on-failure": "block"})
    notifier.run(gates=[{"metric": "macro_f1", "minimum": 0.1}], **{"on-failure": "block"})
    assert notifier.agent.meta_data["notify/gates/failed"] == "none"


def test_a_template_of_the_user_replaces_the_page(notifier: Notifier, tmp_path: Path) -> None:
    """Its values are escaped, its sandbox has no way to Python, and extra-body stands below it."""
    template = tmp_path / "page.html.j2"
    template.write_text("<p>{{ report.verdict.outcome }} {{ report.build.message }}</p>\n")
    notifier.run(template=str(template), **{"extra-body": "see the <wiki>\nor ask"})
    assert notifier.agent.annotations[-1].body == (
        "<p>worse Train on tweets as well&#10;&#10;They are &lt;short&gt; &amp; many.</p>\n"
        "<p>see the &lt;wiki&gt;<br>or ask</p>\n"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ report.nothing }}", "has no attribute 'nothing'"),
        ("{% if %}", "in line 1"),
        ("{{ report.__class__.__mro__ }}", "access to attribute '__class__' of 'Report' object is unsafe"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "maximum recursion depth exceeded"),
        ("{% for _ in range(2000) %}{{ 'x' * 999 }}{% endfor %}", "and Buildkite takes 1,048,576"),
    ],
)
def test_a_wrong_template_is_a_sentence(notifier: Notifier, tmp_path: Path, text: str, message: str) -> None:
    """An error names the template and what is wrong with it."""
    template = tmp_path / "page.html.j2"
    template.write_text(text)
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        notifier.run(template=str(template))


def test_another_context_replaces_the_annotation_of_the_train_step(notifier: Notifier) -> None:
    """The page never shows a training that ended as running beside its report."""
    notifier.run(context="decision")
    assert [annotation.context for annotation in notifier.agent.annotations] == ["decision"]
    assert (["annotation", "remove", "--context", "training"], "") in notifier.agent.calls


def test_with_soft_fail_a_failed_training_passes_and_deploy_refuses_it(
    agent: Any, environ: Mapping[str, str]
) -> None:
    """The page is red all the same, and nothing is pinned that deploy could serve."""
    agent.meta_data = TrainingResult(status="failed", reason="no rows").to_fields()
    command.run(NotifySettings.from_options({"soft-fail": True}), environ)
    assert [style for _, style, _ in agent.annotations] == ["error"]
    assert "notify/model/sha256" not in agent.meta_data
