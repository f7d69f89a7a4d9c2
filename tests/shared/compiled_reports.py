"""Both accounts as notify finds them, in memory, and the reports that it compiles there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import samples
import trained
from memory import MemoryObjects
from modelbuild.contract import Manifest, TrainingResult
from modelbuild.contract.report import Comparison, Report
from modelbuild.experiments.asking import finding
from modelbuild.handoff.manifest import Handoff
from modelbuild.notify.compile import compile_report
from modelbuild.notify.scoring import Scorer
from modelbuild.settings.notify import NotifySettings
from modelbuild.store.model import ModelStore

OPTIONS: dict[str, Any] = {"compare-with": {"endpoint": "sentiment", "artifacts": trained.PRODUCTION}}
TRUTH = trained.truth_of(1_500)


class World:
    """Both accounts' S3, in memory."""

    def __init__(self) -> None:
        self.lake, self.production = MemoryObjects(), MemoryObjects()
        self.score: Scorer | None = None

    def report(self, manifest: Manifest, environ: Mapping[str, str] | None = None, **options: Any) -> Report:
        """The report on a model, as notify of its build compiles it."""
        request = manifest.request
        store = ModelStore(self.lake, request.artifacts)
        handoff = Handoff(store, TrainingResult(status="succeeded"), manifest, manifest.to_json().encode())
        variables = {
            "BUILDKITE_PIPELINE_SLUG": request.build.pipeline,
            "BUILDKITE_BUILD_NUMBER": request.model_id,
        }
        settings = NotifySettings.from_options({**OPTIONS, **options})
        here = samples.job_environment(**variables)
        with finding(settings.wandb, environ or {}) as find:
            return compile_report(handoff, settings, here, self.lake, self.production, find, self.score)

    def deployed(self, number: int, right: float, **changes: Any) -> Manifest:
        """A model of which about this part of the predictions is right, live at the endpoint."""
        manifest = self.trained(number, right, **changes)
        trained.deploy(self.lake, self.production, manifest)
        return manifest

    def trained(self, number: int, right: float, **changes: Any) -> Manifest:
        """A model of which about this part of the predictions is right."""
        found = trained.evaluated(TRUTH, trained.guesses(TRUTH, right, number))
        return trained.store_model(self.lake, number, found, **changes)


def live_of(report: Report) -> Comparison:
    """The comparison with the live model."""
    found = report.compared_with("live")
    assert found is not None
    return found
