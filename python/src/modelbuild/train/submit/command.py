"""The command of the plugin ``train``: submits the training of this build, and frees the agent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modelbuild import log
from modelbuild.buildkite import agent, job
from modelbuild.settings.train import TrainSettings
from modelbuild.store.model import ModelStore
from modelbuild.train.commit import parameters
from modelbuild.train.submit import claim
from modelbuild.train.submit.request import build_request


def run(settings: TrainSettings, environ: Mapping[str, str] = os.environ) -> None:
    """Submit the training of this build from the checkout in the working directory. With option wait, return
    when it has succeeded.

    Raises:
        ConfigurationError: an option does not fit the commit, the build or the account.
        TrainingFailed: the training has already failed.
        AwsError: S3 or Batch refused.
        BuildkiteError: the agent's command line failed.
    """
    here = job.read(environ)
    if settings.wait:
        # Imported only with option wait; other steps start faster.
        from modelbuild.process import cancellation
        from modelbuild.train.submit import follow

        cancellation.hold_signals()
    log.group(":mag: Reading the commit")
    with ThreadPoolExecutor(2) as threads:
        keys = threads.submit(agent.meta_data_keys)
        made = threads.submit(build_request, settings, here, environ, Path.cwd(), keys.result)
        claimed = threads.submit(lambda: claim.hold(settings, here, keys.result()))
        # Imported while the other threads wait for git and the agent: see modelbuild.process.startup.
        from modelbuild.aws.batch.jobs import Batch
        from modelbuild.aws.identity import session
        from modelbuild.aws.storage import Storage
        from modelbuild.train.submit import submission

        aws = session(settings.aws, agent.oidc_token)
        batch = Batch(aws)

        def define() -> str:
            image = made.result()[0].images.default
            claimed.result()
            return batch.definitions.with_image(settings.queue, image)

        defined = threads.submit(define)
        request, archived = made.result()
        store = ModelStore(Storage(aws), request.artifacts)
        claimed.result()
        log.info(f"{request.flow} of commit {request.build.commit[:12]}, source {len(archived):,} bytes")
        log.info(f"parameters ({request.parameters_sha256[:12]}):")
        log.lines("  " + parameters.shown(request.parameters).replace("\n", "\n  "))

        log.group(":s3: Storing the request")
        request = submission.store_request(store, request, archived)
        log.info(store.request_uri)

        log.group(":aws: Submitting the training")
        record = submission.find_or_submit_head(store, batch, request, settings, defined.result(), here)
    submission.show(store, batch, request, record, here.repository, settings.wait)
    if settings.wait:
        from modelbuild.aws.logs import Logs

        result = follow.to_result(store.attempt(record.attempt), batch, Logs(aws), record.job_id)
        try:
            if result.status != "succeeded":
                # The build does not reach the later steps that would write the annotation.
                head = submission.job_of(batch, record)
                submission.annotate(request, record, head, here.repository, result=result)
        finally:
            follow.end_as(result)
