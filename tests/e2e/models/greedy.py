"""In the place of the small flow's ``model.py``: the training takes more memory than its job has."""

from __future__ import annotations

import time
from typing import NoReturn


def fit(*_: object, **__: object) -> NoReturn:
    """Take memory until the job is killed for it."""
    taken = []
    while True:
        taken.append(b"x" * (64 << 20))
        time.sleep(0.05)
