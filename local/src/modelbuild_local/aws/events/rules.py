"""EventBridge with events of Batch and schedules: each change of a job's state is an event on the default
bus.

moto matches events with the patterns of rules, and sends them to all targets except Lambda functions, which
run here. moto ignores rules on a schedule; here they also send events.
"""

from __future__ import annotations

import copy
import json
import logging
import threading
import time
import uuid
from datetime import datetime, timezone
from typing import Any

from moto.events.exceptions import ValidationException
from moto.events.models import EventsBackend, Rule, events_backends

from modelbuild_local.aws.batch import description
from modelbuild_local.aws.batch.job import Job
from modelbuild_local.aws.events.schedule import Schedule, minutes
from modelbuild_local.aws.functions import service as functions
from modelbuild_local.aws.patching import replace

_LOOK_AGAIN_SECONDS = 0.25

log = logging.getLogger(__name__)

_send = Rule.send_to_targets
_put_rule = EventsBackend.put_rule


def install(minute: float) -> None:
    """Connect Batch's jobs and the clock with the rules, and rules with functions; call this before the
    server answers.

    Args:
        minute: the seconds of a minute, for rules on a schedule.
    """
    replace(Rule, "send_to_targets", _send_to_targets)
    replace(EventsBackend, "put_rule", _put_rule_that_runs)
    replace(Job, "changed", staticmethod(job_changed))
    threading.Thread(target=_keep_schedule, args=(Schedule(minute),), daemon=True).start()


def job_changed(job: Job) -> None:
    """Put "Batch Job State Change" on the default bus of the job's account."""
    account, region = job.backend.account_id, job.backend.region_name
    event = _event("aws.batch", "Batch Job State Change", account, region, job.arn, description.details(job))
    for rule in list(events_backends[account][region].event_buses["default"].rules.values()):
        try:
            rule.send_to_targets(copy.deepcopy(event))
        except Exception:
            # On AWS, too, a job goes on when its event cannot be delivered.
            log.exception("Rule %s could not be told of job %s.", rule.name, job.job_id)


def _event(source: str, kind: str, account: str, region: str, resources: str, detail: Any) -> Any:
    now = datetime.now(timezone.utc).timestamp()
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": kind,
        "source": source,
        "account": account,
        "time": now,
        "ingestion-time": now,
        "region": region,
        "resources": [resources],
        "detail": detail,
    }


def _put_rule_that_runs(self: EventsBackend, *args: Any, **options: Any) -> Rule:
    rule = _put_rule(self, *args, **options)
    if rule.scheduled_expression and minutes(rule.scheduled_expression) is None:
        self.delete_rule(rule.name, None)
        raise ValidationException(
            f"Parameter ScheduleExpression is not valid: {rule.scheduled_expression} is no rate, and only "
            "those run on this machine."
        )
    return rule


def _keep_schedule(schedule: Schedule) -> None:
    """Send due events for as long as the process lives."""
    while True:
        time.sleep(_LOOK_AGAIN_SECONDS)
        buses = [
            backend.event_buses["default"]
            for regions in list(events_backends.values())
            for backend in list(regions.values())
        ]
        rules = [rule for bus in buses for rule in list(bus.rules.values())]
        for rule in schedule.due(rules, time.monotonic()):
            event = _event("aws.events", "Scheduled Event", rule.account_id, rule.region_name, rule.arn, {})
            try:
                _to_targets(rule, event)
            except Exception:
                log.exception("Rule %s could not send what was due.", rule.name)


def _send_to_targets(self: Rule, original_event: Any, transform_input: bool = True) -> None:
    # moto matches every event with a rule without a pattern.
    matches = self.event_pattern.get_pattern() and self.event_pattern.matches_event(original_event)
    if self.state == "ENABLED" and matches:
        _to_targets(self, original_event, transform_input)


def _to_targets(self: Rule, original_event: Any, transform_input: bool = True) -> None:
    others = copy.copy(self)
    others.targets = [target for target in self.targets if ":lambda:" not in target["Arn"]]
    _send(others, original_event, transform_input)
    for target in self.targets:
        if ":lambda:" in target["Arn"]:
            own = target.get("Input")
            functions.invoke_later(target["Arn"], json.loads(own) if own else _delivered(original_event))


def _delivered(event: Any) -> dict[str, Any]:
    """The event in the form that a target gets, with its time as text."""
    shown = {name: value for name, value in event.items() if name != "ingestion-time"}
    if not isinstance(shown["time"], str):
        moment = datetime.fromtimestamp(float(shown["time"]), timezone.utc)
        shown["time"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return dict(json.loads(json.dumps(shown)))
