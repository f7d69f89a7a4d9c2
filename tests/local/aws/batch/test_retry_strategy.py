"""When Batch tries a failed job again."""

from __future__ import annotations

from typing import Any

import pytest

from modelbuild_local.aws.batch.retry import attempts, retries

HOST_LOST = {"onStatusReason": "Host EC2*", "action": "RETRY"}
REST = {"onReason": "*", "action": "EXIT"}


@pytest.mark.parametrize(
    ("rules", "end", "again"),
    [
        ([], (1, None, "x"), True),
        ([HOST_LOST, REST], (None, None, "Host EC2 (instance i-1) terminated."), True),
        ([HOST_LOST, REST], (1, None, "Essential container in task exited"), False),
        ([{"onExitCode": "137", "action": "retry"}, REST], (137, None, "x"), True),
        ([{"onExitCode": "1*", "action": "exit"}], (137, None, "x"), False),
        ([{"onExitCode": "3", "onReason": "Out*", "action": "exit"}], (3, "Other", "x"), True),
        ([{"onReason": "[a]", "action": "exit"}], (1, "a", "x"), True),
    ],
)
def test_first_rule_that_holds_decides(rules: list[dict[str, str]], end: Any, again: bool) -> None:
    """Rules go in order, all conditions of one must hold, no rule means retry, only a last * is special."""
    assert retries({"evaluateOnExit": rules}, *end) is again


@pytest.mark.parametrize(("strategy", "count"), [({}, 1), ({"attempts": 3}, 3), ({"attempts": 99}, 10)])
def test_attempts_are_one_to_ten(strategy: dict[str, Any], count: int) -> None:
    """Batch allows ten attempts at most and takes one where nothing is said."""
    assert attempts(strategy) == count
