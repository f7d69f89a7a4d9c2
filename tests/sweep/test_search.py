"""Which candidates are trained in each round of a sweep, and which go on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import JsonValue

from modelbuild.contract import CandidateOutcome, CandidateTask, Evaluation, Metric, Quality, StepRun, Sweep
from modelbuild.sweep.search import Objective, Sampler, search
from modelbuild.sweep.tpe import TpeSampler

DEFAULTS: dict[str, JsonValue] = {"rate": 0.1, "epochs": 9, "kind": "linear"}
RATE = {"minimum": 0.001, "maximum": 1.0, "scale": "log"}


def sweep(method: str, **options: Any) -> Sweep:
    """A sweep over the learning rate, unless ``space`` is given."""
    values = {"method": method, "space": {"rate": RATE}, "candidates": 8, **options}
    return Sweep.model_validate_json(json.dumps(values))


def outcome(task: CandidateTask, value: float | None, better: str = "higher") -> CandidateOutcome:
    """How a candidate ended: with this metric, or failed."""
    if value is None:
        return CandidateOutcome(task=task, status="failed", reason="it diverged")
    evaluation = Evaluation(
        dataset_sha256="d" * 64,
        metrics=(Metric.model_validate({"name": "score", "title": "score", "better": better}),),
        primary="score",
        overall=Quality(rows=10, metrics={"score": value}),
    )
    return CandidateOutcome(task=task, status="succeeded", evaluation=evaluation, seconds=1.0)


class Trainer:
    """Trains tasks in memory: the metric is best at a rate of 0.1."""

    def __init__(self, better: str = "higher") -> None:
        self.rounds: dict[str, list[CandidateTask]] = {}
        self._sign = 1 if better == "higher" else -1
        self._better = better

    def __call__(self, name: str, tasks: Sequence[CandidateTask]) -> list[CandidateOutcome]:
        """Train tasks."""
        self.rounds[name] = [*tasks]
        return [outcome(task, self._value(task), self._better) for task in tasks]

    def _value(self, task: CandidateTask) -> float | None:
        rate = task.candidate.values["rate"]
        assert isinstance(rate, float)
        return None if rate > 0.9 else -self._sign * abs(rate - 0.1)


def run(found: Sweep, trainer: Trainer) -> list[CandidateOutcome]:
    """The outcomes of a sweep without limits of time and money."""

    def sampler() -> Sampler:
        return TpeSampler(found, DEFAULTS)

    return search(found, DEFAULTS, trainer, sampler, lambda *_: True)


def test_a_grid_and_random_candidates_are_one_round() -> None:
    """They depend on no outcome, so one array job trains them all."""
    trainer = Trainer()
    assert len(run(sweep("random"), trainer)) == 8
    assert list(trainer.rounds) == ["round-1"]


def test_a_budget_ends_the_sweep_between_rounds() -> None:
    """With a limit of time or money candidates come in rounds, and no round begins once it is used up."""
    trainer = Trainer()
    found = sweep("random", minutes=5, round=3)
    outcomes = search(
        found, DEFAULTS, trainer, lambda: TpeSampler(found, DEFAULTS), lambda some, _: len(some) < 6
    )
    assert [len(tasks) for tasks in trainer.rounds.values()] == [3, 3]
    assert [one.task.candidate.number for one in outcomes] == [*range(1, 7)]


def test_tpe_finds_what_random_candidates_do_not() -> None:
    """From the second round on candidates come near the best ones, and each is trained once."""
    options: dict[str, Any] = {"candidates": 60, "round": 12}
    trainer = Trainer()
    outcomes = run(sweep("tpe", **options), trainer)
    numbers = [one.task.candidate.number for one in outcomes]
    assert numbers == [*range(1, len(numbers) + 1)]
    assert len({json.dumps(one.task.candidate.values) for one in outcomes}) == len(outcomes)
    last = [*trainer.rounds.values()][-1]
    assert _distance(last) < _distance(trainer.rounds["round-1"]) / 2


def _distance(tasks: Sequence[CandidateTask]) -> float:
    """The mean distance to the best rate."""
    rates = [task.candidate.values["rate"] for task in tasks]
    return sum(abs(float(str(rate)) - 0.1) for rate in rates) / len(rates)


def test_tpe_minimizes_where_less_is_better() -> None:
    """The direction is the metric's own."""
    trainer = Trainer("lower")
    run(sweep("tpe", candidates=60, round=12), trainer)
    assert _distance([*trainer.rounds.values()][-1]) < _distance(trainer.rounds["round-1"]) / 2


def test_tpe_chooses_the_same_again() -> None:
    """A head that goes on from the same outcomes asks for the same candidates."""
    found = sweep("tpe", candidates=30, round=10)
    first, second = Trainer(), Trainer()
    run(found, first)
    run(found, second)
    assert first.rounds == second.rounds


def test_tpe_knows_conditions() -> None:
    """A parameter whose condition does not hold has no value, in each round."""
    space = {
        "rate": RATE,
        "kind": ["linear", "deep"],
        "layers": {"minimum": 1, "maximum": 3, "when": {"kind": "deep"}},
    }
    trainer = Trainer()
    outcomes = run(sweep("tpe", space=space, candidates=30, round=10), trainer)
    for one in outcomes:
        values: Mapping[str, JsonValue] = one.task.candidate.values
        assert ("layers" in values) == (values["kind"] == "deep")


def test_successive_halving_trains_the_best_with_more() -> None:
    """Each rung has a third of the candidates before and three times the epochs; the last has the file's."""
    trainer = Trainer()
    halving = {"parameter": "epochs", "minimum": 1, "factor": 3}
    outcomes = run(sweep("random", candidates=9, **{"early-stopping": halving}), trainer)
    assert [(name, len(tasks), tasks[0].changes) for name, tasks in trainer.rounds.items()] == [
        ("round-1-rung-1", 9, {"epochs": 1}),
        ("round-1-rung-2", 3, {"epochs": 3}),
        ("round-1", 1, {}),
    ]
    assert sorted(one.task.rung for one in outcomes) == [0, 1, 1, 1, 1, 1, 1, 2, 2]
    objective = Objective.of(sweep("random"), outcomes)
    assert objective is not None
    (winner,) = [one for one in outcomes if one.task.rung == 0]
    assert objective.score(winner) == max(objective.score(one) or -9 for one in outcomes)


def test_what_the_rungs_of_a_candidate_took_adds_up() -> None:
    """The cost of a sweep is that of all rungs, not only of the last one of each candidate."""

    def trains(_: str, tasks: Sequence[CandidateTask]) -> list[CandidateOutcome]:
        return [
            outcome(task, float(task.candidate.number)).model_copy(
                update={"steps": (StepRun(step="train", task=task.name, seconds=1.0),)}
            )
            for task in tasks
        ]

    halving = {"parameter": "epochs", "minimum": 1, "factor": 3}
    found = sweep("random", candidates=9, **{"early-stopping": halving})
    outcomes = search(found, DEFAULTS, trains, lambda: TpeSampler(found, DEFAULTS), lambda *_: True)
    assert [one.seconds for one in outcomes] == [1.0] * 6 + [2.0, 2.0, 3.0]
    assert [run.task for run in outcomes[8].steps] == ["search-9-rung-1", "search-9-rung-2", "search-9"]


def test_a_round_in_which_all_fail_ends_in_its_rung() -> None:
    """Candidates that fail are hopeless; no rung trains them again."""

    def fails(_: str, tasks: Sequence[CandidateTask]) -> list[CandidateOutcome]:
        return [outcome(task, None) for task in tasks]

    halving = {"parameter": "epochs", "minimum": 1, "factor": 3}
    found = sweep("random", **{"early-stopping": halving})
    outcomes = search(found, DEFAULTS, fails, lambda: TpeSampler(found, DEFAULTS), lambda *_: True)
    assert [one.status for one in outcomes] == ["failed"] * 8
    assert Objective.of(found, outcomes) is None
