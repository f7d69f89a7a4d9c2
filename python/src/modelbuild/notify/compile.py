"""Compiles the report on a trained model: reads what it is compared with, and compares."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modelbuild import git
from modelbuild.annotation import commit_url, compare_url
from modelbuild.buildkite.job import JobEnvironment
from modelbuild.comparison import details
from modelbuild.comparison.models import Model, Scored, compare_baselines, compare_experiment, compare_models
from modelbuild.comparison.predictions import same_rows, shared_rows
from modelbuild.contract import Deployment, Manifest
from modelbuild.contract.report import Changes, Commit, Comparison, Examples, Report
from modelbuild.errors import AwsError, ConfigurationError, VerificationFailed
from modelbuild.experiments.asking import Find
from modelbuild.experiments.models import Answer
from modelbuild.handoff.candidates import Candidates
from modelbuild.handoff.manifest import Handoff
from modelbuild.notify import changes, gates, models
from modelbuild.notify.candidates import check_candidates
from modelbuild.notify.scoring import Scorer
from modelbuild.notify.verdict import decide
from modelbuild.report import cost, warnings
from modelbuild.settings.notify import CompareSettings, NotifySettings
from modelbuild.store.deployments import DeploymentHistory
from modelbuild.store.objects import Objects
from modelbuild.store.pipeline import PipelineStore

COMMITS = 20
"""How many commits since the live model the page lists."""


def compile_report(
    trained: Handoff,
    settings: NotifySettings,
    job: JobEnvironment,
    lake: Objects,
    production: Objects | None,
    find_experiments: Find,
    score: Scorer | None,
    candidates: Candidates | None = None,
) -> Report:
    """The report on a trained model.

    If something cannot be read, the report has a sentence about it in its place.

    Args:
        trained: the model.
        settings: the options of the step.
        job: the variables of the step's job; facts about the build come from it, because a flow can write to
            the manifest's prefix.
        lake: S3 of the account that trains.
        production: S3 of the account that serves; None without option ``compare-with``.
        find_experiments: what finds the experimental runs with the same parameters.
        score: what scores evaluation rows that the live model was not evaluated on; None without option
            ``compare-with``.
        candidates: those of the sweep whose best one the model is; None for a model that is of no sweep.
    """
    manifest, compare_with = trained.manifest, settings.compare_with
    request = manifest.request
    root = request.artifacts.rsplit("/", 3)[0]
    pipeline = PipelineStore(lake, f"{root}/{request.build.pipeline}")
    with ThreadPoolExecutor() as threads:
        asking = threads.submit(find_experiments, manifest)
        reading = threads.submit(models.read_model, manifest, lake)
        ranking = threads.submit(models.find_best, pipeline, manifest)
        finding = threads.submit(_find_live, manifest, compare_with, lake, production, root)
        earlier, unreadable = models.find_earlier(pipeline, request.model, request.model_id)
        ours, problems = reading.result()
        live, live_problem = finding.result()
        answer = asking.result()
        best_earlier, no_best = ranking.result()
    scored = score(ours, live.model) if score and live and live.model else None
    live_comparison = _compare_live(ours, live, live_problem, scored)
    best = _compare_best(ours, best_earlier, live, lake)
    experiment = _compare_experiment(ours, answer)
    baselines = compare_baselines(ours)
    endpoint = compare_with.endpoint if compare_with else ""
    checked = gates.check(settings.gates, manifest, live_comparison)
    live_model = live.model if live else None
    candidate_gates = None
    if candidates is not None and settings.gates:
        candidate_gates = check_candidates(
            candidates, checked, settings, live_comparison, live_model, scored, lake
        )
    labelled = None if ours.predicts_numbers else ours.predictions
    prices, no_prices = _prices(settings)
    return Report(
        build=job.build(request.build.commit),
        manifest=manifest,
        manifest_sha256=trained.manifest_sha256,
        commit_url=commit_url(job.repository, request.build.commit),
        endpoint=endpoint,
        live=live.deployment if live else None,
        verdict=decide(manifest.evaluation, live_comparison, baselines, checked, settings.styles, endpoint),
        comparisons=tuple(one for one in (live_comparison, best, experiment, *baselines) if one),
        changes=_changes(live_model.manifest, manifest, job) if live_model else None,
        gates=checked,
        leaderboard=candidates.leaderboard if candidates else None,
        candidate_gates=candidate_gates,
        examples=_examples(ours, live_model, scored) if settings.show_examples else None,
        confusion=details.confusion_matrix(labelled) if labelled else None,
        calibration=details.calibration(labelled) if labelled else (),
        trend=models.trend(earlier, manifest),
        cost=cost.cost(manifest.steps, prices) if prices else (),
        currency=prices.currency if prices else "",
        warnings=warnings.find(manifest, live_model.manifest if live_model else None),
        unavailable=(
            *problems,
            *unreadable,
            *no_best,
            *no_prices,
            *(live.problems if live else ()),
            *answer.unavailable,
        ),
    )


def _prices(settings: NotifySettings) -> tuple[cost.Prices | None, tuple[str, ...]]:
    """The prices of the steps, or the reason why there are none."""
    try:
        return cost.read_prices(Path(settings.prices) if settings.prices else cost.DEFAULT), ()
    except ConfigurationError as error:
        return None, (f"the cost of the training ({error})",)


def _find_live(
    new: Manifest, compare_with: CompareSettings | None, lake: Objects, production: Objects | None, root: str
) -> tuple[models.Live | None, str]:
    """The live model, or the reason why it is not known."""
    if compare_with is None or production is None:
        return None, ""
    history = DeploymentHistory(production, compare_with.artifacts, compare_with.endpoint)
    try:
        return models.find_live(history, new, lake, production, root), ""
    except (AwsError, VerificationFailed) as error:
        return None, f"the deployments of endpoint {compare_with.endpoint} cannot be read ({error})"


def _compare_experiment(ours: Model, answer: Answer) -> Comparison | None:
    """The comparison with the best experiment."""
    if not answer.experiments:
        return None
    best = answer.experiments[0]
    return compare_experiment(ours, best.name, best.url, best.metrics, best.dataset_sha256)


def _compare_live(
    ours: Model, live: models.Live | None, problem: str, scored: Scored | None
) -> Comparison | None:
    primary = ours.evaluation.primary
    if live is None:
        return Comparison(role="live", name="(unknown)", reason=problem, primary=primary) if problem else None
    if live.model is None:
        return Comparison(
            role="live",
            name=f"{live.deployment.model} {live.deployment.model_id}",
            model_id=live.deployment.model_id,
            url=live.deployment.build_url,
            reason="its manifest cannot be read",
            primary=primary,
        )
    found = compare_models("live", ours, live.model, scored)
    if _is_live(ours.manifest, live.deployment):
        itself = "the endpoint serves this model already, so it is compared with itself"
        return found.model_copy(update={"reason": "; ".join(filter(None, (found.reason, itself)))})
    return found


def _is_live(manifest: Manifest, deployment: Deployment) -> bool:
    """Whether a model is the deployed one, as in a step that is retried after the deployment."""
    request = manifest.request
    own = (request.build.pipeline, request.model, request.model_id)
    return own == (deployment.pipeline, deployment.model, deployment.model_id)


def _compare_best(
    ours: Model, best: Manifest | None, live: models.Live | None, lake: Objects
) -> Comparison | None:
    """The comparison with the best earlier model, unless that is the live one."""
    if best is None or (live and live.model and live.model.manifest == best):
        return None
    return compare_models("best", ours, models.read_model(best, lake, ours.manifest)[0])


def _examples(ours: Model, live: Model | None, scored: Scored | None) -> Examples | None:
    """Rows for people to read; those that both models have predictions for, for the differences."""
    table, numbers = ours.predictions, ours.predicts_numbers
    if table is None:
        return None
    if scored and scored.predictions:
        return details.examples(table, scored.predictions, numbers=numbers)
    if live is None or live.predictions is None:
        return details.examples(table, None, numbers=numbers)
    same = ours.evaluation.dataset_sha256 == live.evaluation.dataset_sha256
    if same and same_rows(table, live.predictions):
        return details.examples(table, live.predictions, numbers=numbers)
    positions, their_positions = shared_rows(table, live.predictions)
    shared = details.examples(table.take(positions), live.predictions.take(their_positions), numbers=numbers)
    return shared.model_copy(update={"mistakes": details.examples(table, None, numbers=numbers).mistakes})


def _changes(live: Manifest, new: Manifest, job: JobEnvironment) -> Changes:
    before, after = live.request.build.commit, new.request.build.commit
    commits, note = _commits(before, after, job.repository)
    return Changes(
        since=f"{live.request.model} {live.request.model_id}",
        parameters=changes.parameters(live, new),
        data=changes.data(live, new),
        commits=commits,
        commits_note=note,
        compare_url=compare_url(job.repository, before, after) if before != after else "",
        images=changes.images(live, new),
        packages=changes.packages(live, new),
    )


def _commits(before: str, after: str, repository: str) -> tuple[Sequence[Commit], str]:
    """The commits since the live model's, and a note about those that are not listed."""
    if before == after:
        return (), "the same commit"
    try:
        found = git.log_between(Path.cwd(), before, after, COMMITS + 1)
    except ConfigurationError:
        return (), f"the checkout lacks commit {before[:12]} of the live model"
    commits = tuple(
        Commit(id=commit, author=author, subject=subject, url=commit_url(repository, commit))
        for commit, author, subject in found[:COMMITS]
    )
    if not commits:
        return (), f"commit {after[:12]} is older than {before[:12]} of the live model"
    return commits, f"and more than {COMMITS} before them" if len(found) > COMMITS else ""
