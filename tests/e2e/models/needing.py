"""In the place of ``flows/sentiment/model.py``, which lies beside it as ``own_model.py``: it needs an object.

Without the object ``needed`` below the training's prefix, the training fails.
"""

from __future__ import annotations

import os

import own_model

from modelbuild.flow import training


def fit(*arguments: object, **options: object) -> object:
    """Train as the flow's own model does, where the object is there."""
    if not training.storage().exists(f"{os.environ['ARTIFACTS']}/needed"):
        raise RuntimeError("what it needs is not there")
    return own_model.fit(*arguments, **options)
