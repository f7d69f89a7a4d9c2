"""What notify shows of a model, and what it notes for deploy."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import samples
import trained
from modelbuild.aws.storage import Storage
from modelbuild.contract import Report
from modelbuild.errors import ConfigurationError, GateFailed, VerificationFailed
from modelbuild.notify import command
from modelbuild.settings.notify import NotifySettings


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
        self.agent.meta_data = {
            **self.agent.meta_data,
            **result.to_fields(),
            **samples.train_step_meta_data(request),
        }
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
    assert notifier.agent.meta_data["notify/gates/endpoint"] == "sentiment"


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
    assert notifier.agent.meta_data["notify/context"] == "decision"


def test_an_annotation_that_is_gone_ends_no_step(
    notifier: Notifier, capsys: pytest.CaptureFixture[str]
) -> None:
    """A step that is retried has removed it before; what the page shows is pinned for deploy all the same."""
    notifier.agent.refuse("annotation")
    notifier.run(context="decision")
    assert notifier.agent.annotations[-1].context == "decision"
    assert "notify/model/sha256" in notifier.agent.meta_data
    assert "The annotation training was not removed" in capsys.readouterr().err
