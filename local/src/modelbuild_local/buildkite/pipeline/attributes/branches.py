"""``branches``: patterns of branch names.

Source: https://buildkite.com/docs/pipelines/configure/workflows/branch-configuration
"""

from __future__ import annotations


def matches_branch(patterns: str, branch: str) -> bool:
    """Whether a branch is meant by patterns that spaces separate.

    ``*`` stands for any text. A pattern after ``!`` must not match; of the others, one must, where there
    is one.
    """
    words = patterns.split()
    included = [word for word in words if not word.startswith("!")]
    excluded = [word[1:] for word in words if word.startswith("!")]
    if any(matches_wildcard(word, branch) for word in excluded):
        return False
    return not included or any(matches_wildcard(word, branch) for word in included)


def matches_wildcard(pattern: str, text: str) -> bool:
    """Whether ``text`` is ``pattern``, in which ``*`` stands for any text; in linear time."""
    first, *others = pattern.split("*")
    if not others:
        return text == pattern
    *middle, last = others
    at, end = len(first), len(text) - len(last)
    if at > end or not text.startswith(first) or not text.endswith(last):
        return False
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
