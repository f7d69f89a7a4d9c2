"""What a flow writes in place of a record is refused in a sentence, before anything calculates with it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

import recorded
from memory import MemoryObjects
from modelbuild.contract import Manifest
from modelbuild.store import records
from modelbuild.store.attempts import Attempt

URI = "s3://bucket/manifest.json"
STEP = {"step": "train", "task": "1", "seconds": 10.0, "cpu": 4, "memory": 1_000, "gpu": 1}
HUGE = "1" + 400 * "0"


def manifest_with(place: str, literal: str) -> bytes:
    """A manifest that has this text in place of a number; the keys of the place are separated by dots."""
    document: Any = json.loads(recorded.manifest("12").to_json())
    document |= {
        "steps": [dict(STEP)],
        "training": {"rows": 100, "dropped": {"empty": 1}, "exact_duplicates": 3},
    }
    *folders, last = place.split(".")
    inner = document
    for key in folders:
        inner = inner[int(key) if key.isdigit() else key]
    inner[last] = "here"
    return json.dumps(document).replace('"here"', literal).encode()


@pytest.mark.parametrize(
    ("place", "literal"),
    [
        *((place, HUGE) for place in ("data.rows", "evaluation.overall.rows", "timings.train")),
        *((f"steps.0.{name}", HUGE) for name in ("seconds", "cpu", "memory", "gpu")),
        *((f"training.{name}", HUGE) for name in ("rows", "dropped.empty", "exact_duplicates")),
        *(("timings.train", literal) for literal in ("NaN", "Infinity", "-Infinity", "1e400")),
        *(("golden.0.output.number", literal) for literal in ("NaN", "1e400")),
        ("golden.0.tolerance", "Infinity"),
        ("steps.0.seconds", "1e308"),
        ("request.parameters.rate", "-1e999"),
    ],
)
def test_numbers_that_no_program_can_calculate_with_are_refused(place: str, literal: str) -> None:
    """A manifest with such a number would end the program that computes a cost or writes a report."""
    with pytest.raises(records.InvalidRecord) as caught:
        records.parse(manifest_with(place, literal), URI, Manifest)
    assert str(caught.value).startswith(f"{URI} is not a manifest")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("literal", ["0", "4", "9007199254740992"])
def test_other_numbers_are_read(literal: str) -> None:
    """A number that every program can hold is one of the record."""
    content = manifest_with("steps.0.memory", literal)
    assert records.parse(content, URI, Manifest).steps[0].memory == int(literal)


class Endless(MemoryObjects):
    """S3 whose objects have no end."""

    def stream(self, uri: str) -> Iterator[bytes]:
        """Spaces, which may stand before a JSON document."""
        del uri
        return itertools.repeat(b" " * (1 << 20))


def test_an_object_that_is_too_large_is_not_read_to_its_end() -> None:
    """A result larger than the memory of its readers counts as failed, so that its build hears of it."""
    result = Attempt(Endless(), "s3://bucket/models/demo/tone/7", 1).result()
    assert result is not None
    assert result.status == "failed"
    assert "result.json has more than 1,048,576 bytes" in result.reason
