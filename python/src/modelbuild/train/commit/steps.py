"""The names of a flow's steps, read from its file: Metaflow, which knows them, is not on the agent."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Iterable

from modelbuild.errors import ConfigurationError


def require(named: Iterable[str], text: bytes, flow: str) -> None:
    """Refuse the name of a step that the flow in ``text`` does not have; ``flow`` is its file.

    Raises:
        ConfigurationError: option resources has such a name.
    """
    steps = _steps(text)
    for name in sorted(set(named) - set(steps)) if steps else ():
        near = difflib.get_close_matches(name, steps, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(steps)}"
        raise ConfigurationError(f"option resources names step {name}, which {flow} does not have: {hint}")


def _steps(text: bytes) -> list[str]:
    """The steps in their order; none where others may be inherited, so that only the head can know.

    ``ModelFlow`` has no steps of its own.
    """
    try:
        classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)]
    except (SyntaxError, ValueError, RecursionError):
        return []
    found = []
    for flow in classes:
        functions = [node for node in flow.body if isinstance(node, ast.FunctionDef)]
        steps = [node.name for node in functions if "step" in map(_name, node.decorator_list)]
        if steps and list(map(_name, flow.bases)) not in (["FlowSpec"], ["ModelFlow"]):
            return []
        found += steps
    return found


def _name(node: ast.expr) -> str:
    """What an expression such as ``step`` or ``metaflow.step`` ends in."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
