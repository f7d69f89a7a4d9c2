"""The candidates of ``sweep_flow.py`` by Metaflow's own foreach: a job on Batch for each of them.

``CANDIDATES`` is how many there are. Each job does less than a candidate of a sweep: it keeps no predictions
and no evaluation, and imports nothing but Metaflow.
"""

from __future__ import annotations

import os

import threshold_work
from metaflow import FlowSpec, batch, step  # type: ignore[attr-defined]


class ForeachFlow(FlowSpec):
    """Thresholds → accuracies → the best."""

    @step
    def start(self) -> None:
        """Make the rows and the candidates."""
        self.rows = threshold_work.rows()
        count = int(os.environ["CANDIDATES"])
        self.thresholds = [(number + 0.5) / count for number in range(count)]
        self.next(self.train, foreach="thresholds")

    @batch(cpu=1, memory=2048)  # type: ignore[untyped-decorator]
    @step
    def train(self) -> None:
        """Evaluate a candidate."""
        self.threshold = float(str(self.input))
        self.accuracy = threshold_work.accuracy(self.threshold, self.rows)
        self.next(self.join)

    @step
    def join(self, inputs: list[ForeachFlow]) -> None:
        """Rank the candidates."""
        self.ranked = sorted(((one.accuracy, one.threshold) for one in inputs), reverse=True)
        self.next(self.end)

    @step
    def end(self) -> None:
        """Show the best one."""
        print(f"{len(self.ranked)} candidates, the best {self.ranked[0]}")


if __name__ == "__main__":
    ForeachFlow()  # type: ignore[no-untyped-call]
