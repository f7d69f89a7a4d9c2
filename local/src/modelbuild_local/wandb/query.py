"""The query language of a project's runs: filters in the form of MongoDB's, and the order.

Columns have their names of W&B's API: ``config.parameters.seed``, ``summary_metrics.macro_f1``, ``jobType``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import regex

from modelbuild_local.wandb import answers
from modelbuild_local.wandb.errors import Refused
from modelbuild_local.wandb.state import Run, now

_REGEX_SECONDS = 1.0

_COLUMNS: Mapping[str, Callable[[Run], Any]] = {
    "name": lambda run: run.id,
    "displayName": lambda run: run.name,
    "display_name": lambda run: run.name,
    "group": lambda run: run.group,
    "jobType": lambda run: run.job_type,
    "state": lambda run: run.state(now()),
    "tags": lambda run: run.tags,
    "username": lambda run: run.entity,
    "host": lambda run: run.host,
    "duration": lambda run: run.seconds(now()),
    "createdAt": lambda run: answers.iso(run.created_at),
    "created_at": lambda run: answers.iso(run.created_at),
    "heartbeatAt": lambda run: answers.iso(run.seen_at),
    "heartbeat_at": lambda run: answers.iso(run.seen_at),
}


def selected(runs: Iterable[Run], filters: Mapping[str, Any]) -> list[Run]:
    """The runs that match the filters, in their order.

    Raises:
        Refused: a column or an operator does not exist.
    """
    return [run for run in runs if _matches(run, filters)]


def ordered(runs: Sequence[Run], order: str) -> list[Run]:
    """The runs by a column: ``+`` or nothing before its name is ascending, ``-`` descending.

    Of runs with the same value, the older one is the lower one. Runs without a value come last.

    Raises:
        Refused: the column does not exist.
    """
    column = order.lstrip("+-")
    values = {run.path: value_of(run, column) for run in runs}
    known = [run for run in runs if values[run.path] is not None]
    missing = [run for run in runs if values[run.path] is None]
    known.sort(key=lambda run: (_sort_key(values[run.path]), run.number), reverse=order.startswith("-"))
    return [*known, *missing]


def value_of(run: Run, column: str) -> Any:
    """The value of a run in a column; None if the run has none.

    Raises:
        Refused: the column does not exist.
    """
    family, _, path = column.partition(".")
    if family == "config" and path:
        key, _, rest = path.partition(".")
        # W&B stores each value of a config under "value", and takes names with and without it.
        inner = "" if rest == "value" else rest.removeprefix("value.")
        return walk(run.settings, [key, *inner.split(".")] if inner else [key])
    if family == "summary_metrics" and path:
        return walk(run.summary, path.split("."))
    if column not in _COLUMNS:
        raise Refused(400, f"Unknown column '{column}'")
    return _COLUMNS[column](run)


def walk(value: Any, path: Sequence[str]) -> Any:
    """The value at a path of nested maps; None if there is none."""
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value


def _sort_key(value: Any) -> tuple[int, Any]:
    return (0, value) if isinstance(value, (int, float)) else (1, str(value))


def _matches(run: Run, filters: Mapping[str, Any]) -> bool:
    return all(_holds(run, name, condition) for name, condition in filters.items())


def _holds(run: Run, name: str, condition: Any) -> bool:
    if name == "$and":
        return all(_matches(run, item) for item in condition)
    if name == "$or":
        return any(_matches(run, item) for item in condition)
    if name == "$nor":
        return not any(_matches(run, item) for item in condition)
    value = value_of(run, name)
    if isinstance(condition, Mapping) and any(key.startswith("$") for key in condition):
        return all(_compare(value, operator, operand) for operator, operand in condition.items())
    return _equal(value, condition)


def _compare(value: Any, operator: str, operand: Any) -> bool:
    if operator not in _OPERATORS:
        raise Refused(400, f"Unknown operator '{operator}'")
    return _OPERATORS[operator](value, operand)


def _equal(value: Any, operand: Any) -> bool:
    # As in MongoDB, a list also equals each of its elements.
    return bool(value == operand or (isinstance(value, list) and operand in value))


def _of_one_type(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compared(value: Any, operand: Any) -> bool:
        for kind in (str, (int, float)):
            if isinstance(value, kind) and isinstance(operand, kind):
                return compare(value, operand)
        return False

    return compared


def _matches_regex(value: Any, pattern: Any) -> bool:
    try:
        return isinstance(value, str) and bool(regex.search(pattern, value, timeout=_REGEX_SECONDS))
    except (regex.error, TypeError, TimeoutError) as error:
        raise Refused(400, f"The pattern {pattern!r} cannot be searched for ({error})") from None


_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "$eq": _equal,
    "$ne": lambda value, operand: not _equal(value, operand),
    "$gt": _of_one_type(lambda value, operand: value > operand),
    "$gte": _of_one_type(lambda value, operand: value >= operand),
    "$lt": _of_one_type(lambda value, operand: value < operand),
    "$lte": _of_one_type(lambda value, operand: value <= operand),
    "$in": lambda value, operand: any(_equal(value, item) for item in operand),
    "$nin": lambda value, operand: not any(_equal(value, item) for item in operand),
    "$exists": lambda value, operand: (value is not None) == bool(operand),
    "$regex": _matches_regex,
}
