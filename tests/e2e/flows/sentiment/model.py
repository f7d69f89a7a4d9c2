"""How the model is fitted. Tests put a file of ``tests/e2e/models`` in the place of this one."""

from __future__ import annotations

from modelbuild.flow.models.linear import fit

__all__ = ["fit"]
