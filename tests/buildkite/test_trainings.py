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


def test_annotations_of_long_names_stay_apart(agent: Any) -> None:
    """Buildkite takes contexts of at most 100 characters: longer ones that differ at their ends only remain
    two annotations, and one is replaced and removed by its own name.
    """
    model, endpoint = "m" * 63, "e" * 62
    agent.meta_data = {Claim.of(model, True, "trained").key: "held"}
    meta_data = follow(model)
    for number in (1, 2, 1):
        meta_data.annotate("text", context=f"deployment/{endpoint}{number}", style="info")
    first, second, again = (note.context for note in agent.annotations)
    assert first == again != second
    assert all(len(context) == 100 for context in (first, second))
    meta_data.remove_annotation(f"deployment/{endpoint}2")
    assert agent.calls[-1][0][-1] == second
    meta_data.annotate("text", context="training", style="info")
    assert agent.annotations[-1].context == f"{model}/training"
