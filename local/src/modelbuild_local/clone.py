"""The clone of modelbuild's repository that this code runs from."""

from __future__ import annotations

from pathlib import Path

from modelbuild.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[3]
"""Laptop mode runs the images, infrastructure and plugins of this clone."""


def require(*names: str) -> Path:
    """The path of a file or folder of the clone, below ``ROOT``.

    Raises:
        ConfigurationError: it is missing: the package was installed without its clone.
    """
    path = ROOT.joinpath(*names)
    if not path.exists():
        raise ConfigurationError(
            f"laptop mode runs from a clone of modelbuild's repository, and {path} is missing: "
            "run scripts/install in a clone"
        )
    return path
