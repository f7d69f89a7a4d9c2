from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import tiny_transformer
from modelbuild.errors import ConfigurationError
from modelbuild.flow.models.transformer.batches import Encoded, Integers, encode, in_order_of_length, shuffled

CPU = torch.device("cpu")


@given(st.lists(st.integers(1, 40), min_size=1, max_size=200), st.integers(1, 50), st.integers(0, 3))
def test_each_text_is_in_one_batch_of_an_epoch(lengths: list[int], batch_size: int, epoch: int) -> None:
    """Whatever the lengths, no text is left out or seen twice, and all batches but one are full."""
    batches = shuffled(np.array(lengths), batch_size, [1, epoch])
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert sum(len(batch) != batch_size for batch in batches) <= 1
    in_order = np.concatenate([*in_order_of_length(np.array(lengths), batch_size)])
    assert sorted(in_order.tolist()) == list(range(len(lengths)))
    assert (np.diff(np.array(lengths)[in_order]) >= 0).all()


def test_little_is_padded() -> None:
    """Batches of texts of similar length have a tenth of the padding that batches in random order have."""
    lengths = np.random.default_rng(0).integers(3, 100, 5_000)

    def padding(batches: list[Integers]) -> int:
        return sum(int(lengths[one].max()) * len(one) - int(lengths[one].sum()) for one in batches)

    order = np.random.default_rng(1).permutation(len(lengths))
    plain = [order[at : at + 32] for at in range(0, len(order), 32)]
    assert padding(shuffled(lengths, 32, [1, 0])) < padding(plain) / 10


def test_epochs_differ_and_repeat() -> None:
    """Another epoch or seed has another order; the same ones have the same."""
    lengths = np.arange(1, 100)

    def order(*seed: int) -> list[int]:
        return [int(one) for batch in shuffled(lengths, 8, seed) for one in batch]

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(*seed)) for seed in ((1, 0), (1, 1), (2, 0))}) == 3


def test_batch_is_the_chosen_texts_padded() -> None:
    """Each row has its text's tokens, and zeros that the mask hides."""
    texts = Encoded(np.array([7, 8, 9, 5, 6]), np.array([0, 1, 3, 5]))
    found = texts.batch(np.array([2, 0, 1]), CPU)
    assert found["input_ids"].tolist() == [[5, 6], [7, 0], [8, 9]]
    assert found["attention_mask"].tolist() == [[1, 1], [1, 0], [1, 1]]


def test_tokens_are_those_that_are_served() -> None:
    """A text is cut after the most tokens and padded by none, whatever the package's tokenizer says."""
    tokenizer = tiny_transformer.pretrained().text_tokenizer(8)
    found = encode(tokenizer, ["good", "word1 " * 50])
    assert found.lengths.tolist() == [3, 8]
    assert found.ids[:3].tolist() == tokenizer.encode("good").ids


def test_more_tokens_than_positions_are_refused() -> None:
    """A model has no numbers for tokens behind its last position."""
    with pytest.raises(ConfigurationError, match=r"max_tokens is 17, but .* 16 tokens: lower it"):
        tiny_transformer.pretrained().text_tokenizer(17)
