"""What a model's own server answers to the evaluation rows of another model: the job's rows and scores."""

from __future__ import annotations

from dataclasses import dataclass

from modelbuild.contract import Scoring
from modelbuild.store import records
from modelbuild.store.objects import Objects


@dataclass(frozen=True)
class ScoreStore:
    """The files of one scoring, below ``scored/`` of the model that scores.

    Attributes:
        objects: S3 of the account that trains.
        prefix: the prefix of that model.
        name: the scoring, by what is scored: the model, its image and the rows.
    """

    objects: Objects
    prefix: str
    name: str

    @property
    def rows_uri(self) -> str:
        """The URI of the rows."""
        return f"{self.prefix}/scored/{self.name}/rows.jsonl"

    def write_rows_once(self, rows: bytes) -> None:
        """Write the inputs of the rows, a line of JSON each; the job compares their hash."""
        self.objects.write_once(self.rows_uri, rows, "application/jsonlines")

    @property
    def scores_uri(self) -> str:
        """The URI of the scores, which the job writes."""
        return f"{self.prefix}/scored/{self.name}/scores.json"

    def scores(self) -> Scoring | None:
        """The scores, or None before the job has written them.

        Raises:
            InvalidRecord: it wrote something else.
        """
        return records.find(self.objects, self.scores_uri, Scoring, records.LARGE_BYTES)
