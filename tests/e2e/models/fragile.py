"""In the place of the small flow's ``model.py``: trainings of 13 epochs fail."""

from __future__ import annotations

from typing import Any

from modelbuild.flow.models import linear


def fit(*rows: Any, **options: Any) -> bytes:
    """Fit the model, if it does not have the unlucky number of epochs."""
    if options["epochs"] == 13:
        raise ArithmeticError("the loss is not finite")
    return linear.fit(*rows, **options)
