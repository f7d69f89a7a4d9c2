"""The clone of modelbuild's repository that this code runs from."""

from __future__ import annotations

from pathlib import Path

from modelbuild.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[3]
"""Its images, infrastructure and plugins are the ones that run on the laptop."""


def require(*names: str) -> Path:
    """The path of something in the clone, below ``ROOT``.

    Raises:
        ConfigurationError: it is not there: the package was installed without its clone.
    """
    path = ROOT.joinpath(*names)
    if not path.exists():
        raise ConfigurationError(
            f"laptop mode runs from a clone of modelbuild's repository, and {path} is missing: "
            "run scripts/install in a clone"
        )
    return path
