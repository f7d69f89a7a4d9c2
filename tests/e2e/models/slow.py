"""In the place of the small flow's ``model.py``: the training takes longer than any test waits."""

from __future__ import annotations

import time
from typing import NoReturn


def fit(*_: object, **__: object) -> NoReturn:
    """Sleep until the job is ended."""
    time.sleep(600)
    raise RuntimeError("nothing ended this job in ten minutes")
