from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from modelbuild.errors import ModelbuildError
from modelbuild.flow.models.hashing import Hashing, Piece
from modelbuild.flow.models.shuffle import Rows

HASHING = Hashing(buckets=4096, ngrams=2, characters=3)
TEXTS = ["so good", "", "not good at all", "\0", "\ud800 lone", "“great”"]


def piece(number: int) -> Piece:
    """Other texts for each number."""
    numbers = np.arange(len(TEXTS))
    return Piece(
        tuple(f"{text} {number}" for text in TEXTS),
        numbers.astype(np.int32),
        numbers[::-1].astype(np.uint8),
    )


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """The processes that were started, on a machine of three processors."""
    started: list[subprocess.Popen[bytes]] = []

    class Recorded(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    return started


@pytest.mark.parametrize(("pieces", "started"), [(0, 0), (7, 0), (8, 3), (40, 3)])
def test_many_pieces_are_hashed_in_processes(
    pieces: int, started: int, processes: list[subprocess.Popen[bytes]]
) -> None:
    """Each piece comes in its order as one process alone hashes it, and no process is left."""
    hashed = list(HASHING.hash_all(piece(number) for number in range(pieces)))
    assert [columns(rows) for _, rows in hashed] == [columns(HASHING.hash(piece(n))) for n in range(pieces)]
    assert [bins.tolist() for bins, _ in hashed] == [piece(0).bins.tolist()] * pieces
    assert len(processes) == started
    assert all(process.returncode is not None for process in processes)


def test_rows_are_sorted_by_bin() -> None:
    """A text keeps its label and its n-grams when it moves to the place of its bin."""
    rows = HASHING.hash(piece(1))
    assert rows.targets.tolist() == [5, 4, 3, 2, 1, 0]
    alone = HASHING.hash(Piece((f"{TEXTS[5]} 1",), np.array([5], np.int32), np.array([0], np.uint8)))
    assert rows.ids[: rows.counts[0]].tolist() == alone.ids.tolist()


def test_few_pieces_are_read_in_advance(processes: list[subprocess.Popen[bytes]]) -> None:
    """However many texts there are, those of a few pieces are in memory."""
    read = 0

    def stream() -> Iterator[Piece]:
        nonlocal read
        for number in range(100):
            read += 1
            yield piece(number)

    for done, _ in enumerate(HASHING.hash_all(stream())):
        assert read <= max(8, done + 5)
    assert processes


def test_a_process_that_is_killed_is_an_error(processes: list[subprocess.Popen[bytes]]) -> None:
    """A process that the system ends, as for want of memory, ends the training with a sentence."""

    def stream() -> Iterator[Piece]:
        for number in range(100):
            if number == 50:
                processes[0].kill()
            yield piece(number)

    with pytest.raises(ModelbuildError, match=r"ended with exit code -9: .* give the step more memory"):
        list(HASHING.hash_all(stream()))
    assert all(process.returncode is not None for process in processes)


def test_a_process_that_fails_is_an_error(
    processes: list[subprocess.Popen[bytes]], capfd: pytest.CaptureFixture[str]
) -> None:
    """What a process raised is in the log of the step."""
    wrong = Piece((1,), np.zeros(1, np.int32), np.zeros(1, np.uint8))  # type: ignore[arg-type]
    with pytest.raises(ModelbuildError, match="ended with exit code 1: see its last lines"):
        list(HASHING.hash_all([*(piece(number) for number in range(20)), wrong]))
    assert "TypeError" in capfd.readouterr().err
    assert len(processes) == 3


def columns(rows: Rows) -> list[list[int]]:
    """Rows as they can be compared."""
    return [column.tolist() for column in (rows.targets, rows.counts, rows.ids)]
