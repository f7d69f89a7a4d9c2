"""Reads the names of a flow's steps from its file, because the agent does not have Metaflow."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable

from modelbuild.errors import ConfigurationError
from modelbuild.train.commit.syntax import parse


def require(named: Iterable[str], text: bytes, flow: str) -> None:
    """Refuse names of steps that the flow does not have; ``text`` is the content of the file ``flow``.

    Raises:
        ConfigurationError: option resources has such a name.
    """
    steps = _steps(text)
    for name in sorted(set(named) - set(steps)) if steps else ():
        near = difflib.get_close_matches(name, steps, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(steps)}"
        raise ConfigurationError(f"option resources names step {name}, which {flow} does not have: {hint}")


def _steps(text: bytes) -> list[str]:
    """The steps in order; empty if the flow may inherit others, which only the head can see.

    ``ModelFlow`` has no steps of its own.
    """
    tree = parse(text)
    if tree is None:
        return []
    found = []
    for flow in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        functions = [node for node in flow.body if isinstance(node, ast.FunctionDef)]
        steps = [node.name for node in functions if "step" in map(_name, node.decorator_list)]
        if steps and list(map(_name, flow.bases)) not in (["FlowSpec"], ["ModelFlow"]):
            return []
        found += steps
    return found


def _name(node: ast.expr) -> str:
    """The last name of an expression such as ``step`` or ``metaflow.step``."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
