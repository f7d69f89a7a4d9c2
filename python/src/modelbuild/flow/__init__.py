"""The package that flows import: parameters, Batch decorators, data snapshots, tracking and publishing."""

from __future__ import annotations

import os
from collections.abc import MutableMapping


def _name_user(environ: MutableMapping[str, str]) -> None:
    """Set a user name for Metaflow, which refuses to run without one or as root, as in containers."""
    users = (environ.get(name) for name in ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER"))
    if not any(name and name != "root" for name in users):
        name = environ.get("LOGNAME", "")
        environ["USERNAME"] = name if name and name != "root" else f"uid-{os.getuid()}"


# At import, because a flow may start Metaflow without another call of this package; its steps inherit the
# variable.
_name_user(os.environ)
