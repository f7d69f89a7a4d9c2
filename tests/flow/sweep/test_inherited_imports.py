"""What the processes of candidates inherit from their worker."""

from __future__ import annotations

import subprocess
import sys

EVALUATE = """
import sys
from modelbuild.flow import classification, regression
from modelbuild.flow.evaluation import EvaluationRows
from modelbuild.flow.sweep import worker

worker._import_what_candidates_use()
before = set(sys.modules)

def rows(truth):
    return EvaluationRows(ids=["a", "b"], inputs=["a", "b"], truth=truth, description="not trained on")

answers = [{"label": label, "scores": {"x": 0.5, "y": 0.5}} for label in "xy"]
classification.evaluate(rows(["x", "y"]), answers, labels=["x", "y"], baselines={})
regression.evaluate(rows([1.0, 2.0]), [{"value": 1.0}, {"value": 2.5}], baselines={})
print(*sorted(set(sys.modules) - before))
"""


def test_an_evaluation_imports_nothing_that_the_worker_has_not() -> None:
    """Otherwise each candidate imports it again, which takes longer than many a training."""
    done = subprocess.run(
        [sys.executable, "-c", EVALUATE], capture_output=True, encoding="utf-8", check=False, timeout=120
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
