from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.contract import CurvePoint, Manifest, Quality, TrainingSummary
from modelbuild.report.warnings import find

MANIFEST = Manifest.model_validate_json(
    (Path(__file__).parents[1] / "data" / "model-12" / "manifest.json").read_bytes()
)
CLEAN = TrainingSummary(
    rows=8_000,
    labels={"negative": 4_000, "positive": 4_000},
    exact_duplicates=0,
    near_duplicates=0,
    converged=True,
)
COUNTS = st.dictionaries(st.text("abc", max_size=2), st.integers(0, 10_000), max_size=4)


def manifest(slices: dict[str, dict[str, int]] | None = None, rows: int = 2_000, **training: Any) -> Manifest:
    """A manifest without a reason for a warning, but for what is given."""
    quality = MANIFEST.evaluation.overall.model_copy(update={"rows": rows})
    found = {
        column: {name: Quality(rows=count, metrics={}) for name, count in values.items()}
        for column, values in (slices or {}).items()
    }
    evaluation = MANIFEST.evaluation.model_copy(update={"overall": quality, "slices": found, "baselines": {}})
    return MANIFEST.model_copy(
        update={
            "data": MANIFEST.data.model_copy(update={"rows": 10_000}),
            "evaluation": evaluation,
            "training": CLEAN.model_copy(update=training),
        }
    )


def test_nothing_unusual_needs_no_warning() -> None:
    """A clean training beside a live one of the same rows gets none, nor does one that says nothing of it."""
    ours = manifest({"class": {"negative": 900, "positive": 1_100}})
    assert find(ours, ours) == ()
    assert find(ours.model_copy(update={"training": None}), ours) == ()


@pytest.mark.parametrize(
    ("training", "warnings"),
    [
        (
            {"exact_duplicates": 40, "near_duplicates": 3},
            (
                "40 of 2,000 (2.0%) evaluation rows have an input that the model was trained on: on new "
                "inputs it may be worse than the metrics say",
                "3 of 2,000 (0.1%) more evaluation rows have a text that is almost one of the training's",
            ),
        ),
        (
            {"dropped": {"no reason given": 100, "the same text as another row": 900}},
            (
                "1,000 of 10,000 (10.0%) rows of the snapshot were neither trained on nor evaluated: 900 the "
                "same text as another row, 100 no reason given",
            ),
        ),
        ({"dropped": {"no reason given": 500}}, ()),
        (
            {
                "converged": False,
                "improving": ("loss",),
                "curve": (CurvePoint(step=1, values={"loss": 0.9}), CurvePoint(step=2, values={"loss": 0.6})),
            },
            (
                "the loss was still falling when the training ended (0.9, then 0.6): more epochs may make a "
                "better model",
            ),
        ),
        (
            {"converged": False, "improving": ("validation_macro_f1",)},
            (
                "validation_macro_f1 was still getting better at its last measurement: more epochs may make "
                "a better model",
            ),
        ),
        (
            {"converged": False},
            ("the loss had not settled when the training ended: the learning rate may be too high",),
        ),
        ({"converged": None, "exact_duplicates": None, "near_duplicates": None}, ()),
    ],
    ids=str,
)
def test_of_the_training(training: dict[str, Any], warnings: tuple[str, ...]) -> None:
    """Duplicates, rows that got lost and a loss that still fell are said with their figures."""
    assert find(manifest(**training)) == warnings


@pytest.mark.parametrize(
    ("improving", "values", "shown"),
    [
        ("loss", (0.9, 0.512, 0.514), "ended: more"),
        ("loss", (0.9, 0.51234, 0.51229), "ended: more"),
        ("loss", (0.9, 0.6), "ended (0.9, then 0.6): more"),
        ("validation_macro_f1", (0.61, 0.61204, 0.61209), "measurement: more"),
        ("validation_macro_f1", (0.61, 0.62), "measurement (0.61, then 0.62): more"),
    ],
)
def test_values_that_show_nothing_are_left_out(improving: str, values: tuple[float, ...], shown: str) -> None:
    """A loss that was still falling by the means of its steps may be higher at the last one."""
    curve = tuple(CurvePoint(step=step, values={improving: value}) for step, value in enumerate(values))
    [warning] = find(manifest(converged=False, improving=(improving,), curve=curve))
    assert shown in warning


def test_of_few_evaluation_rows() -> None:
    """Classes and slices on which chance decides are named, the smallest first, and not all of many."""
    slices = {
        "class": {"negative": 29, "odd": 0, "positive": 30},
        "domain": {f"site {number}": number for number in range(1, 9)},
    }
    assert find(manifest(slices, rows=99)) == (
        "there are only 99 evaluation rows: the metrics say little about new inputs",
        "class with fewer than 30 evaluation rows, too few to compare: odd (0), negative (29)",
        "domain with fewer than 30 evaluation rows, too few to compare: site 1 (1), site 2 (2), site 3 (3), "
        "site 4 (4), site 5 (5) and 3 more",
    )


def test_of_one_row() -> None:
    """A sentence about a number of rows is right for one."""
    assert find(manifest(rows=1, exact_duplicates=1)) == (
        "1 of 1 (100.0%) evaluation rows has an input that the model was trained on: on new inputs it may be "
        "worse than the metrics say",
        "there is only 1 evaluation row: the metrics say little about new inputs",
    )


def test_of_other_labels_than_the_live_models() -> None:
    """A label that is more frequent by more than chance, new or gone is named with both shares."""
    ours = manifest(labels={"negative": 2_000, "new": 1_000, "positive": 5_000}, rows=2_000)
    live = manifest(labels={"gone": 10, "negative": 3_990, "positive": 4_000})
    assert find(ours, live) == (
        "labels that the live model does not know: new",
        "labels that only the live model knows: gone",
        "25.0% of the training rows have label negative, of the live model's 49.9%",
        "62.5% of the training rows have label positive, of the live model's 50.0%",
    )


def test_a_shift_by_chance_needs_no_warning() -> None:
    """Of a few rows, shares differ by chance."""
    ours, live = (manifest(labels={"negative": 20 + more, "positive": 20}) for more in (0, 10))
    assert find(ours, live) == ()


def test_of_fewer_rows_than_the_live_models() -> None:
    """A training that lost a part of its rows is beside one that had them."""
    ours, live = manifest(rows=2_000), manifest(rows=2_000)
    ours = ours.model_copy(update={"training": CLEAN.model_copy(update={"rows": 6_000})})
    assert find(ours, live) == ("the model was trained on 6,000 rows, and the live model on 8,000",)


@given(COUNTS, COUNTS, COUNTS)
def test_any_counts_make_sentences(
    ours: dict[str, int], live: dict[str, int], dropped: dict[str, int]
) -> None:
    """Whatever the counts, also all 0, each warning is one text without a period at its end."""
    found = find(manifest({"class": ours}, labels=ours, dropped=dropped), manifest(labels=live))
    assert all(isinstance(one, str) and not one.endswith(".") for one in found)


@given(COUNTS)
def test_the_same_labels_are_no_shift(labels: dict[str, int]) -> None:
    """A model beside itself has no warning about labels."""
    ours = manifest(labels=labels)
    assert find(ours, ours) == ()
