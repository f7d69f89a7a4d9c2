"""Fine-tuning: steps of AdamW over batches of similar length, with validations that may end it early.

What step *n* does depends on the inputs and *n* alone: the order of the texts, the learning rate and the
random numbers of dropout are computed from the seed and the step. So a training that goes on from a
checkpoint does what it would have done without the interruption.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict

import torch
from transformers import PreTrainedModel

from modelbuild import log
from modelbuild.contract import sha256_of_json
from modelbuild.flow.models.transformer import device
from modelbuild.flow.models.transformer.checkpoints import Checkpoints, Progress
from modelbuild.flow.models.transformer.tuner import Examples, FineTuner, Settings, predict
from modelbuild.flow.progress import RecordProgress

__all__ = ["Examples", "FineTuner", "Settings", "fine_tune", "predict"]

_MEASURED_STEPS = 50


def fine_tune(
    model: PreTrainedModel,
    train: Examples,
    validation: Examples,
    settings: Settings,
    *,
    seed: int,
    checkpoints: Checkpoints | None = None,
    record: RecordProgress | None = None,
) -> Progress:
    """Fit a classifier; afterwards it is on the CPU, with the weights that were best on the validation rows.

    Args:
        model: the model, with a logit for each label.
        train: what it learns from.
        validation: what decides which weights are kept, and whether the training ends early.
        settings: how it is fitted.
        seed: decides the order of the texts, and dropout.
        checkpoints: the checkpoints, from which the training goes on and to which it adds; None for neither.
        record: is called every 50 steps and at each validation, with the loss, the learning rate and the
            macro-F1 of the validation; first with what was measured before the checkpoint.

    Raises:
        ConfigurationError: the training diverged.
        AwsError: S3 refused to list or to read checkpoints.
    """
    inputs = _sha256(model, train, validation, settings, seed)
    tuner = FineTuner(model, train, settings, seed)
    earlier = checkpoints.read(inputs) if checkpoints is not None else None
    if earlier is not None:
        tuner.restore(*earlier)
        log.info(f"Going on from the checkpoint of step {tuner.progress.step:,}.")
        if record is not None:
            for one in tuner.progress.measured:
                record(one.step, one.values)
    log.info(
        f"Fine-tuning on {len(train.texts):,} texts in {tuner.steps:,} steps, "
        f"in {device.name(tuner.precision)} on {tuner.device}."
    )
    started, first = time.monotonic(), tuner.progress.step
    while tuner.progress.step < tuner.steps and tuner.progress.stale < settings.patience:
        tuner.take_step()
        step, due = tuner.progress.step, tuner.validation_is_due()
        if step % _MEASURED_STEPS == 0:
            pace = (step - first) * settings.batch_size / (time.monotonic() - started)
            log.info(f"Step {step:,} of {tuner.steps:,}, {pace:,.0f} texts/s.")
        if step % _MEASURED_STEPS == 0 or due:
            measured = tuner.measure(validation if due else None)
            if (score := measured.macro_f1) is not None:
                log.info(f"Step {step:,}: macro-F1 {score:.4f} on {len(validation.texts):,} texts.")
            if record is not None:
                record(step, measured.values)
        if checkpoints is not None:
            checkpoints.write_if_due(inputs, tuner.tensors, tuner.progress)
    tuner.use_best_weights()
    model.to("cpu")
    return tuner.progress


def _sha256(
    model: PreTrainedModel, train: Examples, validation: Examples, settings: Settings, seed: int
) -> str:
    """The hash of all that decides a training."""
    digest = hashlib.sha256()
    for name, value in model.named_parameters():
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return sha256_of_json(
        {
            "torch": torch.__version__,
            "weights": digest.hexdigest(),
            "train": train.sha256(),
            "validation": validation.sha256(),
            "settings": asdict(settings),
            "seed": seed,
        }
    )
