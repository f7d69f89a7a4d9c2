"""Sweeps in which candidates fail, take their workers down, or lose the host under them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from modelbuild.contract import (
    CandidateOutcome,
    CandidateTask,
    Evaluation,
    Metric,
    Quality,
    Sweep,
    sha256_of_json,
)
from modelbuild.sweep.search import search
from modelbuild.sweep.tpe import TpeSampler
from sweep_workers import BatchTwin, workers

DEFAULTS: dict[str, JsonValue] = {"rate": 0.1, "size": 4, "kind": "linear", "epochs": 8}


@dataclass(frozen=True)
class Mishaps:
    """What happens to candidates, by their numbers.

    Attributes:
        fail: these fail in their own process.
        kill: these take their worker down each time.
        lose: the host is lost under these once.
    """

    fail: frozenset[int] = frozenset()
    kill: frozenset[int] = frozenset()
    lose: frozenset[int] = frozenset()


def outcome(task: CandidateTask, mishaps: Mishaps) -> CandidateOutcome:
    """How the training of a candidate ends: its metric depends on its parameters alone."""
    if task.candidate.number in mishaps.fail:
        return CandidateOutcome(task=task, status="failed", reason="it diverged")
    evaluation = Evaluation(
        dataset_sha256="d" * 64,
        metrics=(Metric(name="score", title="score", better="higher"),),
        primary="score",
        overall=Quality(rows=10, metrics={"score": _score({**task.candidate.values, **task.changes})}),
    )
    return CandidateOutcome(task=task, status="succeeded", evaluation=evaluation)


def _score(values: Mapping[str, JsonValue]) -> float:
    return int(sha256_of_json(dict(values))[:8], 16) / 2**32


def run(sweep: Sweep, mishaps: Mishaps, children: int, processes: int) -> tuple[list[Any], BatchTwin]:
    """The outcomes of a sweep on machines of this kind, and what was trained."""
    lost: set[int] = set()

    def crashes(at_once: Sequence[CandidateTask]) -> bool:
        numbers = {task.candidate.number for task in at_once}
        losing = numbers & mishaps.lose - lost
        lost.update(losing)
        return bool(losing or numbers & mishaps.kill)

    made, batch = workers(
        crashes, lambda task: outcome(task, mishaps), children=children, processes=processes
    )
    found = search(sweep, DEFAULTS, made.train, lambda: TpeSampler(sweep, DEFAULTS), lambda *_: True)
    return found, batch


RATE = {"minimum": 0.001, "maximum": 1.0, "scale": "log"}
DIMENSIONS: dict[str, Any] = {
    "rate": RATE,
    "size": {"minimum": 1, "maximum": 9},
    "kind": ["linear", "deep", "wide"],
    "epochs": {"values": [2, 4], "when": {"kind": ["deep", "linear"]}},
}
EARLY = {"early-stopping": {"parameter": "epochs", "minimum": 2, "factor": 2}}


@st.composite
def sweeps(draw: st.DrawFn) -> Sweep:
    """Any sweep of up to 14 candidates that chooses some of the dimensions at random, or by TPE."""
    names = draw(st.sets(st.sampled_from(["rate", "size"]), min_size=1))
    if draw(st.booleans()):
        names |= {"kind"}
    stops = draw(st.booleans())
    if "kind" in names and not stops and draw(st.booleans()):
        names |= {"epochs"}
    values = {
        "method": draw(st.sampled_from(["random", "tpe"])),
        "space": {name: DIMENSIONS[name] for name in sorted(names)},
        "candidates": draw(st.integers(1, 14)),
        "round": draw(st.integers(1, 6)),
        "seed": draw(st.integers(0, 99)),
        **(EARLY if stops else {}),
    }
    return Sweep.model_validate_json(json.dumps(values))


NUMBERS = st.integers(1, 14)


@st.composite
def mishaps(draw: st.DrawFn) -> Mishaps:
    """Any candidates that fail or lose their host, and no three in a row that take workers down."""
    kill: set[int] = set()
    for number in sorted(draw(st.sets(NUMBERS))):
        if not {number - 1, number - 2} <= kill:
            kill.add(number)
    lose = draw(st.sets(NUMBERS)) - kill
    fail = draw(st.sets(NUMBERS)) - kill
    return Mishaps(frozenset(fail), frozenset(kill), frozenset(lose))


FOUR = Sweep.model_validate_json(
    json.dumps({"method": "random", "space": {"rate": RATE}, "candidates": 4, "round": 4})
)


@settings(max_examples=60)
@example(FOUR, Mishaps(kill=frozenset({1, 2})), 1, 4)
@given(sweeps(), mishaps(), st.integers(1, 5), st.integers(1, 4))
def test_outcomes_depend_on_candidates_and_not_on_machines(
    sweep: Sweep, mishaps: Mishaps, children: int, processes: int
) -> None:
    """Each candidate ends once and as it would alone; only those that take workers down are lost."""
    found, batch = run(sweep, mishaps, children, processes)
    alone, _ = run(sweep, mishaps, 1, 1)
    assert found == alone
    numbers = [one.task.candidate.number for one in found]
    assert numbers == list(range(1, len(found) + 1))
    assert len(batch.trained) == len(set(batch.trained))
    unwell = {one.task.candidate.number for one in found if one.status == "failed"}
    assert unwell == (mishaps.fail | mishaps.kill) & set(numbers)
    lost = {one.task.candidate.number for one in found if "twice" in one.reason}
    assert lost == mishaps.kill & set(numbers)
