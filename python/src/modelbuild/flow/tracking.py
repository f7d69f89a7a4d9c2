"""One Weights & Biases run for each training."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from typing import Any

from metaflow import current  # type: ignore[attr-defined]
from pydantic import JsonValue

from modelbuild import log
from modelbuild.contract import Evaluation, Quality, TrainingRequest, WandbRun, shortened

_INIT_SECONDS = 15.0
_FINISH_SECONDS = 20.0
_RETRIES = 3
_ID_CHARACTERS = 128


def record(
    run_id: str,
    *,
    project: str,
    group: str,
    config: Mapping[str, JsonValue],
    evaluation: Evaluation,
    entity: str | None,
) -> WandbRun:
    """Write a run with its configuration and metrics to W&B; the same id again continues the same run.

    A training never fails because of W&B: if W&B cannot be reached, the reason is logged and the run stays on
    this machine, with an empty URL.

    Args:
        run_id: unique in the project; characters that W&B refuses become ``-``.
        project: W&B project.
        group: W&B's group of runs.
        config: the configuration of the run.
        evaluation: its metrics, which become the run's summary.
        entity: team or user that the run belongs to; None for the default of the API key.
    """
    run_id = shortened(re.sub(r"[^A-Za-z0-9_.\-]", "-", run_id), _ID_CHARACTERS)
    # The SDK reads this at its import. Without it the SDK reports its failures to W&B's developers, and waits
    # for that.
    os.environ["WANDB_ERROR_REPORTING"] = "false"
    os.environ["WANDB_SILENT"] = "true"
    import wandb

    with tempfile.TemporaryDirectory() as folder:
        settings = wandb.Settings(
            root_dir=folder,
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            x_disable_stats=True,
            init_timeout=_INIT_SECONDS,
            finish_timeout=_FINISH_SECONDS,
            finish_timeout_raises=True,
            x_graphql_retry_max=_RETRIES,
            x_graphql_retry_wait_min_seconds=0.2,
            x_graphql_retry_wait_max_seconds=1.0,
            x_file_stream_retry_max=_RETRIES,
            x_file_transfer_retry_max=_RETRIES,
        )
        arguments: dict[str, Any] = {
            "id": run_id,
            "name": run_id,
            "entity": entity,
            "project": project,
            "group": group,
            "config": dict(config),
            "dir": folder,
            "settings": settings,
        }
        try:
            return _write(wandb.init(resume="allow", **arguments), evaluation)
        except Exception as error:  # noqa: BLE001 - whatever W&B raises, the model is worth more
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            log.warn(f"W&B did not take run {run_id} ({reason}); the training continues without it.")
    return WandbRun(id=run_id, url="")


def track(
    request: TrainingRequest | None,
    evaluation: Evaluation,
    config: Mapping[str, JsonValue],
    entity: str | None,
) -> WandbRun:
    """Write the run of a training: named after its build, or after Metaflow's run for a flow on its own."""
    if request is None:
        name = str(current.flow_name)
        return record(
            f"{name}-{current.run_id}",
            project=name,
            group=name,
            config=config,
            evaluation=evaluation,
            entity=entity,
        )
    build = request.build
    about = {
        "model": request.model,
        "model_id": request.model_id,
        "commit": build.commit,
        "build_url": build.url,
    }
    return record(
        f"{build.pipeline}-{request.model}-{request.model_id}",
        project=build.pipeline,
        group=f"{request.model}-{build.number}",
        config={**config, **about},
        evaluation=evaluation,
        entity=entity,
    )


def _write(run: Any, evaluation: Evaluation) -> WandbRun:
    for key, value in summary(evaluation).items():
        run.summary[key] = value
    url = run.url or ""
    run.finish()
    return WandbRun(id=run.id, url=url)


def summary(evaluation: Evaluation) -> dict[str, float]:
    """An evaluation as flat numbers, such as ``macro_f1``, ``class/positive/f1`` and
    ``baseline/vader/macro_f1``.
    """
    numbers = _flat("", evaluation.overall)
    for kind, named in {**evaluation.slices, "baseline": evaluation.baselines}.items():
        for name, quality in named.items():
            numbers |= _flat(f"{kind}/{name}/", quality)
    return numbers


def _flat(prefix: str, quality: Quality) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in {"rows": quality.rows, **quality.metrics}.items()}
