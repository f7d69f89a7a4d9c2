"""The folders in which this process looks for programs: git, buildkite-agent, python3.N."""

from __future__ import annotations

import os


def keep_absolute_folders() -> None:
    """Drop the entries of PATH that are relative or empty.

    The working directory of a step is the checkout, so programs in such folders are files of the commit.
    Child processes inherit the PATH.
    """
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(filter(os.path.isabs, folders)) or os.defpath
