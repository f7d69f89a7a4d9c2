"""Texts as batches of token ids: tokenised once, and put together with texts of about their length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

Integers = npt.NDArray[np.int64]

_POOL_BATCHES = 64
"""Texts are sorted by length within pools of so many batches: enough that little is padded, and few enough
that a batch has other texts in each epoch."""

_TENSOR_CORE_MULTIPLE = 8
"""Matrix units of GPUs are fully used when dimensions are multiples of this."""


@dataclass(frozen=True)
class Encoded:
    """Texts as token ids, one after the other: those of text *n* are ``ids[offsets[n]:offsets[n + 1]]``."""

    ids: Integers
    offsets: Integers

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> Integers:
        """The number of tokens of each text."""
        return np.diff(self.offsets)

    def batch(self, chosen: Integers, device: torch.device) -> dict[str, torch.Tensor]:
        """The inputs of a model for some texts, padded to the longest of them.

        Args:
            chosen: the numbers of the texts, in the order of the batch.
            device: where the tensors are needed.

        Returns:
            ``input_ids`` and ``attention_mask``, int64 of shape (texts, tokens). Padding has the id 0, which
            the mask hides from the model.
        """
        lengths = self.lengths[chosen]
        multiple = _TENSOR_CORE_MULTIPLE if device.type == "cuda" else 1
        width = -(-int(lengths.max()) // multiple) * multiple
        positions = np.arange(width)
        mask = positions < lengths[:, None]
        # Positions behind a text's end read some other token, which the mask then replaces.
        at = np.minimum(self.offsets[chosen][:, None] + positions, len(self.ids) - 1)
        parts = {"input_ids": np.where(mask, self.ids[at], 0), "attention_mask": mask.astype(np.int64)}
        return {name: to_device(torch.from_numpy(part), device) for name, part in parts.items()}


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> Encoded:
    """Tokenise texts once for all epochs."""
    ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]
    offsets = np.concatenate([[0], np.cumsum([len(one) for one in ids])])
    return Encoded(np.fromiter((token for one in ids for token in one), np.int64), offsets.astype(np.int64))


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on a device; a GPU copies it while the program goes on."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def shuffled(lengths: Integers, batch_size: int, seed: Sequence[int]) -> list[Integers]:
    """The batches of an epoch in random order, each of texts of similar length.

    Args:
        lengths: the number of tokens of each text.
        batch_size: texts in each batch; one batch may have fewer.
        seed: decides the order; the same seed gives the same batches.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(lengths))
    pool = batch_size * _POOL_BATCHES
    found = [
        batch
        for start in range(0, len(order), pool)
        for batch in _by_length(order[start : start + pool], lengths, batch_size)
    ]
    return [found[number] for number in random.permutation(len(found))]


def in_order_of_length(lengths: Integers, batch_size: int) -> Iterator[Integers]:
    """Batches of all texts from the shortest to the longest, for predictions."""
    return _by_length(np.arange(len(lengths)), lengths, batch_size)


def _by_length(chosen: Integers, lengths: Integers, batch_size: int) -> Iterator[Integers]:
    by_length = chosen[np.argsort(lengths[chosen], kind="stable")]
    for start in range(0, len(by_length), batch_size):
        yield by_length[start : start + batch_size]
