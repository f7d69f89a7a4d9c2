"""One step of a fine-tuning after another."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import f1_score
from transformers import PreTrainedModel

from modelbuild.errors import ConfigurationError
from modelbuild.flow.models.transformer import device
from modelbuild.flow.models.transformer.batches import (
    Encoded,
    Integers,
    in_order_of_length,
    shuffled,
    to_device,
)
from modelbuild.flow.models.transformer.checkpoints import Measurement, Progress

_MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Settings:
    """How a model is fine-tuned.

    Attributes:
        epochs: how often each text is looked at, unless the training ends early.
        batch_size: texts in a step.
        learning_rate: the highest one: it rises linearly from zero, and falls linearly to zero.
        warmup: the share of the steps in which it rises.
        weight_decay: of matrices; vectors, which are biases and scales, have none.
        balance: 0 weighs every text the same, 1 every label the same.
        validations_per_epoch: how often in an epoch the model is measured on the validation rows.
        patience: the training ends after so many validations in a row without a better macro-F1.
        mixed_precision: compute in bfloat16 or float16 on a GPU; the weights are float32.
        deterministic: use only operations that give the same bits each time on the same device.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    warmup: float
    weight_decay: float
    balance: float
    validations_per_epoch: int
    patience: int
    mixed_precision: bool
    deterministic: bool


@dataclass(frozen=True)
class Examples:
    """Texts with the number of the label of each."""

    texts: Encoded
    targets: Integers

    def sha256(self) -> str:
        """The hash of the token ids and the labels in their order."""
        digest = hashlib.sha256()
        for part in (self.texts.offsets, self.texts.ids, self.targets):
            digest.update(np.ascontiguousarray(part, "<i8").tobytes())
        return digest.hexdigest()


class FineTuner:
    """A training that is under way.

    Attributes:
        device: where it computes.
        precision: what it computes in.
        steps: how many steps it has if it does not end early.
        progress: how far it is.
    """

    def __init__(self, model: PreTrainedModel, train: Examples, settings: Settings, seed: int) -> None:
        device.set_deterministic(settings.deterministic)
        self.device = device.best()
        self.precision = device.precision(self.device, mixed=settings.mixed_precision)
        self.progress = Progress()
        self._model = model.to(self.device)
        self._train, self._settings, self._seed = train, settings, seed
        self._steps_per_epoch = -(-len(train.texts) // settings.batch_size)
        self.steps = settings.epochs * self._steps_per_epoch
        self._batches: list[Integers] = []
        self._best: dict[str, torch.Tensor] = {}
        self._loss_sum = torch.zeros((), device=self.device)
        self._optimizer = torch.optim.AdamW(
            _groups(model, settings.weight_decay), lr=settings.learning_rate, fused=True
        )
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision is torch.float16)
        weights = _label_weights(train.targets, model.config.num_labels, settings.balance)
        self._loss = torch.nn.CrossEntropyLoss(weights.to(self.device))

    def take_step(self) -> None:
        """Learn from one batch."""
        step = self.progress.step
        epoch, number = divmod(step, self._steps_per_epoch)
        if number == 0 or not self._batches:
            self._batches = shuffled(
                self._train.texts.lengths, self._settings.batch_size, [self._seed, epoch]
            )
        chosen = self._batches[number]
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate(step)
        self._model.train()
        # Decides dropout on every device.
        torch.manual_seed(int(np.random.SeedSequence([self._seed, step]).generate_state(1, np.uint64)[0]))
        targets = to_device(torch.from_numpy(self._train.targets[chosen]), self.device)
        with device.computing(self.device, self.precision):
            logits = self._model(**self._train.texts.batch(chosen, self.device)).logits
        loss = self._loss(logits.float(), targets)
        # Stays on the device: to wait for each step's number would slow a GPU down.
        self._loss_sum += loss.detach()
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimizer)
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), _MAX_GRADIENT_NORM)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        self.progress.step = step + 1

    def validation_is_due(self) -> bool:
        """Whether the model is to be measured after the step that was taken."""
        every = -(-self._steps_per_epoch // self._settings.validations_per_epoch)
        return self.progress.step % every == 0 or self.progress.step == self.steps

    def measure(self, validation: Examples | None) -> Measurement:
        """Measure how the training goes, and with validation rows how good the model is.

        Raises:
            ConfigurationError: the model does not answer with finite numbers.
        """
        done = self.progress.step - (self.progress.measured[-1].step if self.progress.measured else 0)
        loss = float(self._loss_sum) / done
        self._loss_sum.zero_()
        measured = Measurement(
            step=self.progress.step,
            learning_rate=self._learning_rate(self.progress.step - 1),
            loss=loss if math.isfinite(loss) else None,
            macro_f1=None if validation is None else self._validate(validation),
        )
        self.progress.measured.append(measured)
        return measured

    def _validate(self, validation: Examples) -> float:
        """The macro-F1 of the model, whose weights are kept if it is the best so far."""
        logits = predict(self._model, validation.texts, self.device, self.precision)
        if not np.isfinite(logits).all():
            raise ConfigurationError(
                f"after step {self.progress.step} the model's answers are no finite numbers: lower the "
                "learning rate"
            )
        found = f1_score(validation.targets, logits.argmax(axis=1), average="macro", zero_division=0)
        score, best = float(found), max(self.progress.scores, default=-1.0)
        self.progress.stale = 0 if score > best else self.progress.stale + 1
        if not self.progress.stale:
            self._best = {name: value.detach().clone() for name, value in self._model.named_parameters()}
        return score

    def use_best_weights(self) -> None:
        """Give the model the weights of the best validation."""
        with torch.no_grad():
            for name, value in self._model.named_parameters():
                value.copy_(self._best[name])
        self._model.eval()

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors that later steps depend on."""
        found = {f"best.{name}": value for name, value in self._best.items()}
        found["loss_sum"] = self._loss_sum
        for name, value in self._model.named_parameters():
            found[f"model.{name}"] = value.detach()
            for key, moment in self._optimizer.state.get(value, {}).items():
                found[f"optimizer.{key}.{name}"] = moment
        self.progress.scaler = dict(self._scaler.state_dict())
        return found

    def restore(self, tensors: dict[str, torch.Tensor], progress: Progress) -> None:
        """Go on from what :meth:`tensors` was, at that progress."""
        self.progress = progress
        self._best = _section(tensors, "best.", self.device)
        self._loss_sum = tensors["loss_sum"].to(self.device)
        moments = _section(tensors, "optimizer.", self.device)
        keys = sorted({name.split(".", 1)[0] for name in moments})
        names = {value: name for name, value in self._model.named_parameters()}
        state = self._optimizer.state_dict()
        ordered = [names[value] for group in self._optimizer.param_groups for value in group["params"]]
        state["state"] = {
            number: {key: moments[f"{key}.{name}"] for key in keys} for number, name in enumerate(ordered)
        }
        self._optimizer.load_state_dict(state)
        with torch.no_grad():
            for value, name in names.items():
                value.copy_(tensors[f"model.{name}"])
        if progress.scaler:
            self._scaler.load_state_dict(progress.scaler)

    def _learning_rate(self, step: int) -> float:
        rising = self._settings.warmup * self.steps
        share = (
            (step + 1) / (rising + 1) if step < rising else (self.steps - step) / max(1, self.steps - rising)
        )
        return self._settings.learning_rate * share


def predict(
    model: PreTrainedModel,
    texts: Encoded,
    where: torch.device,
    precision: torch.dtype,
    batch_size: int = 64,
) -> npt.NDArray[np.float32]:
    """The logits of the texts, one row a text."""
    model.eval()
    logits = torch.empty(len(texts), model.config.num_labels)
    with torch.inference_mode(), device.computing(where, precision):
        for chosen in in_order_of_length(texts.lengths, batch_size):
            logits[torch.from_numpy(chosen)] = model(**texts.batch(chosen, where)).logits.float().cpu()
    return logits.numpy()


def _groups(model: PreTrainedModel, weight_decay: float) -> list[dict[str, object]]:
    parameters = [*model.parameters()]
    return [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": weight_decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]


def _label_weights(targets: Integers, labels: int, balance: float) -> torch.Tensor:
    """How much each label weighs: the power ``balance`` of how rare it is."""
    counts = np.maximum(np.bincount(targets, minlength=labels), 1)
    return torch.tensor((len(targets) / labels / counts) ** balance, dtype=torch.float32)


def _section(tensors: dict[str, torch.Tensor], prefix: str, where: torch.device) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): value.to(where)
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
