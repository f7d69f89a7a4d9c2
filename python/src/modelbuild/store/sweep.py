"""The files of a sweep, below the prefix of its model: work, outcomes, manifests and the leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from modelbuild.aws.failures import NotFound
from modelbuild.contract import (
    LEADERBOARD_FILE,
    LEADERBOARD_TABLE_FILE,
    Candidate,
    CandidateOutcome,
    CandidateTask,
    Leaderboard,
    Manifest,
    TaskName,
    Work,
    sha256_of,
)
from modelbuild.store import records
from modelbuild.store.objects import Objects

_READ_AT_ONCE = 8


@dataclass(frozen=True)
class SweepStore:
    """The files of the sweep whose model lies at ``prefix``, which has no slash at its end.

    Every method raises ``AwsError`` when S3 refuses, and ``InvalidRecord`` for a file that does not hold its
    record.
    """

    objects: Objects
    prefix: str

    def write_work(self, work: Work) -> str:
        """Write what an array job trains, under a name that is its hash; returns the URI."""
        content = work.to_json().encode()
        uri = f"{self.prefix}/sweep/work/{sha256_of(content)}.json"
        self.objects.write_once(uri, content)
        return uri

    def work(self, uri: str) -> Work:
        """What an array job trains.

        Raises:
            NotFound: there is no such work.
        """
        return records.read(self.objects, uri, Work, records.LARGE_BYTES)

    def write_ranked_once(self, outcome: CandidateOutcome, manifest: Manifest, predictions: bytes) -> bool:
        """Write how a candidate ended that was trained for the ranking, and before it its other files.

        Args:
            outcome: how it ended.
            manifest: its manifest, in which the predictions are at :meth:`predictions_uri`.
            predictions: what it answers for the validation rows.

        Returns:
            False if another worker wrote an outcome first.
        """
        # Named by their hashes: an earlier training of the candidate may have left others and no outcome.
        content = manifest.to_json().encode()
        hashes = {"predictions_sha256": sha256_of(predictions), "manifest_sha256": sha256_of(content)}
        outcome = outcome.model_copy(update=hashes)
        self.objects.write_once(manifest.predictions.path, predictions, "application/vnd.apache.parquet")
        self.objects.write_once(self._manifest_uri(outcome), content)
        return self.write_outcome_once(outcome)

    def write_outcome_once(self, outcome: CandidateOutcome) -> bool:
        """Write how a candidate ended; returns False if another worker wrote it first."""
        return self.objects.write_once(self._outcome_uri(outcome.task.name), outcome.to_json().encode())

    def predictions_uri(self, task: CandidateTask, predictions: bytes) -> str:
        """Where the predictions of a candidate for the validation rows are written."""
        return f"{self.prefix}/sweep/outcomes/{task.name}-{sha256_of(predictions)}.parquet"

    def outcome_names(self) -> set[str]:
        """The names of the tasks that have ended; one request for each thousand of them."""
        folder = f"{self.prefix}/sweep/outcomes/"
        listed = (uri.removeprefix(folder) for uri, _ in self.objects.list(folder))
        return {name.removesuffix(".json") for name in listed if name.endswith(".json")}

    def has_begun(self, candidates: Sequence[Candidate], attempt: int) -> bool:
        """Whether one of these candidates has been trained, in any rung of the search of an attempt."""
        trained = {one.number for one in self._searched() if one.attempt == attempt}
        return any(candidate.number in trained for candidate in candidates)

    def search_attempt(self, attempt: int) -> int:
        """The attempt whose search this attempt goes on with.

        That is the first one in which a candidate succeeded in the last rung that the search came to. Without
        one, nothing could be ranked or go on, so this attempt begins anew: another machine or permission may
        have been missing.
        """
        searches: dict[int, list[TaskName]] = {}
        for one in self._searched():
            searches.setdefault(one.attempt, []).append(one)
        with ThreadPoolExecutor(_READ_AT_ONCE) as threads:
            for earlier in sorted(number for number in searches if number < attempt):
                last = max(one.place for one in searches[earlier])
                ended = [one for one in searches[earlier] if one.place == last]
                if any(threads.map(self._has_succeeded, ended)):
                    return earlier
        return attempt

    def final_attempt(self, candidate: Candidate, attempt: int) -> int:
        """The first attempt whose training of a candidate on all training rows succeeded; else this one."""
        names = (TaskName("final", candidate.number, attempt=earlier) for earlier in range(1, attempt))
        return next((name.attempt for name in names if self._has_succeeded(name)), attempt)

    def _has_succeeded(self, name: TaskName) -> bool:
        found = self._find_outcome(str(name))
        return found is not None and found.status == "succeeded"

    def _find_outcome(self, name: str) -> CandidateOutcome | None:
        return records.find(self.objects, self._outcome_uri(name), CandidateOutcome, records.LARGE_BYTES)

    def _searched(self) -> list[TaskName]:
        """What has been trained for the ranking."""
        names = map(TaskName.parse, self.outcome_names())
        return [name for name in names if name is not None and name.stage == "search"]

    def outcomes(self, tasks: list[CandidateTask]) -> list[CandidateOutcome | None]:
        """How each of these tasks ended; None for one that has not."""
        with ThreadPoolExecutor(_READ_AT_ONCE) as threads:
            return [*threads.map(lambda task: self._find_outcome(task.name), tasks)]

    def predictions(self, outcome: CandidateOutcome) -> bytes:
        """What a candidate answers for the validation rows.

        Raises:
            NotFound: it has none, or they are not kept.
        """
        if outcome.predictions_sha256 is None:
            raise NotFound(
                f"task {outcome.task.name} of the sweep in {self.prefix} has no predictions: it ended as "
                f"{outcome.status}"
            )
        name = f"{outcome.task.name}-{outcome.predictions_sha256}.parquet"
        return self.objects.read(f"{self.prefix}/sweep/outcomes/{name}")

    def manifest(self, candidate: int) -> Manifest | None:
        """The manifest of a candidate's last training for the ranking, or None if that failed.

        With successive halving it is the one of the last rung that trained the candidate.

        Args:
            candidate: its number.
        """
        trained = [name for name in self._searched() if name.number == candidate]
        if not trained:
            return None
        name = max(trained, key=lambda one: (one.attempt, one.place))
        outcome = records.read(
            self.objects, self._outcome_uri(str(name)), CandidateOutcome, records.LARGE_BYTES
        )
        if outcome.manifest_sha256 is None:
            return None
        return records.read(self.objects, self._manifest_uri(outcome), Manifest, records.LARGE_BYTES)

    @property
    def leaderboard_uri(self) -> str:
        """The URI of the leaderboard."""
        return f"{self.prefix}/{LEADERBOARD_FILE}"

    def leaderboard(self) -> Leaderboard | None:
        """The leaderboard, or None before the candidates are ranked."""
        return records.find(self.objects, self.leaderboard_uri, Leaderboard, records.LARGE_BYTES)

    def write_leaderboard(self, leaderboard: Leaderboard, table: bytes) -> None:
        """Write the leaderboard as a record, and as a Parquet file for programs that compute with it."""
        self.objects.write(f"{self.prefix}/{LEADERBOARD_TABLE_FILE}", table, "application/vnd.apache.parquet")
        self.objects.write(self.leaderboard_uri, leaderboard.to_json().encode())

    def _outcome_uri(self, name: str) -> str:
        return f"{self.prefix}/sweep/outcomes/{name}.json"

    def _manifest_uri(self, outcome: CandidateOutcome) -> str:
        return f"{self.prefix}/sweep/manifests/{outcome.task.name}-{outcome.manifest_sha256}.json"
