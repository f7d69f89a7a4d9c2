"""Candidates of a sweep that were trained, with what they answer for the validation rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

import samples
from modelbuild.contract import (
    Candidate,
    CandidateOutcome,
    CandidateTask,
    Leaderboard,
    LeaderboardRow,
    Sweep,
)
from modelbuild.flow import classification
from modelbuild.flow.evaluation import EvaluationRows
from modelbuild.sweep import noise, ranking

ROWS = 400
TRUTH = [("bad", "good")[number % 2] for number in range(ROWS)]


class Trained:
    """Candidates that answer a share of the rows rightly, and what they answered."""

    def __init__(self, **options: Any) -> None:
        space = {"rate": [1, 2, 3], "kind": ["a", "b"]}
        values = {"method": "random", "space": space, "candidates": 99, **options}
        sweep = Sweep.model_validate_json(json.dumps(values))
        self.request = samples.request_for(
            "s3://bucket/models/shop/mail/12",
            parameters={"rate": 1, "kind": "a"},
            build=samples.build(12, "shop"),
            model="mail",
            sweep=sweep,
        )
        self.outcomes: list[CandidateOutcome] = []
        self.predictions: dict[int, bytes] = {}

    def add(self, right: float, rung: int = 0, size: int = 1000, rows: int = ROWS, **values: Any) -> None:
        """A candidate that is right for this share of the rows."""
        number = len(self.outcomes) + 1
        chance = np.random.default_rng(number)
        wrong = set(chance.permutation(rows)[round(rows * right) :].tolist())
        labels = [
            ("good" if label == "bad" else "bad") if at in wrong else label
            for at, label in enumerate(TRUTH[:rows])
        ]
        evaluated = classification.evaluate(
            EvaluationRows(
                ids=[f"{at:04}" for at in range(rows)],
                inputs=[f"text {at}" for at in range(rows)],
                truth=TRUTH[:rows],
                description="",
                slices={"half": [str(at % 2) for at in range(rows)]},
            ),
            [{"label": label, "scores": {"bad": 0.5, "good": 0.5}} for label in labels],
            labels=("bad", "good"),
            baselines={},
        )
        task = self._task(number, rung, values)
        self.predictions[number] = evaluated.predictions
        self.outcomes.append(
            CandidateOutcome(
                task=task,
                status="succeeded",
                evaluation=evaluated.evaluation,
                model_bytes=size,
                latency_seconds=0.001 * number,
                seconds=float(number),
            )
        )

    def fail(self, reason: str) -> None:
        """A candidate that failed."""
        task = self._task(len(self.outcomes) + 1, 0, {})
        self.outcomes.append(CandidateOutcome(task=task, status="failed", reason=reason))

    def _task(self, number: int, rung: int, values: dict[str, Any]) -> CandidateTask:
        candidate = Candidate(number=number, values=values or {"rate": number})
        return CandidateTask(candidate=candidate, stage="search", rung=rung)

    def read_row(self, row: LeaderboardRow) -> bytes:
        """What the candidate of a row answered."""
        return self.predictions[row.candidate.number]

    def rank(self) -> Leaderboard:
        """The leaderboard, with intervals."""
        leaderboard = ranking.rank(self.request, self.outcomes, lambda outcome: outcome.seconds / 100)
        return noise.with_intervals(leaderboard, self.read_row)

    def ended(self, *numbers: int) -> dict[str, CandidateOutcome]:
        """How candidates ended, by id."""
        return {f"12.{number}": self.outcomes[number - 1] for number in numbers}
