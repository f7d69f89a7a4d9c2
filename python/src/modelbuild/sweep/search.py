"""The search for good candidates: which ones are trained in each round, from how the earlier ones did."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from modelbuild import log
from modelbuild.contract import Candidate, CandidateOutcome, CandidateTask, Metric, Sweep
from modelbuild.sweep import space

Train = Callable[[str, Sequence[CandidateTask]], Sequence[CandidateOutcome]]
"""Trains tasks under a name, and returns how each ended, in the same order."""


class Sampler(Protocol):
    """Chooses candidates by how good the earlier ones are."""

    def tell(self, candidate: Candidate, value: float | None) -> None:
        """Take the objective of a candidate, where more is better; None for one that failed."""

    def ask(self, count: int) -> list[Mapping[str, JsonValue]]:
        """The values of so many candidates, of which some may be the same as those of earlier ones."""


@dataclass(frozen=True)
class Objective:
    """The metric by which candidates are ranked.

    Attributes:
        metric: the metric, with the direction that the sweep asks for.
    """

    metric: Metric

    @classmethod
    def of(cls, sweep: Sweep, outcomes: Sequence[CandidateOutcome]) -> Objective | None:
        """The objective of a sweep, from the first evaluation that has it on all rows; None if none has."""
        for outcome in outcomes:
            evaluation = outcome.evaluation
            if evaluation is None:
                continue
            name = sweep.objective.metric or evaluation.primary
            found = next((metric for metric in evaluation.overall_metrics if metric.name == name), None)
            if found is not None:
                directions = {"maximize": "higher", "minimize": "lower", None: found.better}
                better = directions[sweep.objective.direction]
                return cls(found.model_copy(update={"better": better}))
        return None

    def value(self, outcome: CandidateOutcome) -> float | None:
        """The metric of a candidate; None if it failed, or its evaluation lacks the metric."""
        if outcome.evaluation is None:
            return None
        value = outcome.evaluation.overall.metrics.get(self.metric.name)
        return value if value is not None and math.isfinite(value) else None

    def score(self, outcome: CandidateOutcome) -> float | None:
        """The same, turned so that more is better."""
        value = self.value(outcome)
        return value if value is None or self.metric.better == "higher" else -value


def search(
    sweep: Sweep,
    defaults: Mapping[str, JsonValue],
    train: Train,
    sampler: Callable[[], Sampler],
    may_continue: Callable[[Sequence[CandidateOutcome], Sequence[Candidate]], bool],
) -> list[CandidateOutcome]:
    """Train the candidates of a sweep; how each ended, by its last training, in the order of their numbers.

    With early stopping, an outcome has the seconds and the steps of all rungs of its candidate.

    The candidates depend on the sweep and on the outcomes alone, so a head that goes on finds the same ones.

    Args:
        sweep: what to try.
        defaults: the parameters that apply where a candidate sets none, by dotted name.
        train: trains them.
        sampler: makes what chooses candidates for method ``tpe``.
        may_continue: whether a round may begin, from what has been trained and the candidates of the round.
    """
    found: list[CandidateOutcome] = []
    for number, candidates in enumerate(_rounds(sweep, defaults, found, sampler), 1):
        if found and not may_continue(found, candidates):
            log.info(f"sweep: the budget is used up after {len(found):,} candidates")
            break
        found += _train_round(sweep, number, candidates, defaults, train)
    return found


def _rounds(
    sweep: Sweep,
    defaults: Mapping[str, JsonValue],
    found: Sequence[CandidateOutcome],
    sampler: Callable[[], Sampler],
) -> Iterator[list[Candidate]]:
    """The candidates of each round; ``found`` grows meanwhile."""
    known = space.candidates(sweep, defaults)
    limited = sweep.minutes is not None or sweep.money is not None
    size = sweep.round if limited or sweep.method == "tpe" else max(1, len(known))
    for start in range(0, len(known), size):
        yield known[start : start + size]
    if sweep.method == "tpe" and len(known) == sweep.round:
        yield from _chosen_rounds(sweep, len(known), found, sampler())


def _chosen_rounds(
    sweep: Sweep, first: int, found: Sequence[CandidateOutcome], sampler: Sampler
) -> Iterator[list[Candidate]]:
    """The rounds after the first one, which is random."""
    told, number = 0, first
    limit = sweep.candidates or first
    while number < limit:
        objective = Objective.of(sweep, found)
        for outcome in found[told:]:
            score = objective.score(outcome) if objective is not None else None
            sampler.tell(outcome.task.candidate, score)
        told = len(found)
        earlier = [outcome.task.candidate.values for outcome in found]
        proposals = sampler.ask(min(sweep.round, limit - number))
        new: list[Candidate] = []
        for values in proposals:
            if values not in earlier:
                earlier.append(dict(values))
                number += 1
                new.append(Candidate(number=number, values=dict(values)))
        if not new:
            log.info("sweep: method tpe finds only candidates that were trained before, so it ends here")
            return
        yield new


def _train_round(
    sweep: Sweep,
    number: int,
    candidates: Sequence[Candidate],
    defaults: Mapping[str, JsonValue],
    train: Train,
) -> list[CandidateOutcome]:
    """Train the candidates of a round, in rungs if hopeless ones are stopped early."""
    last: dict[int, CandidateOutcome] = {}
    left = list(candidates)
    for rung, value in enumerate(space.rungs(sweep, defaults), 1):
        assert sweep.early_stopping is not None
        changes: dict[str, JsonValue] = {sweep.early_stopping.parameter: value}
        tasks = [CandidateTask(candidate=one, stage="search", rung=rung, changes=changes) for one in left]
        outcomes = train(f"round-{number}-rung-{rung}", tasks)
        _add(outcomes, last)
        left = _survivors(sweep, outcomes, sweep.early_stopping.factor)
    tasks = [CandidateTask(candidate=one, stage="search") for one in left]
    if tasks:
        _add(train(f"round-{number}", tasks), last)
    return [last[one.number] for one in candidates]


def _add(outcomes: Sequence[CandidateOutcome], last: dict[int, CandidateOutcome]) -> None:
    """Put the outcomes of a rung in place of those of the rungs before; time and steps add up."""
    for outcome in outcomes:
        number = outcome.task.candidate.number
        before = last.get(number)
        if before is not None:
            spent = {"seconds": before.seconds + outcome.seconds, "steps": (*before.steps, *outcome.steps)}
            outcome = outcome.model_copy(update=spent)
        last[number] = outcome


def _survivors(sweep: Sweep, outcomes: Sequence[CandidateOutcome], factor: int) -> list[Candidate]:
    """The best of a rung, in the order of their numbers."""
    objective = Objective.of(sweep, outcomes)
    if objective is None:
        return []
    scored = [(score, one.task.candidate) for one in outcomes if (score := objective.score(one)) is not None]
    scored.sort(key=lambda pair: (-pair[0], pair[1].number))
    kept = [candidate for _, candidate in scored[: math.ceil(len(outcomes) / factor)]]
    return sorted(kept, key=lambda candidate: candidate.number)
