"""The candidates of a sweep: what workers train, how each candidate ended, and their order."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from pydantic import Field, JsonValue
from typing_extensions import Self

from modelbuild.contract.evaluation import Evaluation
from modelbuild.contract.manifest import StepRun, WandbRun
from modelbuild.contract.record import Count, ModelId, ModelName, Record, Seconds, Sha256, Slug, Text
from modelbuild.contract.sweep import Candidate, ParameterName, Sweep

_TASK_NAME = re.compile(r"([a-z]+)-(\d+)(?:-rung-(\d+))?(?:-attempt-(\d+))?")


class TaskName(NamedTuple):
    """What the name of a task says of it: ``search-7``, ``search-7-rung-1``, ``final-7-attempt-2``."""

    stage: str
    number: int
    rung: int = 0
    attempt: int = 1

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """What a name says; None for a text that is no name of a task."""
        found = _TASK_NAME.fullmatch(text)
        if found is None:
            return None
        stage, number, rung, attempt = found.groups()
        return cls(stage, int(number), int(rung or 0), int(attempt or 1))

    @property
    def place(self) -> tuple[bool, int]:
        """The sort key of its rung in a search: the last rung, which has no number, is the highest."""
        return not self.rung, self.rung

    def __str__(self) -> str:
        rung = f"-rung-{self.rung}" if self.rung else ""
        attempt = f"-attempt-{self.attempt}" if self.attempt > 1 else ""
        return f"{self.stage}-{self.number}{rung}{attempt}"


class CandidateTask(Record):
    """What a worker trains: a candidate, for the ranking or to be offered."""

    candidate: Candidate
    stage: Literal["search", "final"]
    """``search`` evaluates on validation rows; ``final`` trains on all training rows, and evaluates on the
    test rows."""
    rung: int = Field(0, ge=0)
    """Which rung of successive halving; 0 without it, and for the last one."""
    changes: dict[ParameterName, JsonValue] = Field(default_factory=dict)
    """Values of this rung."""
    attempt: int = Field(1, ge=1)
    """The attempt at the sweep that this belongs to: what failed in an earlier one is trained anew."""

    @property
    def name(self) -> str:
        """The name of its outcome in the sweep, which is a :class:`TaskName`."""
        return str(TaskName(self.stage, self.candidate.number, self.rung, self.attempt))


class Work(Record):
    """What the children of one array job train: child *i* has the tasks *i*, *i* + ``workers``, ..."""

    version: Literal[1] = 1
    workers: int = Field(ge=1)
    processes: int = Field(ge=1)
    """How many tasks a child trains at the same time."""
    tasks: tuple[CandidateTask, ...]

    def share(self, index: int) -> tuple[CandidateTask, ...]:
        """The tasks of one child, in the order in which it trains them."""
        return self.tasks[index :: self.workers]


class CandidateOutcome(Record):
    """How the training of a candidate ended: written once by the worker that trained it."""

    version: Literal[1] = 1
    task: CandidateTask
    status: Literal["succeeded", "failed"]
    reason: Text = ""
    evaluation: Evaluation | None = None
    model_bytes: Count | None = None
    latency_seconds: Seconds | None = None
    """The median time of one prediction, without a server around it."""
    predictions_sha256: Sha256 | None = None
    """The hash of what it answers for the validation rows; None if that is not kept."""
    manifest_sha256: Sha256 | None = None
    """The hash of its manifest, among the files of the sweep. The model that this describes is not kept. None
    for a training that was not for the ranking, or failed."""
    wandb: WandbRun | None = None
    steps: tuple[StepRun, ...] = ()
    seconds: Seconds = 0
    """How long the training ran."""


class LeaderboardRow(Record):
    """One candidate on the leaderboard."""

    rank: int | None = None
    """From 1; None for a candidate that failed, was stopped early, or does not meet a constraint."""
    model_id: ModelId
    values: dict[ParameterName, JsonValue]
    status: Literal["succeeded", "failed", "stopped", "unfit"]
    """``stopped``: successive halving ended it. ``unfit``: it does not meet a constraint."""
    reason: Text = ""
    metric: float | None = None
    """The objective on the validation rows."""
    low: float | None = None
    high: float | None = None
    """The 95 % interval of the metric, by a bootstrap of the validation rows."""
    within_noise: bool | None = None
    """Whether the validation rows show no difference to the best one; False for that one itself, and
    None for one that was not compared with it row by row."""
    model_bytes: Count | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    """All metrics on the validation rows."""
    offered: bool = False
    """Whether it was trained on all training rows, so that it can be deployed."""

    @property
    def candidate(self) -> Candidate:
        """The candidate, whose number is the end of its id."""
        return Candidate(number=int(self.model_id.rpartition(".")[2]), values=self.values)


class CandidateTiming(Record):
    """What differs between two runs of the same sweep: durations, cost and runs."""

    model_id: ModelId
    seconds: Seconds
    cost: float | None = None
    latency_seconds: Seconds | None = None
    wandb_url: str = ""


class Selection(Record):
    """How the best candidate does on the test rows, which had no part in its choice."""

    model_id: ModelId
    metric: float
    low: float | None = None
    high: float | None = None
    validation_metric: float
    within_noise: int = Field(ge=0)
    """How many other candidates the validation rows cannot tell from the best one."""


class Leaderboard(Record):
    """All candidates of a sweep, the best first: ``leaderboard.json``.

    Everything but ``timings`` is the same in each run of the same sweep, whatever ``max-parallel`` is.
    """

    version: Literal[1] = 1
    pipeline: Slug
    model: ModelName
    model_id: ModelId
    """The id of the sweep: the number of its build."""
    sweep: Sweep
    metric: str
    metric_title: str
    higher_is_better: bool
    validation_sha256: Sha256
    """The hash of the validation rows."""
    rows: tuple[LeaderboardRow, ...]
    importance: dict[ParameterName, float] = Field(default_factory=dict)
    """Which part of the differences of the metric each parameter explains, from 0 to 1."""
    selection: Selection | None = None
    """None before candidates are offered, and if none could be."""
    timings: tuple[CandidateTiming, ...] = ()
    currency: Text = Field("", max_length=10)
    """That of the costs, which the head has counted by modelbuild's own prices."""

    @property
    def ranked(self) -> tuple[LeaderboardRow, ...]:
        """The candidates that have a rank, the best first."""
        return tuple(row for row in self.rows if row.rank is not None)

    @property
    def offered(self) -> tuple[LeaderboardRow, ...]:
        """The candidates that can be deployed, the best first."""
        return tuple(row for row in self.rows if row.offered)
