"""Turns rated texts into labelled rows, and splits them into training and test rows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from modelbuild.flow.rows import one_of_each
from modelbuild.flow.rows import split as split_by
from modelbuild.serving.text import has_tokens

LABELS = ("negative", "neutral", "positive")

_NOISE = re.compile(r"https?://\S+|@\w+|^\s*rt\b", re.IGNORECASE)


@dataclass(frozen=True)
class Rated:
    """A row of the lake: a text, the mean of its human ratings, and VADER's own score from -1 to 1."""

    id: str
    text: str
    rating: float
    domain: str
    document: str
    vader_compound: float


@dataclass(frozen=True)
class Labelled:
    """A row with the index of its label in :data:`LABELS`."""

    row: Rated
    target: int


def label(rating: float, tau: float) -> int:
    """The index of the label: positive above ``tau``, negative below ``-tau``, else neutral."""
    return LABELS.index("positive" if rating > tau else "negative" if rating < -tau else "neutral")


def labelled(rows: Iterable[Rated], tau: float, dropped: dict[str, int] | None = None) -> list[Labelled]:
    """The rows in the order of their ids, each text once, without texts that have contradictory labels.

    Texts count as the same if they differ only in case, spaces, links, handles or a leading "RT". Texts
    without a token are omitted, because the server refuses them. ``dropped`` gets the number of rows that are
    left out, by reason.
    """
    same_text: defaultdict[str, list[Labelled]] = defaultdict(list)
    refused = 0
    for row in sorted(rows, key=lambda row: row.id):
        if not has_tokens(row.text):
            refused += 1
            continue
        key = " ".join(_NOISE.sub(" ", row.text).casefold().split())
        same_text[key].append(Labelled(row, label(row.rating, tau)))
    return one_of_each(same_text.values(), label=lambda item: item.target, dropped=dropped, refused=refused)


def document(item: Labelled) -> str:
    """The source document of a row, whose rows are on one side of each split."""
    return item.row.document


def split(rows: Iterable[Labelled], test_percent: int, seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """The rows to train on and the rows held out; all rows of a source document are on one side."""
    return split_by(rows, document, test_percent=test_percent, seed=seed)


def split_validation(
    rows: Iterable[Labelled], percent: int, seed: int
) -> tuple[list[Labelled], list[Labelled]]:
    """Training rows to learn from, and those that decide when to stop, by the same rule as :func:`split`."""
    # Another seed than that of any split: by the same one, these documents would be those held out already.
    return split_by(rows, document, test_percent=percent, seed=seed + 2**32)
