"""In the place of the small flow's ``model.py``: the training fails until the object ``needed`` is there.

The object lies below the training's prefix.
"""

from __future__ import annotations

import os
from typing import Any

from modelbuild.flow import training
from modelbuild.flow.models import linear


def fit(*rows: Any, **options: Any) -> bytes:
    """Fit the model where the object is there."""
    if not training.storage().exists(f"{os.environ['ARTIFACTS']}/needed"):
        raise RuntimeError("what it needs is not there")
    return linear.fit(*rows, **options)
