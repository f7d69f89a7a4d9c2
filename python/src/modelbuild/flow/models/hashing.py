"""Hashes texts in several processes, because numpy holds Python's lock while it picks elements.

:mod:`multiprocessing` would import the flow's file, and with it Metaflow, in each process. These processes
import this module alone, and only a training with many texts starts them.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO

import numpy as np

from modelbuild.errors import ModelbuildError
from modelbuild.flow.models.shuffle import Bins, Numbers, Rows, sort_by_bin
from modelbuild.serving.features import features

_FEW = 8
"""So many pieces are hashed before the processes would have started."""

_MOST_PROCESSES = 4

# It imports the same modules as this process, whatever the variables for Python say.
_START = f"import sys; sys.path[:] = sys.argv[1:]; from {__name__} import main; main()"


@dataclass(frozen=True)
class Piece:
    """Some texts, the number of the label of each, and the bin that it goes to."""

    texts: Sequence[str]
    targets: Numbers
    bins: Bins


@dataclass(frozen=True)
class Hashing:
    """How texts become n-grams: the arguments of :func:`modelbuild.serving.features.features`."""

    buckets: int
    ngrams: int
    characters: int

    def hash(self, piece: Piece) -> Rows:
        """The n-grams of each text, sorted by bin."""
        ids, offsets = features(
            piece.texts, buckets=self.buckets, ngrams=self.ngrams, characters=self.characters
        )
        counts = np.diff(offsets).astype(np.int32)
        return sort_by_bin(Rows(piece.targets, counts, ids.astype(np.int32)), piece.bins)

    def hash_all(self, pieces: Iterable[Piece]) -> Iterator[tuple[Bins, Rows]]:
        """The bins of each piece and its n-grams, in order; the number of processors does not change them.

        Raises:
            ModelbuildError: a process that hashes texts has ended.
        """
        left = iter(pieces)
        first = list(islice(left, _FEW))
        processes = min(_MOST_PROCESSES, os.cpu_count() or 1)
        if len(first) < _FEW or processes == 1:
            for piece in chain(first, left):
                yield piece.bins, self.hash(piece)
            return
        with ExitStack() as stack:
            idle = [stack.enter_context(_Process(self)) for _ in range(processes)]
            busy: deque[tuple[_Process, Bins]] = deque()
            for piece in chain(first, left):
                if idle:
                    process = idle.pop()
                    process.send(piece)
                    busy.append((process, piece.bins))
                else:
                    process, bins = busy.popleft()
                    rows = process.receive()
                    # It hashes the next piece while the caller uses these rows.
                    process.send(piece)
                    busy.append((process, piece.bins))
                    yield bins, rows
            for process, bins in busy:
                yield bins, process.receive()


class _Process:
    """A process that hashes one piece after the other."""

    def __init__(self, hashing: Hashing) -> None:
        command = [sys.executable, "-I", "-X", "utf8", "-c", _START, *filter(None, sys.path)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        self._hashing = hashing

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def send(self, piece: Piece) -> None:
        """Let it hash a piece; it must have none.

        Raises:
            ModelbuildError: the process has ended.
        """
        try:
            _send(self._to, (self._hashing, piece))
        except BrokenPipeError as error:
            raise self._ended() from error

    def receive(self) -> Rows:
        """The n-grams of the piece that was sent.

        Raises:
            ModelbuildError: the process has ended.
        """
        try:
            rows: Rows = pickle.load(self._from)
        except (EOFError, pickle.UnpicklingError) as error:
            raise self._ended() from error
        return rows

    def _ended(self) -> ModelbuildError:
        return ModelbuildError(
            f"a process that hashes texts ended with exit code {self._process.wait()}: see its last "
            "lines in the log; if there are none, give the step more memory"
        )


def main() -> None:
    """Hash each piece that comes on standard input, until it is closed."""
    # Ctrl-C goes to all processes of a terminal, and the process that started this one ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            hashing, piece = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        _send(sys.stdout.buffer, hashing.hash(piece))


def _send(pipe: IO[bytes], value: object) -> None:
    pipe.write(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    pipe.flush()
