"""The data of the server, and the changes of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from itertools import count
from typing import Any, Literal

ENTITY = "local"
"""The owner of runs without an entity."""

PROJECT = "uncategorized"
"""The project of runs without one; the name is the SDK's."""

_CRASHED_AFTER = timedelta(minutes=5)

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Alert:
    """A message that W&B would send to the people of the project."""

    title: str
    text: str
    level: str


def now() -> datetime:
    """The current time, in UTC."""
    return datetime.now(timezone.utc)


@dataclass
class Run:
    """One run. ``id`` names it within its project, ``number`` among all runs of this server."""

    entity: str
    project: str
    id: str
    number: int
    name: str
    created_at: datetime = field(default_factory=now)
    seen_at: datetime = field(default_factory=now)
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    commit: str | None = None
    host: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: Rows = field(default_factory=list)
    events: Rows = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    exit_code: int | None = None
    logged: list[Artifact] = field(default_factory=list)
    used: list[Artifact] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)

    @property
    def path(self) -> tuple[str, str, str]:
        """The unique path of the run."""
        return self.entity, self.project, self.id

    @property
    def settings(self) -> dict[str, Any]:
        """The user's configuration, without the entries and the wrapping of the SDK."""
        return {
            name: item["value"] if isinstance(item, dict) and "value" in item else item
            for name, item in self.config.items()
            if not name.startswith("_")
        }

    @property
    def last_step(self) -> int:
        """The number of the last row of the history; -1 before the first."""
        return max((step_of(row, index) for index, row in enumerate(self.history)), default=-1)

    def state(self, at: datetime) -> Literal["running", "finished", "failed", "crashed"]:
        """Its state at a time; a run that was silent for five minutes has crashed."""
        if self.exit_code is not None:
            return "finished" if self.exit_code == 0 else "failed"
        return "crashed" if at - self.seen_at > _CRASHED_AFTER else "running"

    def seconds(self, at: datetime) -> int:
        """Its duration, so far or in all."""
        end = at if self.state(at) == "running" else self.seen_at
        return max(0, int((end - self.created_at).total_seconds()))

    def restart(self) -> None:
        """Delete the data of an earlier session with the same id."""
        self.created_at = now()
        self.summary, self.history, self.events, self.log = {}, [], [], []
        self.files, self.logged, self.used, self.alerts = {}, [], [], []

    def receive(self, message: Mapping[str, Any]) -> None:
        """Apply a message of the file stream: lines of files at their offsets, and perhaps the end of the
        run.
        """
        self.seen_at = now()
        for name, chunk in (message.get("files") or {}).items():
            lines, offset = chunk["content"], chunk["offset"]
            end = offset + len(lines)
            if name == "wandb-summary.json":
                self.summary = json_object(lines[-1])
            elif name == "wandb-history.jsonl":
                self.history[offset:end] = map(json_object, lines)
            elif name == "wandb-events.jsonl":
                self.events[offset:end] = map(json_object, lines)
            elif name == "output.log":
                self.log[offset:end] = lines
        if message.get("complete"):
            self.exit_code = int(message.get("exitcode") or 0)


def json_object(text: str) -> dict[str, Any]:
    """Read a JSON object; NaN and infinity become texts, as in W&B's answers.

    Raises:
        ValueError: it is no JSON object.
    """
    value = json.loads(text, parse_constant=str)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def step_of(row: Mapping[str, Any], index: int) -> int:
    """The step of a history's row; by default its index."""
    step = row.get("_step", index)
    return step if isinstance(step, int) else index


@dataclass
class Artifact:
    """One version of an artifact; readers see it after it is committed."""

    id: str
    collection: Collection
    version: int
    digest: str
    description: str | None
    metadata: str | None
    aliases: list[str]
    run: Run | None
    created_at: datetime = field(default_factory=now)
    committed: bool = False
    manifest: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    size: int = 0
    file_count: int = 0
    users: list[Run] = field(default_factory=list)


@dataclass
class Collection:
    """The versions of an artifact with the same name."""

    entity: str
    project: str
    name: str
    type: str
    versions: list[Artifact] = field(default_factory=list)

    def find(self, alias: str) -> Artifact | None:
        """The committed version with this alias, number (``v3``) or digest."""
        return next(
            (
                item
                for item in self.versions
                if item.committed and alias in (*item.aliases, f"v{item.version}", item.digest)
            ),
            None,
        )

    def publish(self, artifact: Artifact, aliases: Sequence[str]) -> None:
        """Commit a version, and move the aliases from other versions to it."""
        for other in self.versions:
            if other.committed and other is not artifact:
                other.aliases = [alias for alias in other.aliases if alias not in aliases]
        artifact.aliases = list(dict.fromkeys([*artifact.aliases, *aliases]))
        artifact.committed = True


@dataclass
class Store:
    """All runs and artifacts of the server."""

    runs: dict[tuple[str, str, str], Run] = field(default_factory=dict)
    deleted: set[tuple[str, str, str]] = field(default_factory=set)
    """The paths of deleted runs, which no new run may have."""
    collections: dict[tuple[str, str, str], Collection] = field(default_factory=dict)
    artifacts: dict[str, Artifact] = field(default_factory=dict)
    _numbers: count[int] = field(default_factory=lambda: count(1))

    def new_run(self, entity: str, project: str, id: str) -> Run:
        """A new run under its path."""
        run = Run(entity, project, id, next(self._numbers), name=id)
        self.runs[run.path] = run
        return run

    def projects(self) -> dict[tuple[str, str], list[Run]]:
        """The runs, the newest first, by entity and project."""
        found: dict[tuple[str, str], list[Run]] = {}
        for run in sorted(self.runs.values(), key=lambda run: -run.number):
            found.setdefault((run.entity, run.project), []).append(run)
        return found
