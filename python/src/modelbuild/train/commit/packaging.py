"""Makes Metaflow pack all files of a flow's folder for its steps."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "METAFLOW_DEFAULT_PACKAGE_SUFFIXES"


def suffixes(source: Path) -> str:
    """The value of ``METAFLOW_DEFAULT_PACKAGE_SUFFIXES`` for which every file of a flow's folder is packed.

    By default Metaflow packs .py, .R and .RDS. Every name ends in the empty suffix, but Metaflow packs a file
    whose name begins with a dot only when its whole name is listed. It packs no folder whose name begins
    with a dot, and no ``__pycache__`` (``metaflow.packaging_sys.utils``, Metaflow 2.19.39).

    Args:
        source: the unpacked commit, because the flow's folder may contain links to its other folders.
    """
    hidden: set[str] = set()
    for _, folders, names in os.walk(source):
        folders[:] = [name for name in folders if not name.startswith(".")]
        hidden |= {name.lower() for name in names if name.startswith(".")}
    return ",".join([".py", "", *sorted(hidden)])
