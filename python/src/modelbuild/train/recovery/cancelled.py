"""Terminates the heads of a cancelled build when Buildkite's event arrives.

Without the event, each head asks Buildkite itself (``train/head/watch.py``). Source of the event, "Build
Finished": https://buildkite.com/docs/integrations/amazon-eventbridge
"""

from __future__ import annotations

import re

from pydantic import AwareDatetime, BaseModel

from modelbuild.aws.batch.jobs import Batch
from modelbuild.aws.storage import NotFound
from modelbuild.contract import unsuccessful
from modelbuild.errors import VerificationFailed
from modelbuild.store.model import ModelStore
from modelbuild.store.objects import Objects
from modelbuild.train.attempts import attempt, outcome

# EventBridge gives the time of an event in whole seconds.
_EVENT_SECONDS = 1.0


class CancelledBuild(BaseModel):
    """A cancelled build, the queue of its heads, and when Buildkite sent the event."""

    organization: str
    pipeline: str
    number: int
    queue: str
    time: AwareDatetime


def terminate_heads(objects: Objects, batch: Batch, build: CancelledBuild) -> list[str]:
    """Write the results of a cancelled build's heads, and terminate the heads; returns their job ids.

    A terminated head stops its flow and delivers the result that is in S3. Heads that were submitted after
    the event go on: it came late or again, and a train step of the build was retried meanwhile.

    Raises:
        AwsError: S3 or Batch refused.
    """
    own_prefix = re.compile(rf"/{re.escape(build.pipeline)}/[^/]+/{build.number}(\.\d+)?$")
    terminated = []
    for head in batch.describe_all(batch.find(build.queue, f"{build.pipeline}-*")).values():
        variables = attempt.head_environment(head)
        if head.created > build.time.timestamp() + _EVENT_SECONDS:
            continue
        if head.ended or variables is None or not own_prefix.search(variables.artifacts):
            continue
        store = ModelStore(objects, variables.artifacts)
        try:
            own = store.request(any_version=True).build
        except (NotFound, VerificationFailed):
            # The requests of this build are valid, so this is not one of its heads.
            continue
        if (own.organization, own.pipeline, own.number) != (build.organization, build.pipeline, build.number):
            continue
        result = unsuccessful("cancelled", "the build was cancelled")
        outcome.write_result_once(store.attempt(variables.attempt), result)
        batch.terminate(head.id, "the build was cancelled")
        terminated.append(head.id)
    return terminated
