"""The model in torch: a log-linear classifier over hashed word n-grams."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import safetensors.numpy
import torch

from modelbuild.serving.features import features
from parameters import Model, Training

Integers = npt.NDArray[np.int64]


class Classifier(torch.nn.Module):
    """The sum of the n-grams' weights plus a bias, one number a label; weights start at zero."""

    def __init__(self, buckets: int, labels: int):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(buckets, labels))
        self.bias = torch.nn.Parameter(torch.zeros(labels))

    def forward(self, ids: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        """Logits, one row a text; ``offsets`` has one element more than there are texts."""
        sums = torch.nn.functional.embedding_bag(
            ids, self.weight, offsets, mode="sum", include_last_offset=True
        )
        return sums + self.bias

    def to_safetensors(self) -> bytes:
        """The weights as the content of ``model.safetensors``."""
        return safetensors.numpy.save(
            {"weight": self.weight.detach().cpu().numpy(), "bias": self.bias.detach().cpu().numpy()}
        )


def fit(
    texts: Sequence[str], targets: Integers, labels: int, *, shape: Model, training: Training, seed: int
) -> Classifier:
    """Train on ``texts`` with the label numbers ``targets``; the same arguments give the same bytes on a CPU.

    The learning rate falls linearly to zero. The weight of a label is the inverse of its frequency to the
    power of ``balance``.
    """
    _make_deterministic(seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ids, offsets = features(texts, buckets=shape.buckets, ngrams=shape.ngrams)
    classifier = Classifier(shape.buckets, labels).to(device)
    optimizer = torch.optim.AdamW(
        classifier.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
    steps = training.epochs * -(-len(texts) // training.batch_size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    counts = np.maximum(np.bincount(targets, minlength=labels), 1)
    rarity = (len(texts) / labels / counts) ** training.balance
    loss = torch.nn.CrossEntropyLoss(torch.tensor(rarity, dtype=torch.float32, device=device))
    random = np.random.default_rng(seed)
    for _ in range(training.epochs):
        order = random.permutation(len(texts))
        for start in range(0, len(order), training.batch_size):
            chosen = order[start : start + training.batch_size]
            batch = (torch.from_numpy(part).to(device) for part in _select(ids, offsets, chosen))
            optimizer.zero_grad()
            loss(classifier(*batch), torch.from_numpy(targets[chosen]).to(device)).backward()
            optimizer.step()
            schedule.step()
    return classifier


def _select(ids: Integers, offsets: Integers, chosen: Integers) -> tuple[Integers, Integers]:
    """The features of some texts, in the order of ``chosen``."""
    counts = offsets[chosen + 1] - offsets[chosen]
    ends = np.cumsum(counts)
    places = np.arange(ends[-1]) + np.repeat(offsets[chosen] - (ends - counts), counts)
    return ids[places], np.concatenate([[0], ends])


def _make_deterministic(seed: int) -> None:
    # cuBLAS reads this at its start; without it, cuBLAS may use a different algorithm in each run.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    torch.manual_seed(seed)
