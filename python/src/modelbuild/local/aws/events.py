"""EventBridge that hears of Batch: each change of a job's state is an event on the default bus.

moto matches events with the patterns of rules. Lambda functions as targets are run here; moto sends to
all other kinds itself.
"""

from __future__ import annotations

import copy
import json
import logging
import uuid
from datetime import datetime, timezone
from typing import Any

from moto.events.models import Rule, events_backends

from modelbuild.local.aws import description, functions
from modelbuild.local.aws.job import Job
from modelbuild.local.aws.patching import replace

log = logging.getLogger(__name__)

_send = Rule.send_to_targets


def install() -> None:
    """Let Batch's jobs speak and rules reach functions; to be called once, before the server answers."""
    replace(Rule, "send_to_targets", _send_to_targets)
    replace(Job, "changed", staticmethod(job_changed))


def job_changed(job: Job) -> None:
    """Put "Batch Job State Change" on the default bus of the job's account."""
    account, region = job.backend.account_id, job.backend.region_name
    now = datetime.now(timezone.utc).timestamp()
    event: Any = {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": "Batch Job State Change",
        "source": "aws.batch",
        "account": account,
        "time": now,
        "ingestion-time": now,
        "region": region,
        "resources": [job.arn],
        "detail": description.details(job),
    }
    for rule in list(events_backends[account][region].event_buses["default"].rules.values()):
        try:
            rule.send_to_targets(copy.deepcopy(event))
        except Exception:
            # On AWS, too, a job goes on when nobody can be told of it.
            log.exception("Rule %s could not be told of job %s.", rule.name, job.job_id)


def _send_to_targets(self: Rule, original_event: Any, transform_input: bool = True) -> None:
    if self.state != "ENABLED" or not self.event_pattern.matches_event(original_event):
        return
    others = copy.copy(self)
    others.targets = [target for target in self.targets if ":lambda:" not in target["Arn"]]
    _send(others, original_event, transform_input)
    for target in self.targets:
        if ":lambda:" in target["Arn"]:
            functions.invoke_later(target["Arn"], _delivered(original_event))


def _delivered(event: Any) -> dict[str, Any]:
    """The event as a target gets it: with its time as text."""
    shown = {name: value for name, value in event.items() if name != "ingestion-time"}
    if not isinstance(shown["time"], str):
        moment = datetime.fromtimestamp(float(shown["time"]), timezone.utc)
        shown["time"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return dict(json.loads(json.dumps(shown)))
