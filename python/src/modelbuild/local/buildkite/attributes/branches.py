"""``branches``: patterns of branch names.

Source: https://buildkite.com/docs/pipelines/configure/workflows/branch-configuration
"""

from __future__ import annotations

import re


def matches_branch(patterns: str, branch: str) -> bool:
    """Whether a branch is meant by patterns that spaces separate.

    ``*`` stands for any text. A pattern after ``!`` must not match; of the others, one must, where there
    is one.
    """
    words = patterns.split()
    wanted = [word for word in words if not word.startswith("!")]
    unwanted = [word[1:] for word in words if word.startswith("!")]
    if any(matches_wildcard(word, branch) for word in unwanted):
        return False
    return not wanted or any(matches_wildcard(word, branch) for word in wanted)


def matches_wildcard(pattern: str, text: str) -> bool:
    """Whether ``text`` is ``pattern``, in which ``*`` stands for any text."""
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    expression = re.escape(first) + "".join(f".*{re.escape(part)}" for part in others)
    return re.fullmatch(expression, text, re.DOTALL) is not None
