"""What flows import: parameters, where steps run, data snapshots, tracking and publishing."""

from __future__ import annotations

import os
from collections.abc import MutableMapping


def _name_user(environ: MutableMapping[str, str]) -> None:
    """Give Metaflow a user where it would find none, or root only, and refuse to run, as in containers."""
    users = (environ.get(name) for name in ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER"))
    if not any(name and name != "root" for name in users):
        name = environ.get("LOGNAME", "")
        environ["USERNAME"] = name if name and name != "root" else f"uid-{os.getuid()}"


# On import, because a flow may start Metaflow without another call of this package; its steps inherit it.
_name_user(os.environ)
