"""Choose the parameters of flows/topics, and measure how good its models are.

    python bench/topic_quality.py flows/topics/params.yaml choose    # on rows held out of the training rows
    python bench/topic_quality.py flows/topics/params.yaml           # on the rows that the flow holds out

The rows are those of the flow, made from the packages of flows/lake without AWS. The interval is that of
1,000 bootstrap samples of whole articles. The anchor is TF-IDF of words and pairs of words with logistic
regression.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from modelbuild.flow import rows
from modelbuild.flow.models import linear
from modelbuild.formats import agent_yaml
from modelbuild.serving.model import load

sys.path.insert(0, str(Path(__file__).parents[1] / "flows" / "lake"))
from load import TABLES

Row = dict[str, str]
Predicted = Sequence[str] | npt.NDArray[Any]

GRID = {
    "ngrams": (1, 2),
    "buckets": (2**18,),
    "epochs": (3, 6),
    "batch_size": (64,),
    "learning_rate": (1.0, 2.0, 4.0),
}
SAMPLES = 1_000


def article(row: Row) -> str:
    """What must not be divided."""
    return row["article"]


def halves(parameters: dict[str, Any]) -> tuple[list[Row], list[Row]]:
    """The rows to train on and the rows held out, as the flow has them."""
    data = parameters["data"]
    found: list[Any] = sorted(TABLES[data["table"]].rows(), key=lambda row: str(row["id"]))
    texts = rows.distinct(found, text=lambda row: row["text"], label=lambda row: row["topic"])
    return rows.hold_out(texts, article, data["held_out"], parameters["seed"])


def predicted(train: list[Row], held_out: list[Row], seed: int, **how: Any) -> Predicted:
    """What the flow's model answers."""
    labels = sorted({row["topic"] for row in train})
    texts = [(row["text"], row["topic"]) for row in train]
    shape = {name: how[name] for name in ("ngrams", "buckets")}
    weights = linear.fit(texts, labels=labels, seed=seed, **how)
    model = load(linear.files(weights, labels=labels, parameters={}, **shape))
    return [answer["label"] for answer in model.predict_json([row["text"] for row in held_out])]


def predicted_by_anchor(train: list[Row], held_out: list[Row]) -> Predicted:
    """What TF-IDF with logistic regression answers."""
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    anchor = LogisticRegression(C=4, max_iter=1_000)
    anchor.fit(words.fit_transform([row["text"] for row in train]), [row["topic"] for row in train])
    answers: npt.NDArray[Any] = anchor.predict(words.transform([row["text"] for row in held_out]))
    return answers


class Counts:
    """How often each topic was answered where another one is true, article by article."""

    def __init__(self, held_out: list[Row], answers: Predicted) -> None:
        self.topics, truth = np.unique([row["topic"] for row in held_out], return_inverse=True)
        articles, of = np.unique([row["article"] for row in held_out], return_inverse=True)
        answered = np.searchsorted(self.topics, np.asarray(answers))
        self._of_articles = np.zeros((len(articles), len(self.topics), len(self.topics)))
        np.add.at(self._of_articles, (of, truth, answered), 1)

    def f1(self, times: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.float64]:
        """F1 of each topic, with each article as often as ``times`` says."""
        one = np.ones(len(self._of_articles)) if times is None else times
        table = np.tensordot(one, self._of_articles, axes=1)
        both = table.sum(axis=0) + table.sum(axis=1)
        return np.asarray(2 * np.diagonal(table) / np.maximum(both, 1))

    def interval(self) -> tuple[float, float]:
        """The ends of the interval that has macro-F1 in 95 of 100 samples of articles."""
        random, articles = np.random.default_rng(0), len(self._of_articles)
        samples = random.multinomial(articles, np.full(articles, 1 / articles), size=SAMPLES)
        low, high = np.percentile([self.f1(one.astype(float)).mean() for one in samples], [2.5, 97.5])
        return float(low), float(high)

    def __str__(self) -> str:
        table = self._of_articles.sum(axis=0)
        low, high = self.interval()
        return (
            f"macro-F1 {self.f1().mean():.3f} ({low:.3f} to {high:.3f})  "
            f"accuracy {np.trace(table) / table.sum():.3f}"
        )


def choose(parameters: dict[str, Any]) -> None:
    """Measure each point of the grid on a fifth of the articles that the flow trains on."""
    train, _ = halves(parameters)
    seed = parameters["seed"]
    # Another seed than the split's, by which no article that is left would be held out.
    fitted, validation = rows.split(train, article, test_percent=20, seed=seed + 1)
    print(f"{len(fitted):,} rows to train on, {len(validation):,} to choose with", flush=True)
    for values in itertools.product(*GRID.values()):
        how = dict(zip(GRID, values, strict=True))
        began = time.monotonic()
        macro = Counts(validation, predicted(fitted, validation, seed, **how)).f1().mean()
        print(f"macro-F1 {macro:.4f}  {time.monotonic() - began:5.1f} s  {how}", flush=True)


def report(parameters: dict[str, Any]) -> None:
    """Measure the flow's model and the anchor on the rows that the flow holds out."""
    train, held_out = halves(parameters)
    print(f"{len(train):,} rows to train on, {len(held_out):,} held out", flush=True)
    how = {**parameters["model"], **parameters["training"]}
    ours = Counts(held_out, predicted(train, held_out, parameters["seed"], **how))
    print(f"flow    {ours}", flush=True)
    anchor = Counts(held_out, predicted_by_anchor(train, held_out))
    print(f"anchor  {anchor}", flush=True)
    for topic, own, other in zip(ours.topics, ours.f1(), anchor.f1(), strict=True):
        print(f"{topic:24} F1 {own:.3f}, anchor {other:.3f}")


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parameters", type=Path)
    parser.add_argument("what", nargs="?", choices=("report", "choose"), default="report")
    asked = parser.parse_args()
    parameters: Any = agent_yaml.load_written(asked.parameters.read_text(encoding="utf-8"))
    (choose if asked.what == "choose" else report)(parameters)


if __name__ == "__main__":
    main()
