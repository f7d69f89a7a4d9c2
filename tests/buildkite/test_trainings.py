from __future__ import annotations

from typing import Any

from modelbuild.buildkite.trainings import Claim, follow


def test_values_that_are_read_ahead_are_asked_for_once(agent: Any) -> None:
    """Each call is a process, so a step reads what it needs at once, and of keys without a value nothing."""
    claim = Claim.of("sentiment", True, "trained")
    agent.meta_data = {claim.key: "held", "sentiment/status": "succeeded", "sentiment/url": ""}
    meta_data = follow("sentiment", ["status", "url", "reason", "status"])
    asked = len(agent.calls)
    assert meta_data.get("status") == "succeeded"
    assert meta_data.get("reason") is None
    assert meta_data.get_all(["status", "url", "reason"]) == {"status": "succeeded", "url": "", "reason": ""}
    assert len(agent.calls) == asked == 4


def test_what_a_step_sets_is_read_again(agent: Any) -> None:
    """A value that was read ahead is not taken for the one that the step has set since."""
    agent.meta_data = {}
    meta_data = follow(None, ["pin"])
    meta_data.set({"pin": "new"})
    assert meta_data.get_all(["pin", "other"]) == {"pin": "new", "other": ""}
    agent.meta_data = {"pin": "of another job"}
    assert meta_data.get("pin") == "of another job"
