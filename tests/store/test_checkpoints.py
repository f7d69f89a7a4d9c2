from __future__ import annotations

from pathlib import Path

import pytest

from memory import MemoryObjects
from modelbuild.store.checkpoints import CheckpointStore
from modelbuild.store.model import ModelStore

PREFIX = "s3://bucket/models/comments/sentiment/12"
FOLDER = "s3://bucket/checkpoints/models/comments/sentiment/12/"
INPUTS, OTHERS = "1" * 64, "2" * 64


@pytest.fixture
def objects() -> MemoryObjects:
    """An empty bucket."""
    return MemoryObjects()


@pytest.fixture
def checkpoints(objects: MemoryObjects) -> CheckpointStore:
    """The checkpoints of a model."""
    return ModelStore(objects, PREFIX).checkpoints()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file for tensors."""
    return tmp_path / "tensors"


def write(checkpoints: CheckpointStore, file: Path, step: int, inputs: str = INPUTS) -> None:
    """Keep a checkpoint of a step, whose tensors are some text that names the step."""
    file.write_text(f"tensors of {step}")
    checkpoints.write(file, step=step, inputs_sha256=inputs, progress={"step": step})


def newest(checkpoints: CheckpointStore, file: Path) -> tuple[int, str] | None:
    """The step of the newest checkpoint, and its tensors."""
    found = checkpoints.read_newest(INPUTS, file)
    return None if found is None else (found.step, file.read_text())


def test_newest_is_read_and_few_are_kept(
    checkpoints: CheckpointStore, objects: MemoryObjects, file: Path
) -> None:
    """A checkpoint has its tensors and its progress; of many, two are kept."""
    assert newest(checkpoints, file) is None
    for step in (5, 90, 1_000, 20_000):
        write(checkpoints, file, step)
    assert newest(checkpoints, file) == (20_000, "tensors of 20000")
    names = [uri.removeprefix(FOLDER) for uri in sorted(objects.objects)]
    assert names == [f"{step:09}.{kind}" for step in (1_000, 20_000) for kind in ("json", "safetensors")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("000000002.json", b'{"version": 1, "st'),
        ("000000002.json", b"\x80\x04pickle"),
        ("000000002.safetensors", b"tensors of"),
        ("000000002.safetensors", None),
    ],
)
def test_what_is_not_whole_is_passed_over(
    checkpoints: CheckpointStore,
    objects: MemoryObjects,
    file: Path,
    name: str,
    content: bytes | None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where a record or tensors are torn, changed or missing, the log says so, and the one before is read."""
    write(checkpoints, file, 1)
    write(checkpoints, file, 2)
    if content is None:
        objects.delete(FOLDER + name)
    else:
        objects.write(FOLDER + name, content)
    assert newest(checkpoints, file) == (1, "tensors of 1")
    assert "passed over" in capsys.readouterr().err


def test_host_lost_while_it_writes(checkpoints: CheckpointStore, objects: MemoryObjects, file: Path) -> None:
    """Tensors without their record are not read, and are deleted with the checkpoints around them."""
    write(checkpoints, file, 1)
    objects.write(f"{FOLDER}000000002.safetensors", b"tens")
    assert newest(checkpoints, file) == (1, "tensors of 1")
    write(checkpoints, file, 3)
    write(checkpoints, file, 4)
    assert not [uri for uri in objects.objects if "000000002" in uri]
    objects.write(f"{FOLDER}000000005.safetensors", b"tens")
    checkpoints.clear()
    assert not objects.objects


def test_cleared_while_another_training_writes(checkpoints: CheckpointStore, file: Path) -> None:
    """The training that goes on is not stopped by one that is over, and keeps its next checkpoints."""

    class Clears(MemoryObjects):
        def write(self, uri: str, body: bytes, content_type: str = "application/json") -> None:
            super().write(uri, body, content_type)
            ModelStore(self, PREFIX).checkpoints().clear()

    write(ModelStore(Clears(), PREFIX).checkpoints(), file, 7)
    write(checkpoints, file, 8)
    assert newest(checkpoints, file) == (8, "tensors of 8")


def test_of_another_training_is_not_resumed(
    checkpoints: CheckpointStore, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other parameters or other data have another hash; the log says that nothing of theirs is resumed."""
    write(checkpoints, file, 3, OTHERS)
    assert newest(checkpoints, file) is None
    assert "other parameters or data" in capsys.readouterr().err


def test_cleared(checkpoints: CheckpointStore, objects: MemoryObjects, file: Path) -> None:
    """After the training nothing is left of its checkpoints, and the files of the model stay."""
    objects.write(f"{PREFIX}/request.json", b"{}")
    write(checkpoints, file, 1)
    write(checkpoints, file, 2)
    checkpoints.clear()
    assert list(objects.objects) == [f"{PREFIX}/request.json"]
