"""The candidates of a sweep: the points of a grid, or random ones; one sweep always has the same ones."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pydantic import JsonValue

from modelbuild.contract import Candidate, Dimension, Sweep
from modelbuild.errors import ConfigurationError

Values = dict[str, JsonValue]

_DIGITS = 4
"""The significant digits of a number that is drawn from a range: people read them, and type them again."""

_GRID_POINTS = 1_000_000
_DRAWS = 100
"""After so many repeated candidates in a row, the space counts as exhausted."""


def candidates(sweep: Sweep, defaults: Mapping[str, JsonValue]) -> list[Candidate]:
    """The candidates that are known before any of them is trained.

    Those of method ``tpe`` are its first round, which is random.

    Args:
        sweep: what to try.
        defaults: the parameters that apply where a candidate sets none, by dotted name.

    Raises:
        ConfigurationError: there are more candidates than ``limit``.
    """
    if sweep.method == "grid":
        points = _grid(sweep, defaults)
        count = sweep.candidates or sweep.limit + 1
    else:
        points = _random(sweep, defaults)
        count = sweep.candidates or 0
        if count > sweep.limit:
            raise _too_many(f"{count:,}", sweep)
        if sweep.method == "tpe":
            count = min(count, sweep.round)
    found = [Candidate(number=n, values=point) for n, point in enumerate(itertools.islice(points, count), 1)]
    if len(found) > sweep.limit:
        raise _too_many(f"more than {sweep.limit:,}", sweep)
    return found


def rungs(sweep: Sweep, defaults: Mapping[str, JsonValue]) -> Iterator[int]:
    """The values of the parameter of successive halving below the full one.

    Args:
        sweep: what to try.
        defaults: the parameters that apply where a candidate sets none, by dotted name.
    """
    if sweep.early_stopping is not None:
        full = defaults[sweep.early_stopping.parameter]
        assert isinstance(full, int)
        value = sweep.early_stopping.minimum
        while value < full:
            yield value
            value *= sweep.early_stopping.factor


def _too_many(count: str, sweep: Sweep) -> ConfigurationError:
    return ConfigurationError(
        f"the sweep has {count} candidates, and its limit is {sweep.limit:,}: reduce the space, set "
        "candidates, or raise limit"
    )


def applies(dimension: Dimension, values: Mapping[str, JsonValue]) -> bool:
    """Whether a parameter is tried beside these values of the other parameters, by its condition."""
    return all(values.get(other) in allowed for other, allowed in dimension.when.items())


def ordered(space: Mapping[str, Dimension]) -> list[str]:
    """The parameters of a space, each after those that its condition names.

    Raises:
        ConfigurationError: conditions go in a circle.
    """
    found: list[str] = []
    left = sorted(space)
    while left:
        free = [name for name in left if not any(other in left for other in space[name].when)]
        if not free:
            raise ConfigurationError(
                f"the conditions (when) of {', '.join(left)} depend on each other: remove one of them"
            )
        found += free
        left = [name for name in left if name not in free]
    return found


def _grid(sweep: Sweep, defaults: Mapping[str, JsonValue]) -> Iterator[Values]:
    """The points of the grid, the last parameter changing first; a point that is repeated comes once.

    Raises:
        ConfigurationError: there are too many points to look for those that are repeated.
    """
    names = ordered(sweep.space)
    axes = [_points(sweep.space[name]) for name in names]
    if math.prod(map(len, axes)) > _GRID_POINTS:
        raise _too_many(f"more than {_GRID_POINTS:,}", sweep)
    points = (dict(zip(names, point, strict=True)) for point in itertools.product(*axes))
    return _distinct(_tried(sweep, names, point, defaults) for point in points)


def _random(sweep: Sweep, defaults: Mapping[str, JsonValue]) -> Iterator[Values]:
    """Random points without end, or until the space is exhausted."""
    names = ordered(sweep.space)
    # Its own generator: Python keeps the numbers of a seed that is text from version to version.
    generator = random.Random(f"sweep {sweep.seed}")

    def draws() -> Iterator[Values]:
        while True:
            yield {name: draw(sweep.space[name], generator.random()) for name in names}

    return _distinct((_tried(sweep, names, point, defaults) for point in draws()), patience=_DRAWS)


def _tried(
    sweep: Sweep, names: Sequence[str], point: Mapping[str, JsonValue], defaults: Mapping[str, JsonValue]
) -> Values:
    """The values of a point that its conditions let be tried."""
    values = dict(defaults)
    tried: Values = {}
    for name in names:
        if applies(sweep.space[name], values):
            tried[name] = values[name] = point[name]
    return dict(sorted(tried.items()))


def _distinct(points: Iterable[Values], patience: int | None = None) -> Iterator[Values]:
    """Each point once; ends after ``patience`` points in a row that came before."""
    seen: set[str] = set()
    repeated = 0
    for point in points:
        key = json.dumps(point, sort_keys=True)
        if key not in seen:
            seen.add(key)
            repeated = 0
            yield point
        elif patience is not None and (repeated := repeated + 1) >= patience:
            return


def _points(dimension: Dimension) -> list[JsonValue]:
    """The values of a dimension in a grid."""
    if dimension.values:
        return [*dimension.values]
    count = dimension.count or 2
    found = (at(dimension, n / (count - 1)) for n in range(count))
    return [*dict.fromkeys(found)]


def draw(dimension: Dimension, share: float) -> JsonValue:
    """The value at a share of a dimension, from 0 to below 1; the values of a list have equal parts."""
    if dimension.values:
        return dimension.values[int(share * len(dimension.values))]
    if dimension.is_whole and dimension.scale == "linear":
        low, high = _bounds(dimension)
        return int(low) + int(share * (high - low + 1))
    return at(dimension, share)


def at(dimension: Dimension, share: float) -> int | float:
    """The number at a share of a range, from 0 for its minimum to 1 for its maximum."""
    low, high = _bounds(dimension)
    if dimension.scale == "log":
        value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    else:
        value = low + share * (high - low)
    return rounded(dimension, value)


def rounded(dimension: Dimension, value: float) -> int | float:
    """A number of a range as candidates have it: whole, or with four significant digits."""
    low, high = _bounds(dimension)
    if dimension.is_whole:
        return min(max(round(value), int(low)), int(high))
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)


def _bounds(dimension: Dimension) -> tuple[float, float]:
    assert dimension.minimum is not None
    assert dimension.maximum is not None
    return dimension.minimum, dimension.maximum
