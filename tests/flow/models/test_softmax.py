from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy

from modelbuild.flow.models import softmax
from modelbuild.flow.models.shuffle import Rows, Shuffle, sort_by_bin
from modelbuild.serving.features import features

LABELS = ("bad", "fine", "odd")
SHOWN = [(f"{word} number {n}", word) for word in LABELS for n in range(50)]

Weights = dict[str, npt.NDArray[np.float32]]


def fitted(rows: Any = SHOWN, **changes: Any) -> bytes:
    """The weights of a small model."""
    how = {"epochs": 3, "batch_size": 8, "learning_rate": 0.5, "seed": 1, "buckets": 4096, "ngrams": 2}
    return softmax.fit(rows, labels=LABELS, **{**how, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"epochs": 4},
        {"batch_size": 5},
        {"learning_rate": 0.3},
        {"seed": 2},
        {"buckets": 2048},
        {"ngrams": 1},
        {"characters": 4},
        {"weight_decay": 0.01},
    ],
    ids=str,
)
def test_every_argument_matters(changes: dict[str, Any]) -> None:
    """The same arguments give the same bytes, and another value of each gives others."""
    assert fitted() == fitted()
    assert fitted(**changes) != fitted()


def test_balance_gives_a_rare_label_the_weight_of_others() -> None:
    """Where one label is rare, words that it shares speak for it more with balance than without."""
    rows = [("same words", "fine")] * 90 + [("same words", "bad")] * 10
    plain, balanced = (loaded(fitted(rows, balance=balance)) for balance in (0.0, 1.0))
    margins = [
        logit(weights, "same words")[0] - logit(weights, "same words")[1] for weights in (plain, balanced)
    ]
    assert margins[0] < -1 < margins[1]


def test_processes_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many processors a machine has, the weights are the same."""
    monkeypatch.setattr(softmax, "_CHARACTERS", 100)
    made = set()
    for processors in (1, 2, 7, None):
        monkeypatch.setattr("os.cpu_count", lambda count=processors: count)
        made.add(fitted())
    assert len(made) == 1


def test_one_step_goes_down_the_slope() -> None:
    """The first step is the gradient of the cross-entropy, divided as the speeds of texts and buckets say."""
    rows = [("a b", "fine"), ("c", "bad"), ("d d d", "odd")]
    weights = loaded(fitted(rows, epochs=1, batch_size=3, learning_rate=1.0, ngrams=1))
    changes = []
    for text, label in rows:
        ids, _ = features([text], buckets=4096, ngrams=1)
        changes.append((np.eye(3)[LABELS.index(label)] - 1 / 3) / np.sqrt(len(ids)))
        for bucket in set(ids.tolist()):
            times = int((ids == bucket).sum())
            assert weights["weight"][bucket] == pytest.approx(changes[-1] * times / times**0.5, abs=1e-6)
    assert weights["bias"] == pytest.approx(np.mean(changes, axis=0), abs=1e-6)


@pytest.mark.parametrize("weight_decay", [0.1, 3.0, 1e9])
def test_weight_decay_shrinks_all_weights_each_step(weight_decay: float) -> None:
    """Before each step all weights get smaller by exp(-rate * decay), however strong the decay is."""
    rows = [("a b", "fine"), ("c", "bad"), ("a c", "odd")] * 20
    how = {"epochs": 1, "batch_size": 4, "learning_rate": 1.0, "ngrams": 1, "buckets": 64}
    weights = loaded(fitted(rows, **how, weight_decay=weight_decay))
    assert weights["weight"] == pytest.approx(decayed(rows, weight_decay), abs=1e-5)


def decayed(rows: list[tuple[str, str]], weight_decay: float) -> npt.NDArray[np.float64]:
    """The weights by plain loops over a dense matrix, an epoch in batches of 4 in the trainer's order."""
    ids, offsets = features([text for text, _ in rows], buckets=64, ngrams=1)
    counted = np.zeros((len(rows), 64))
    np.add.at(counted, (np.repeat(np.arange(len(rows)), np.diff(offsets)), ids), 1)
    truth = np.eye(3)[[LABELS.index(label) for _, label in rows]]
    with Shuffle(1) as shuffle:
        numbers = np.arange(len(rows), dtype=np.int32)
        numbered = Rows(numbers, np.ones(len(rows), np.int32), numbers)
        bins = shuffle.draw_bins(len(rows))
        shuffle.add(sort_by_bin(numbered, bins), bins)
        order = np.concatenate([some.targets for some in shuffle.epoch()])
    speed = np.maximum(counted.sum(axis=0), 1) ** -0.5
    weight, bias = np.zeros((64, 3)), np.zeros(3)
    for first in range(0, len(rows), 4):
        chosen, rate = order[first : first + 4], 1 - first / len(rows)
        weight *= np.exp(-rate * weight_decay)
        powers = np.exp(counted[chosen] @ weight + bias)
        error = truth[chosen] - powers / powers.sum(axis=1, keepdims=True)
        change = rate * error / np.sqrt(counted[chosen].sum(axis=1, keepdims=True))
        weight += speed[:, None] * (counted[chosen].T @ change)
        bias += change.mean(axis=0)
    return weight


def test_records_the_loss_of_each_epoch() -> None:
    """The first epoch's loss, in one step from zero, is that of a guess; then it falls, and the rate too."""
    recorded: list[tuple[int, Any]] = []
    weights = fitted(batch_size=len(SHOWN), record=lambda step, values: recorded.append((step, values)))
    assert weights == fitted(batch_size=len(SHOWN))
    assert [step for step, _ in recorded] == [1, 2, 3]
    losses = [values["loss"] for _, values in recorded]
    assert losses[0] == pytest.approx(np.log(len(LABELS)))
    assert losses == sorted(losses, reverse=True)
    assert [values["learning_rate"] for _, values in recorded] == pytest.approx([0.5, 0.5 * 2 / 3, 0.5 / 3])


def test_no_rows_are_recorded_as_such() -> None:
    """Without rows there is no loss to divide by."""
    recorded: list[Any] = []
    fitted([], record=lambda *given: recorded.append(given))
    assert recorded[-1] == (3, {"loss": 0.0, "learning_rate": 0.5})


def test_texts_without_tokens_teach_the_bias_only() -> None:
    """A text of nothing is no error, and no bucket has a weight of it."""
    weights = loaded(fitted([("", "fine"), (" ", "fine"), ("\0", "bad")]))
    assert not weights["weight"].any()
    assert weights["bias"].argmax() == LABELS.index("fine")


def test_rows_are_read_once() -> None:
    """Rows may be a stream that cannot be read again."""

    def stream() -> Iterator[tuple[str, str]]:
        yield from SHOWN

    assert fitted(stream()) == fitted()


def loaded(content: bytes) -> Weights:
    """The two tensors."""
    return safetensors.numpy.load(content)


def logit(weights: Weights, text: str) -> npt.NDArray[np.float32]:
    """One number for each label."""
    ids, _ = features([text], buckets=4096, ngrams=2)
    return np.asarray(weights["weight"][ids].sum(axis=0) + weights["bias"])
