"""Checks the syntax of a flow on the agent, before a job is submitted."""

from __future__ import annotations

import ast
import posixpath
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator

from modelbuild.errors import ConfigurationError
from modelbuild.train.commit.objects import plain

_NEWEST = 14
_SECONDS = 20
# Syntax of Pythons newer than 3.10: except* (3.11), type, type parameters and nested quotes in f-strings
# (3.12), defaults of type parameters (3.13), except without brackets and t-strings (3.14).
_MAY_BE_NEWER = re.compile(
    r"^\s*(?:except\s*\*|except\s+[\w.]+\s*,|type\s+\w+|(?:async\s+)?(?:def|class)\s+\w+\s*\[)"
    r"|\b(?:[rR]?[fFtT]|[fFtT][rR])[\"']"
)
_COMPILE = """
import sys, warnings
warnings.simplefilter("ignore")
try:
    compile(sys.stdin.buffer.read(), sys.argv[1], "exec", dont_inherit=True)
except (SyntaxError, ValueError) as error:
    print("bad", getattr(error, "lineno", None) or 0, getattr(error, "msg", None) or error)
else:
    print("good")
"""


def require(read: Callable[[str], bytes | None], flow: str) -> None:
    """Refuse a flow with a syntax error, in its file or in a file of its folder that it imports.

    The images may have a newer Python than the agent. So the newest Python on PATH checks what may be newer
    syntax; without one, the head finds the error.

    Args:
        read: returns the content of a file of the commit, or None.
        flow: the flow's file.

    Raises:
        ConfigurationError: a file is no Python; the message has the file, the line and what is wrong.
    """
    for name, text in _files(read, flow):
        error = _error(text, name)
        if error is None:
            continue
        line, message = error
        if _may_be_newer(text, line, message):
            # The head reports what this Python cannot decide.
            newer = _newer_error(text, name)
            if newer is None:
                continue
            line, message = newer
        raise ConfigurationError(
            f"{plain(name)}, line {line}, is not Python: {message}: correct it and commit"
        )


def _files(read: Callable[[str], bytes | None], flow: str) -> Iterator[tuple[str, bytes]]:
    """The flow, and the files of its folder that it imports, directly or through others."""
    folder = posixpath.dirname(flow)
    left, seen = [flow], {flow}
    while left:
        name = left.pop(0)
        text = read(name)
        if text is None:
            continue
        yield name, text
        for path in _imports(text, folder, posixpath.dirname(name)):
            for candidate in (f"{path}.py", posixpath.join(path, "__init__.py")):
                if candidate not in seen:
                    seen.add(candidate)
                    left.append(candidate)


def parse(text: bytes) -> ast.Module | None:
    """The syntax tree of a file; None if this Python cannot parse it, as a newer one might."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _imports(text: bytes, root: str, folder: str) -> list[str]:
    """The paths without suffix at which a file's imports would lie, with those of their parent packages.

    Args:
        text: the content of the file; there are none for a file that is not parsed.
        root: the folder of the flow, in which absolute imports are looked for.
        folder: the folder of the file, in which relative ones are.
    """
    tree = parse(text)
    if tree is None:
        return []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found |= _paths(root, alias.name)
        elif isinstance(node, ast.ImportFrom):
            start = (
                posixpath.normpath(posixpath.join(folder, *[".."] * (node.level - 1))) if node.level else root
            )
            found |= _paths(start, node.module or "")
            for alias in node.names:
                found |= _paths(start, f"{node.module}.{alias.name}" if node.module else alias.name)
    return sorted(found)


def _paths(start: str, module: str) -> set[str]:
    """The path of a module, and those of the packages around it."""
    parts = module.split(".") if module else []
    paths = (posixpath.join(start, *parts[:length]) for length in range(1, len(parts) + 1))
    return {posixpath.normpath(path) for path in paths}


def _error(text: bytes, name: str) -> tuple[int, str] | None:
    """The line and message of this Python's syntax error; None if there is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, plain(name), "exec", dont_inherit=True)
    except SyntaxError as error:
        return error.lineno or 1, error.msg
    except ValueError as error:
        return 1, str(error)
    except (RecursionError, MemoryError):
        # Code that is nested too deeply for this Python may be valid for the image's.
        return None
    return None


def _may_be_newer(text: bytes, line: int, message: str) -> bool:
    lines = text.decode(errors="replace").splitlines()
    # An f-string may begin some lines above the line that an old Python reports.
    near = lines[max(0, line - 3) : line]
    return message.startswith(("f-string", "t-string")) or any(map(_MAY_BE_NEWER.search, near))


def _newer_error(text: bytes, name: str) -> tuple[int, str] | None:
    """The syntax error of the newest Python on PATH; None if it has none, or is not newer."""
    own = sys.version_info.minor
    if own >= _NEWEST:
        return _error(text, name)
    for minor in range(_NEWEST, own, -1):
        python = shutil.which(f"python3.{minor}")
        if python is None:
            continue
        command = [python, "-I", "-c", _COMPILE, plain(name)]
        try:
            done = subprocess.run(command, input=text, capture_output=True, timeout=_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError):
            continue
        kind, _, rest = done.stdout.decode(errors="replace").strip().partition(" ")
        if kind == "good":
            return None
        line, _, message = rest.partition(" ")
        return int(line), message
    return None
