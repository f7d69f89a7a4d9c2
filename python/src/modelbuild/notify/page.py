"""The annotation ``training``: what a person needs to decide whether to deploy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from modelbuild import agent_yaml
from modelbuild.annotation import commit_url, render
from modelbuild.aws.console import object_url
from modelbuild.buildkite import agent
from modelbuild.contract import ClassScores, Evaluation, Scores, TrainingResult
from modelbuild.handoff import Handoff

Quality = TypeVar("Quality", Scores, ClassScores)

ROWS = 50
"""How many rows of a table are shown; the worst come first, so that what is left out is better."""


@dataclass(frozen=True)
class HeadJob:
    """The Batch job that ran the flow, as the train step recorded it; what it did not record is empty."""

    id: str
    url: str
    logs_url: str
    artifacts: str


@dataclass(frozen=True)
class Compared:
    """A baseline, and by how much the model is better than it: negative where it is worse."""

    name: str
    scores: Scores
    macro_f1_gain: float
    accuracy_gain: float


def succeeded(given: Handoff, job: HeadJob, environ: Mapping[str, str]) -> str:
    """The annotation of a training that made a model."""
    manifest = given.manifest
    # The manifest lies where the flow may write, so the facts about the build come from Buildkite.
    build = agent.build(environ, manifest.request.build.commit)
    return render(
        "modelbuild.notify",
        "succeeded.html.j2",
        result=given.result,
        manifest=manifest,
        manifest_sha256=given.manifest_sha256,
        build=build,
        job=job,
        verdict=verdict(manifest.evaluation),
        compared=compare(manifest.evaluation),
        classes=_worst_first(manifest.evaluation.by_class, "f1"),
        domains=_worst_first(manifest.evaluation.by_domain, "macro_f1"),
        shown_rows=ROWS,
        parameters=agent_yaml.dump(manifest.request.parameters, allow_unicode=True).rstrip(),
        commit_url=commit_url(environ.get("BUILDKITE_REPO", ""), build.commit),
        model_url=object_url(manifest.artifact.path),
        manifest_url=object_url(given.result.manifest),
        root=manifest.request.artifacts.rsplit("/", 1)[0],
    )


def failed(result: TrainingResult, job: HeadJob, environ: Mapping[str, str]) -> str:
    """The annotation of a training that made none."""
    ended = "was cancelled" if result.status == "cancelled" else "failed"
    return _nothing_to_deploy(ended, result.reason, job, environ, result.wandb_run_url)


def refused(reason: str, job: HeadJob, environ: Mapping[str, str]) -> str:
    """The annotation of a training that handed over what is not this build's."""
    return _nothing_to_deploy("handed over what is not of this build", reason, job, environ)


def _nothing_to_deploy(
    ended: str, reason: str, job: HeadJob, environ: Mapping[str, str], wandb_run_url: str = ""
) -> str:
    commit = environ.get("BUILDKITE_COMMIT", "")
    return render(
        "modelbuild.notify",
        "failed.html.j2",
        ended=ended,
        reason=reason,
        wandb_run_url=wandb_run_url,
        job=job,
        number=environ.get("BUILDKITE_BUILD_NUMBER", ""),
        pipeline=environ.get("BUILDKITE_PIPELINE_SLUG", ""),
        build_url=environ.get("BUILDKITE_BUILD_URL", ""),
        commit=commit,
        commit_url=commit_url(environ.get("BUILDKITE_REPO", ""), commit),
    )


def compare(evaluation: Evaluation) -> list[Compared]:
    """The model against each baseline on the same rows, the strongest baseline first."""
    mine = evaluation.overall
    found = [
        Compared(name, scores, mine.macro_f1 - scores.macro_f1, mine.accuracy - scores.accuracy)
        for name, scores in evaluation.baselines.items()
    ]
    return sorted(found, key=lambda item: (-item.scores.macro_f1, item.name))


def verdict(evaluation: Evaluation) -> str:
    """The comparison in one sentence."""
    compared = compare(evaluation)
    if not compared:
        return "There is no baseline to compare with."
    lost = [item.name for item in compared if item.macro_f1_gain <= 0]
    if lost:
        return f"Not better than {', '.join(lost)} by macro-F1 on the same rows."
    return f"Better than {', '.join(item.name for item in compared)} by macro-F1 on the same rows."


def _worst_first(table: Mapping[str, Quality], measure: str) -> list[tuple[str, Quality]]:
    return sorted(table.items(), key=lambda item: (getattr(item[1], measure), item[0]))
