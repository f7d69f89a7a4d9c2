"""How fast a transformer is fine-tuned, against a plain loop of torch on the same device.

Both take steps of AdamW on the same texts with a model of the size of MiniLM-L6 and random weights. The plain
loop is what a first version of a training looks like: texts in random order, each padded to the most tokens,
all in float32, and the loss read after each step. modelbuild.flow.models.transformer puts texts of similar
length into a batch, pads to the longest of them, computes in bfloat16 or float16 on a GPU, and reads no loss.
Neither figure includes the tokenizer, which each text needs once.

The lengths are drawn like those of the sentiment flow's texts: half have at most 24 tokens, one of a hundred
more than 55. The two take turns, so that other work on the machine costs both the same; each figure is the
median of the rounds. The first round of each is left out, because it loads kernels.

The last line is ``ratio plain R``: how many times the plain loop's texts a second.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import BertConfig, BertForSequenceClassification

from modelbuild.flow.models.transformer.batches import Encoded
from modelbuild.flow.models.transformer.finetune import Examples, FineTuner, Settings
from modelbuild.flow.process import runtime

MINILM_L6 = {
    "vocab_size": 30_522,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 1_536,
    "num_labels": 3,
}


def examples(count: int, max_tokens: int) -> Examples:
    """Random tokens in texts of realistic lengths, with random labels."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(24), 0.36, count).astype(int), 4, max_tokens)
    ids = random.integers(1_000, MINILM_L6["vocab_size"], lengths.sum())
    texts = Encoded(ids, np.concatenate([[0], np.cumsum(lengths)]))
    return Examples(texts, random.integers(0, MINILM_L6["num_labels"], count))


def model(max_tokens: int) -> BertForSequenceClassification:
    """A classifier with random weights."""
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(**MINILM_L6, max_position_embeddings=max(512, max_tokens))
    )


def plain_steps(train: Examples, batch_size: int, max_tokens: int, where: torch.device) -> Callable[[], None]:
    """A function that takes one step of the plain loop."""
    classifier = model(max_tokens).to(where).train()
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=5e-5)
    positions = np.arange(max_tokens)
    mask = positions < train.texts.lengths[:, None]
    at = np.minimum(train.texts.offsets[:-1, None] + positions, len(train.texts.ids) - 1)
    ids = torch.from_numpy(np.where(mask, train.texts.ids[at], 0))
    masks, targets = torch.from_numpy(mask.astype(np.int64)), torch.from_numpy(train.targets)

    def step() -> None:
        chosen = torch.randint(len(ids), (batch_size,))
        optimizer.zero_grad()
        loss = classifier(
            input_ids=ids[chosen].to(where),
            attention_mask=masks[chosen].to(where),
            labels=targets[chosen].to(where),
        ).loss
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def texts_per_second(step: Callable[[], None], steps: int, batch_size: int, where: torch.device) -> float:
    """The rate of some steps, the work of a GPU included."""
    started = time.perf_counter()
    for _ in range(steps):
        step()
    if where.type == "cuda":
        torch.cuda.synchronize()
    return steps * batch_size / (time.perf_counter() - started)


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=32, help="texts in a step (32)")
    parser.add_argument("--max-tokens", type=int, default=128, help="where texts are cut (128)")
    parser.add_argument("--steps", type=int, help="steps of a round (100 on a GPU, 2 on a CPU)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each (5)")
    options = parser.parse_args()
    size = options.batch_size
    settings = Settings(
        epochs=1_000_000,
        batch_size=size,
        learning_rate=5e-5,
        warmup=0.0,
        weight_decay=0.01,
        balance=0.0,
        validations_per_epoch=1,
        patience=1,
        mixed_precision=True,
        deterministic=False,
    )
    train = examples(64 * size, options.max_tokens)
    tuner = FineTuner(model(options.max_tokens), train, settings, seed=0)
    steps = options.steps or (100 if tuner.device.type == "cuda" else 2)
    ours, plain = tuner.take_step, plain_steps(train, size, options.max_tokens, tuner.device)
    rates: dict[str, list[float]] = {"modelbuild": [], "plain": []}
    for round_number in range(options.rounds + 1):
        for name, step in (("modelbuild", ours), ("plain", plain)):
            rate = texts_per_second(step, steps, size, tuner.device)
            if round_number:
                rates[name].append(rate)
    about = runtime.describe("")
    where = f"{about.gpu}, driver {about.driver}" if about.gpu else f"CPU, {about.threads} threads"
    print(f"{where}, of {os.cpu_count()} cores; torch {torch.__version__}; batches of {size} texts")
    for name, found in rates.items():
        low, high = min(found), max(found)
        print(f"{name:12}{statistics.median(found):>10,.1f} texts/s  ({low:,.1f} to {high:,.1f})")
    print(f"ratio plain {statistics.median(rates['modelbuild']) / statistics.median(rates['plain']):.1f}")


if __name__ == "__main__":
    main()
