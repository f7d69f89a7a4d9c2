"""``python -m modelbuild.flow.tracking.failure REASON``: has W&B tell people that a build's training failed.

The head runs it, because a step that was killed cannot. The training is the one that ``ARTIFACTS`` names.
"""

from __future__ import annotations

import os
import sys

from modelbuild import log
from modelbuild.aws.identity import session
from modelbuild.aws.secrets import secret
from modelbuild.aws.storage import Storage
from modelbuild.errors import ModelbuildError
from modelbuild.flow.process import environment
from modelbuild.flow.tracking.description import of_build
from modelbuild.flow.tracking.run import open_run
from modelbuild.settings import AwsSettings
from modelbuild.store.model import ModelStore

_KEY = "WANDB_API_KEY"


def main(reason: str) -> None:
    """Mark the run of the training as failed, with an alert; whatever prevents it is logged in one line."""
    try:
        own, aws = environment.read(), session(AwsSettings())
        request = ModelStore(Storage(aws), own.artifacts).request()
        # Metaflow does this for the steps.
        os.environ[_KEY] = secret(aws, os.environ["WANDB_SECRET_ARN"], _KEY)
    except ModelbuildError as error:
        log.info(f"W&B gets no alert: {error}")
        return
    tracker = open_run(of_build(request, {}, own.wandb_entity))
    tracker.alert(f"Training of {request.model} {request.model_id} failed", reason)
    tracker.finish(exit_code=1)


if __name__ == "__main__":
    main(sys.argv[1])
