"""``modelbuild head``, the command of the head's Batch job: it runs the flow and delivers the result.

The result of an attempt is written once: by the flow when it has published a model, by the head in every
other case. The head delivers the result that lies in S3.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from pydantic import ValidationError

from modelbuild import log
from modelbuild.aws.batch.jobs import Batch
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.buildkite.access import TOKEN, ApiAccess
from modelbuild.contract import (
    RESULT_FILE,
    Failure,
    HeadEnvironment,
    TrainingRequest,
    TrainingResult,
    sha256_of_json,
    unsuccessful,
)
from modelbuild.errors import (
    AwsError,
    ConfigurationError,
    ModelbuildError,
    TrainingFailed,
    describe,
    variable_error,
)
from modelbuild.log import events
from modelbuild.settings import AwsSettings
from modelbuild.store.attempts import Run
from modelbuild.store.model import ModelStore
from modelbuild.train.attempts import attempt, delivery, outcome
from modelbuild.train.commit import packaging, parameters
from modelbuild.train.head import alert, diagnosis, flow_process, progress, resume, watch
from modelbuild.train.head.source import unpack

_HOST_ENDS_SECONDS = 120.0
_CLOCKS_DIFFER_SECONDS = 60.0
# Left to itself, Metaflow gives up when AWS has throttled the same call three times.
_PATIENCE = {"AWS_RETRY_MODE": "standard", "AWS_MAX_ATTEMPTS": "7"}

_TERMINATED_EXIT = 128 + signal.SIGTERM


class _Terminated(BaseException):
    """SIGTERM or SIGINT came; not an ``Exception``, so that nothing on the way takes it for a failure."""


@dataclass(frozen=True)
class _Head:
    """The head of one attempt.

    Attributes:
        own: its variables.
        inherited: the variables that the flow's process inherits, which the token is not among.
        store: where the training lies.
        batch: runs this job and the steps of the flow.
        page: shows where the flow is; None where the token cannot be used.
    """

    own: HeadEnvironment
    inherited: Mapping[str, str]
    store: ModelStore
    batch: Batch
    page: progress.ProgressPage | None


def run(environ: Mapping[str, str] = os.environ) -> int:
    """Run the training that ``ARTIFACTS`` names and deliver its result; returns the exit code.

    The code is 0 when the stored result says that the training succeeded, and when this job has to leave
    the training to another one.

    Raises:
        ConfigurationError: the request cannot be read, so it is not known which build waits.
        AwsError: S3 refused to give the request.
        BuildkiteError: the result could not be delivered.
    """
    try:
        own = HeadEnvironment.read(environ)
    except ValidationError as error:
        raise variable_error(error, "this command runs inside the job that train submits") from error
    access = ApiAccess.read(environ)
    aws = session(AwsSettings())
    store, batch = ModelStore(Storage(aws), own.artifacts), Batch(aws)
    inherited = {name: value for name, value in environ.items() if name != TOKEN}
    request = store.request(any_version=True)
    page = progress.progress_page(store, batch, request, access, own.attempt)
    head = _Head(own, inherited, store, batch, page)
    watching = watch.watch_of(store.objects, batch, request, access, own.schedule_timeout)
    try:
        signal.signal(signal.SIGTERM, _terminate)
        # If this process ignored SIGINT, the flow would inherit that, and could not be stopped by SIGINT.
        signal.signal(signal.SIGINT, _terminate)
        with watching, page or nullcontext():
            result = _outcome(head, watching)
        # From here on nothing may stop the delivery of the result.
        _ignore_signals()
    except attempt.Superseded as error:
        log.info(f"head: {error}: nothing to do")
        return 0
    except _Terminated:
        stopped = watching.verdict or _why_terminated(head)
        if stopped is None:
            log.info("head: its host goes away, and Batch starts it again elsewhere")
            # Batch starts it again only if the host ends it, so this process must not exit first.
            time.sleep(_HOST_ENDS_SECONDS)
            return _TERMINATED_EXIT
        result = stopped
    result = outcome.write_result_once(store.attempt(own.attempt), result)
    ended = "was cancelled" if result.status == "cancelled" else result.status
    reason = f": {result.reason}" if result.reason else ""
    log.event(events.TRAINING_ENDED, f"head: the training {ended}{reason}")
    with alert.of_failure(result, inherited):
        delivery.deliver_result(store, own.attempt, request, result, access)
    return {"succeeded": 0, "cancelled": _TERMINATED_EXIT}.get(result.status, TrainingFailed.exit_code)


def _terminate(number: int, frame: FrameType | None) -> None:
    del number, frame
    _ignore_signals()
    raise _Terminated


def _why_terminated(head: _Head) -> TrainingResult | None:
    """The result of the training that ends with this head; None if only the host ends.

    If Batch does not answer, the host may be losing its network. If the head was terminated after all, the
    function ``modelbuild-ended`` writes the result.
    """
    job_id = head.own.job_id
    try:
        job = head.batch.describe_all([job_id]).get(job_id) if job_id else None
    except AwsError as error:
        log.info(f"head: {error}")
        return None
    if job is None or job.stopped:
        return unsuccessful("cancelled", "the head was terminated from outside")
    if time.time() > job.runs_until - _CLOCKS_DIFFER_SECONDS:
        return unsuccessful("cancelled", "the training ran for as long as option timeout allows")
    return None


def _ignore_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _outcome(head: _Head, watching: watch.Watch) -> TrainingResult:
    """How the training ended, unless it was terminated.

    Raises:
        Superseded: another job trains.
    """
    store, number = head.store, head.own.attempt
    try:
        attempt.claim_attempt(store.attempt(number), head.own.job_id or "none")
        # The command line blocks SIGTERM until now, when this job is known to be the head.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        # Batch may have started this job before, and the flow may have ended then. An earlier attempt may
        # have made the model when its build was over.
        for earlier in range(number, 0, -1):
            result = store.attempt(earlier).result()
            if result is not None and (earlier == number or result.status == "succeeded"):
                return result
        return _train(head, store.request(), watching)
    except ModelbuildError as error:
        return unsuccessful("failed", str(error))
    except attempt.Superseded:
        raise
    except Exception as error:  # noqa: BLE001 - the build must get a result after every error
        log.stack(error)
        return unsuccessful("failed", f"the head failed: {describe(error)}")


def _train(head: _Head, request: TrainingRequest, watching: watch.Watch) -> TrainingResult:
    """Run the flow; the result is the one that it stored.

    Raises:
        ModelbuildError: the training failed, with the reason as its message.
    """
    # Processes that a stopped flow has left may still write there.
    with tempfile.TemporaryDirectory(prefix="modelbuild-", ignore_cleanup_errors=True) as scratch:
        root = Path(scratch)
        flow = unpack(head.store, request, root / "source")
        values = root / "parameters.yaml"
        values.write_text(_parameters(request), encoding="utf-8")
        variables = _flow_variables(head.inherited, request, root)
        if request.sweep is not None:
            # Imported here: the head of one training needs none of it.
            from modelbuild.train.head.sweep import SweepHead

            sweep = SweepHead(head.own, variables, head.store, head.batch, head.page, watching)
            return sweep.train(request, flow)
        attributes = root / "run.json"

        def start(origin: Run | None, on_line: Callable[[], None]) -> tuple[int, list[str]]:
            def each(line: str) -> None:
                on_line()
                watching.on_line(line)
                if head.page is not None:
                    head.page.on_line(line)

            command = _command(request, flow, values, attributes, origin)
            return flow_process.run(command, flow.parent, variables, each)

        context = resume.RunContext(head.store, head.batch, head.own, attributes)
        exit_code, lines = resume.run_to_end(start, context)
        if exit_code != 0:
            ended = resume.container_reason(context)
            _record_failure(head, diagnosis.failure(lines, exit_code, ended))
            raise TrainingFailed(diagnosis.reason(lines, exit_code, ended))
    result = head.store.attempt(head.own.attempt).result()
    if result is None:
        raise TrainingFailed(
            f"the flow ended well but left no {RESULT_FILE}: call publish_model in one of its steps"
        )
    return result


def _record_failure(head: _Head, failure: Failure) -> None:
    """Record what the page shows of a failed flow; if S3 refuses, the page shows the reason only."""
    try:
        head.store.attempt(head.own.attempt).record_failure(failure)
    except AwsError as error:
        log.info(f"head: the page will not show the end of the log: {error}")


def _flow_variables(inherited: Mapping[str, str], request: TrainingRequest, root: Path) -> dict[str, str]:
    """The environment of the flow's process, whose own files are in the folder ``root``."""
    home = root / "metaflow"
    home.mkdir()
    return {
        **_PATIENCE,
        packaging.VARIABLE: packaging.suffixes(root / "source"),
        **inherited,
        "METAFLOW_HOME": str(home),
        "METAFLOW_BATCH_CONTAINER_IMAGE": request.images.default,
        "TRAIN_GPU_IMAGE": request.images.train_gpu,
    }


def _parameters(request: TrainingRequest) -> str:
    """The parameter file for the flow, which must read back as what was asked for."""
    text = parameters.dump(request.parameters)
    if sha256_of_json(parameters.parse(text.encode(), "the request")) != request.parameters_sha256:
        raise ConfigurationError("the request's parameters do not have the hash that it states")
    return text


def _command(
    request: TrainingRequest, flow: Path, values: Path, attributes: Path, origin: Run | None
) -> list[str]:
    tags = {
        "model": request.model,
        "model_id": request.model_id,
        "pipeline": request.build.pipeline,
        "commit": request.build.commit,
        "build": request.build.url,
    }
    # Metaflow takes the parameters of a resumed run from that run only.
    what = (
        ("--config", "config", str(values), "run")
        if origin is None
        else ("resume", "--origin-run-id", origin.run_id)
    )
    return [
        *(sys.executable, flow.name, "--no-pylint", *what),
        *("--runner-attribute-file", str(attributes)),
        *(argument for name, value in tags.items() for argument in ("--tag", f"{name}:{value}")),
    ]
