"""``branches``: patterns of branch names.

Source: https://buildkite.com/docs/pipelines/configure/workflows/branch-configuration
"""

from __future__ import annotations


def matches_branch(patterns: str, branch: str) -> bool:
    """Whether a branch matches patterns that are separated by spaces.

    ``*`` matches any text. No pattern after ``!`` may match; if there are others, one of them must match.
    """
    words = patterns.split()
    included = [word for word in words if not word.startswith("!")]
    excluded = [word[1:] for word in words if word.startswith("!")]
    if any(matches_wildcard(word, branch) for word in excluded):
        return False
    return not included or any(matches_wildcard(word, branch) for word in included)


def matches_wildcard(pattern: str, text: str) -> bool:
    """Whether ``text`` matches ``pattern``, in which ``*`` matches any text; takes linear time."""
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
