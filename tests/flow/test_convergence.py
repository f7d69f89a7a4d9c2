from __future__ import annotations

import math

import pytest

from modelbuild.flow.convergence import Convergence, of_curves

# Losses of flows/sentiment on its own texts (18,799 to train on), by the number of epochs, with a bucket for
# each of 2^18 hashes. macro-F1 on held-out rows: 0.493, 0.509, 0.528, 0.533 and 0.533.
FEW = {2: [0.9119, 0.6365], 3: [0.9093, 0.6164, 0.5277]}
ENOUGH = {
    5: [0.9075, 0.6033, 0.4965, 0.4427, 0.4146],
    10: [0.9063, 0.5949, 0.4776, 0.4114, 0.3702, 0.341, 0.3215, 0.3063, 0.2973, 0.2901],
    20: [
        *(0.9057, 0.591, 0.4692, 0.3984, 0.3529, 0.319, 0.2941, 0.274, 0.2588, 0.2462),
        *(0.2356, 0.2265, 0.2196, 0.2133, 0.2083, 0.2042, 0.2007, 0.198, 0.1965, 0.1944),
    ],
}


@pytest.mark.parametrize("losses", FEW.values(), ids=FEW)
def test_a_training_that_was_too_short_is_told(losses: list[float]) -> None:
    """More epochs make it better, although the learning rate goes down to zero and flattens the curve."""
    assert of_curves({"loss": [*enumerate(losses, start=1)]}) == Convergence(False, ("loss",))


@pytest.mark.parametrize("losses", ENOUGH.values(), ids=ENOUGH)
def test_a_training_that_was_long_enough_has_settled(losses: list[float]) -> None:
    """More epochs lower the loss a little, and change the model little."""
    assert of_curves({"loss": [*enumerate(losses, start=1)]}) == Convergence(True)


@pytest.mark.parametrize(
    ("name", "values", "improving"),
    [
        ("validation_macro_f1", [0.40, 0.45, 0.50, 0.55], True),
        ("validation_macro_f1", [0.40, 0.52, 0.55, 0.551], False),
        ("validation_macro_f1", [0.40, 0.55, 0.50, 0.52], False),
        ("validation_loss", [0.9, 0.8, 0.7, 0.6], True),
        ("validation_loss", [0.9, 0.6, 0.7, 0.8], False),
        ("validation_rmse", [9.0, 7.0, 5.0], True),
        ("validation_macro_f1", [0.40], False),
        ("validation_macro_f1", [0.40, math.nan], False),
        ("learning_rate", [0.4, 0.3, 0.2, 0.1], False),
    ],
    ids=str,
)
def test_a_metric_on_validation_rows_settles_too(name: str, values: list[float], improving: bool) -> None:
    """It was still improving if its last value is the best one and it improved by then."""
    curves = {"loss": [(step, math.exp(-step)) for step in range(10)], name: [*enumerate(values)]}
    assert of_curves(curves) == Convergence(not improving, (name,) if improving else ())


def test_a_training_that_diverged_is_not_improving() -> None:
    """More epochs would not help it."""
    assert of_curves({"loss": [(1, 0.5), (2, 0.7), (3, 0.6)]}).converged is False
    assert of_curves({"loss": [(1, 0.5), (2, math.nan)]}) == Convergence(False)


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([], None),
        ([0.7], None),
        ([0.70, 0.35, 0.29], True),
        ([0.9, 0.6], False),
        ([0.9, 0.9, 0.9], True),
        ([0.5, 0.7, 0.6], False),
        ([0.7, math.nan], False),
        ([0.7, math.nan, 0.4, 0.4], True),
        ([1.0 - step / 100 for step in range(100)], False),
        ([math.exp(-step / 10) for step in range(100)], True),
    ],
    ids=str,
)
def test_converged_if_the_loss_stopped_falling(losses: list[float], expected: bool | None) -> None:
    """A loss that falls by more than 3 % of its whole fall in the last tenth had not stopped falling."""
    assert of_curves({"loss": [*enumerate(losses, start=1)]}).converged is expected


def test_noise_is_no_convergence() -> None:
    """A loss that jumps from step to step is judged by its means."""
    noisy = [(step, 1.0 - step / 100 + (0.3 if step % 2 else -0.3)) for step in range(100)]
    assert of_curves({"loss": noisy}).converged is False


def test_without_a_loss_it_is_unknown() -> None:
    """Other curves do not say whether a training converged."""
    assert of_curves({"validation_macro_f1": [(1, 0.5), (2, 0.6)]}) == Convergence(None)
