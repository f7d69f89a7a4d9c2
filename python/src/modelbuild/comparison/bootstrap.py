"""Paired bootstrap: intervals of the difference between two models on the same rows.

Efron & Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 and 16: rows are drawn with
replacement, both models are measured on the same drawn rows, and the interval is made of percentiles of the
differences.

Where there are many rows, and each is a cell, the number of times that a row is drawn follows a Poisson
distribution of mean 1 (Hanley & MacGibbon, Creating non-parametric bootstrap samples using Poisson
frequencies, 2006). The number of rows of a resample then varies, which changes nothing for means over 10,000
rows. Drawing takes half the time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from modelbuild.comparison.metrics import Floats
from modelbuild.contract.report import Interval

RESAMPLES = 1_000
_LEVEL = 0.95
_MANY_ROWS = 10_000
_MOST_BIAS = 0.25
"""Resamples whose mean is further from the metric, in their standard deviations, have no interval."""
_NUMBERS_AT_ONCE = 250_000
"""At most so many numbers are in a matrix of several resamples, which takes 2 MB."""


def weightings(counts: npt.NDArray[np.int64], seed: int, resamples: int = RESAMPLES) -> Iterator[Floats]:
    """How often each cell is drawn, in matrices of shape (some of the resamples, cells).

    Args:
        counts: the number of rows of each cell.
        seed: the same seed draws the same rows.
        resamples: how many resamples, each of as many rows as there are.
    """
    random, cells, rows = np.random.default_rng(seed), len(counts), int(counts.sum())
    at_once = max(1, _NUMBERS_AT_ONCE // cells)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        if cells == rows and rows >= _MANY_ROWS:
            yield _poisson(random, (size, rows))
        elif cells == rows:
            # Faster than a multinomial distribution of so many cells.
            drawn = (np.bincount(random.integers(cells, size=rows), minlength=cells) for _ in range(size))
            yield np.array(list(drawn), dtype=float)
        else:
            yield random.multinomial(rows, counts / rows, size=size).astype(float)


def _poisson(random: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Poisson numbers of mean 1, each from 16 random bits: their probabilities are right to 1 in 65,536."""
    bits = np.frombuffer(random.bytes(2 * shape[0] * shape[1]), dtype=np.uint16)
    return np.take(_POISSON, bits).reshape(shape)


def _poisson_table() -> Floats:
    """The Poisson number of mean 1 for each value of 16 bits."""
    probabilities = [math.exp(-1) / math.factorial(number) for number in range(9)]
    return np.searchsorted(np.cumsum(probabilities), (np.arange(2**16) + 0.5) / 2**16).astype(float)


_POISSON = _poisson_table()


def interval(gains: npt.NDArray[Any]) -> Interval | None:
    """The interval of a difference from its values in the resamples; None if there is no finite value."""
    finite = gains[np.isfinite(gains)]
    if len(finite) == 0:
        return None
    low, high = np.percentile(finite, [50 * (1 - _LEVEL), 100 - 50 * (1 - _LEVEL)])
    return Interval(low=float(low), high=float(high))


def interval_of_metric(observed: float, drawn: npt.NDArray[Any]) -> Interval | None:
    """The interval of a metric of one model.

    Args:
        observed: its value on the rows.
        drawn: its values in the resamples.

    Returns:
        None if the resamples are biased (Efron & Tibshirani, section 10.3), as those of macro-F1 with few
        rows for each class: each lacks some of the classes, and all may be worse than the rows are.
    """
    finite = drawn[np.isfinite(drawn)]
    if len(finite) == 0:
        return None
    bias = abs(float(finite.mean()) - observed)
    return interval(finite) if bias <= _MOST_BIAS * float(finite.std()) + 1e-9 * abs(observed) else None
