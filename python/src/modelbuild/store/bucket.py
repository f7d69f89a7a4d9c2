"""The claims that all trainings of one bucket share; they expire after a day."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import RootModel

from modelbuild.contract import Build, document, split_s3_uri
from modelbuild.store import records
from modelbuild.store.objects import Objects


class ListOfCancelledBuilds(RootModel[frozenset[int]]):
    """The numbers of builds that were cancelled."""


class BucketStore:
    """The folder ``buildkite/`` of the bucket of ``artifacts``.

    Every method raises ``AwsError`` when S3 refuses, and ``InvalidRecord`` for a file that does not hold its
    record.
    """

    def __init__(self, objects: Objects, artifacts: str) -> None:
        self._objects = objects
        self._root = f"s3://{split_s3_uri(artifacts)[0]}/buildkite"

    def claim_slot(self, name: str) -> bool:
        """Claim a slot for a request to Buildkite; False if another program has claimed it."""
        return self._objects.write_once(f"{self._root}/turns/{name}", b"")

    def claim_request(self, build: Build, slice_number: int) -> bool:
        """Claim the request of this time slice that asks Buildkite for the pipeline's cancelled builds."""
        return self._objects.write_once(f"{self._cancelled(build, slice_number)}.asked", b"")

    def write_cancelled(self, build: Build, slice_number: int, numbers: Collection[int]) -> None:
        """Write Buildkite's answer for the heads of the other builds."""
        body = document([*sorted(numbers)]).encode()
        self._objects.write_once(f"{self._cancelled(build, slice_number)}.json", body)

    def cancelled(self, build: Build, slice_number: int) -> Collection[int] | None:
        """The numbers of the pipeline's cancelled builds, or None until another head has written them."""
        uri = f"{self._cancelled(build, slice_number)}.json"
        found = records.find(self._objects, uri, ListOfCancelledBuilds)
        return None if found is None else found.root

    def _cancelled(self, build: Build, slice_number: int) -> str:
        return f"{self._root}/cancelled/{build.organization}/{build.pipeline}/{slice_number}"
