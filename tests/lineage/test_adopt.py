"""The parameters of a model, as a change of its flow's file."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

import recorded
from memory import MemoryObjects
from modelbuild.errors import ConfigurationError
from modelbuild.formats import agent_yaml
from modelbuild.lineage.adopt import Adopted, adopt, change_lines, write
from modelbuild.lineage.models import find_model
from modelbuild.store.model import ModelStore
from modelbuild.store.pipeline import PipelineStore

FILE = """\
# Every value that decides what the model is.
seed: 1
training: {epochs: 3, learning_rate: 1.0}  # of the fit
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the flow of model sentiment and its parameters."""
    git(tmp_path, "init", "--quiet")
    folder = tmp_path / "flows" / "sentiment"
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(FILE)
    (tmp_path / ".gitignore").write_text("ignored.yaml\n")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "parameters")
    return tmp_path


def git(folder: Path, *arguments: str) -> None:
    """Run git in a repository."""
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True)


def parameters(rate: Any, **changes: Any) -> dict[str, Any]:
    """The parameters of the file with another learning rate."""
    return {"seed": 1, "training": {"epochs": 3, "learning_rate": rate}, **changes}


def stored(rate: Any, model_id: str = "12", **changes: Any) -> ModelStore:
    """A model that was trained with these parameters."""
    made = recorded.manifest(model_id, parameters=parameters(rate, **changes))
    return recorded.put(MemoryObjects(), made)


def adopted(
    store: ModelStore, folder: Path, file: Path | None = None, *, allow_dirty: bool = False
) -> Adopted:
    """What adopting a model changes in the checkout."""
    root, model, model_id = store.prefix.rsplit("/", 2)
    found = find_model(PipelineStore(store.objects, root), model, model_id)
    return adopt(found, file, folder, allow_dirty=allow_dirty)


def test_a_model_becomes_a_change_to_commit(checkout: Path) -> None:
    """The file beside the flow gets the model's values, each change is named, and the message has the metric.

    Also from a folder below the root of the repository; nothing is written yet.
    """
    found = adopted(stored(0.5), checkout / "flows")
    assert found.file == checkout / "flows" / "sentiment" / "params.yaml"
    assert found.content.decode() == FILE.replace("1.0", "0.5")
    assert change_lines(found) == ["training.learning_rate: 1.0 → 0.5"]
    assert found.message == "Adopt sentiment 12: macro-F1 0.612 on 2,345 rows"
    assert found.file.read_text() == FILE


def test_the_file_that_the_model_was_trained_with_is_changed(checkout: Path) -> None:
    """Another model of the same flow has a file of its own, which stays as it is."""
    folder = checkout / "flows" / "sentiment"
    (folder / "tweets.yaml").write_text(FILE)
    made = recorded.manifest("12", parameters=parameters(0.5))
    request = made.request.model_copy(update={"params_file": "tweets.yaml"})
    store = recorded.put(MemoryObjects(), made.model_copy(update={"request": request}))
    assert adopted(store, checkout, allow_dirty=True).file == folder / "tweets.yaml"


def test_a_candidate_says_how_it_was_chosen(checkout: Path) -> None:
    """The message has the metric on the validation rows, by which it was ranked, and on the test rows."""
    objects, request = MemoryObjects(), recorded.sweep_request(12)
    recorded.put_sweep(objects, request, [recorded.row("12.2", 0.5, 0.652, rank=1, offered=True)])
    store = recorded.put(objects, recorded.candidate(request, 2, 0.5, metric=0.64))
    found = adopted(store, checkout)
    assert (
        found.message
        == "Adopt sentiment 12.2: macro-F1 0.652 on validation rows, macro-F1 0.640 on 2,345 test rows"
    )
    assert agent_yaml.load_written(found.content) == parameters(0.5)


def test_a_candidate_without_a_model_has_parameters(checkout: Path) -> None:
    """A candidate that cannot be deployed can be adopted: its parameters follow from the sweep's request."""
    objects, request = MemoryObjects(), recorded.sweep_request(12)
    recorded.put_sweep(
        objects,
        request,
        [
            recorded.row("12.2", 0.5, 0.652, rank=1, offered=True),
            recorded.row("12.3", 2.0, 0.641, rank=2),
        ],
    )
    found = adopted(ModelStore(objects, f"{request.artifacts}.3"), checkout)
    assert found.message == "Adopt sentiment 12.3: macro-F1 0.641 on validation rows"
    assert agent_yaml.load_written(found.content) == parameters(2.0)


def test_a_sweep_is_no_model(checkout: Path) -> None:
    """Its id alone names no parameters; the sentence has the ids that do."""
    objects, request = MemoryObjects(), recorded.sweep_request(12)
    store = ModelStore(objects, request.artifacts)
    store.write_request_once(request)
    with pytest.raises(ConfigurationError, match=r"sentiment 12 is a sweep, .*: wait until it has ended"):
        adopted(store, checkout)
    recorded.put_sweep(objects, request, [recorded.row("12.2", 0.5, 0.652, rank=1, offered=True)])
    with pytest.raises(ConfigurationError, match=r"sentiment 12 is a sweep, .*: adopt one of 12\.2$"):
        adopted(store, checkout)


def test_a_file_that_has_the_values_is_left_alone(checkout: Path) -> None:
    """1.0 is the file's value, and 1 is another one."""
    assert adopted(stored(1.0), checkout).changes == ()
    assert change_lines(adopted(stored(1), checkout)) == ["training.learning_rate: 1.0 → 1"]


@pytest.mark.parametrize("changed", ["# mine\n", None])
def test_uncommitted_changes_are_not_mixed_in(checkout: Path, changed: str | None) -> None:
    """A file that is changed, or that git does not know, is refused unless the user allows it."""
    file = checkout / "flows" / "sentiment" / "params.yaml"
    if changed is None:
        file = file.with_name("ignored.yaml")
    file.write_text(f"{FILE}{changed or ''}")
    with pytest.raises(ConfigurationError, match=r"has changes that are not committed: .*--allow-dirty"):
        adopted(stored(0.5), checkout, file)
    made = adopted(stored(0.5), checkout, file, allow_dirty=True)
    assert made.content.decode() == FILE.replace("1.0", "0.5") + (changed or "")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, r"cannot read .*params.yaml \(No such file or directory\): .* --file"),
        (b"\xff", "it is not UTF-8"),
        (b"a: [", "params.yaml, line 1, cannot be read as YAML"),
        (b"seed: 1\n", "cannot take the parameters of sentiment 12: it has no training; change it by hand"),
        (b"- 1\n", "cannot take the parameters of sentiment 12: it is no map"),
    ],
)
def test_a_file_that_cannot_hold_the_parameters_is_a_sentence(
    checkout: Path, content: bytes | None, problem: str
) -> None:
    """It names the file, what is wrong with it and what to do."""
    file = checkout / "flows" / "sentiment" / "params.yaml"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=problem):
        adopted(stored(0.5), checkout, allow_dirty=True)


def test_parameters_that_were_changed_in_s3_are_refused(checkout: Path) -> None:
    """The hash of the request decides, not what the parameters say."""
    store = stored(0.5)
    request = store.request().model_copy(update={"parameters": parameters(0.7)})
    store.objects.write(store.request_uri, request.to_json().encode())
    with pytest.raises(
        ConfigurationError, match="would not have the parameters of sentiment 12, whose SHA-256"
    ):
        adopted(store, checkout)


def test_the_file_is_replaced_as_a_whole(checkout: Path) -> None:
    """Its mode stays, a link to it stays one, and nothing is left beside it."""
    file = checkout / "flows" / "sentiment" / "params.yaml"
    file.chmod(0o640)
    link = checkout / "params.yaml"
    link.symlink_to(file)
    found = adopted(stored(0.5), checkout, link, allow_dirty=True)
    write(found)
    assert link.is_symlink()
    assert file.read_bytes() == found.content
    assert file.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in file.parent.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize(
    ("call", "number", "reason"),
    [
        ("tempfile.mkdtemp", errno.EROFS, "Read-only file system"),
        ("os.replace", errno.EBUSY, "Device or resource busy"),
    ],
)
def test_a_file_that_cannot_be_replaced_is_refused_with_its_folder(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, reason: str
) -> None:
    """A writable file of a read-only folder, and a file that is a mount, are written by other commands: the
    sentence says why they are not by this one.
    """

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    found = adopted(stored(0.5), checkout)
    monkeypatch.setattr(call, fail)
    message = rf"cannot write .*params.yaml \({reason}\).*a new file of folder {found.file.parent}"
    with pytest.raises(ConfigurationError, match=message):
        write(found)
    assert found.file.read_text() == FILE
    assert [path.name for path in found.file.parent.iterdir()] == ["params.yaml"]


def test_a_file_that_cannot_be_written_stays_as_it_is(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, or a folder of another user, is a sentence and costs no values of the file."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    found = adopted(stored(0.5), checkout)
    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(ConfigurationError, match=r"cannot write .*params.yaml \(No space left on device\)"):
        write(found)
    assert found.file.read_text() == FILE
    assert [path.name for path in found.file.parent.iterdir()] == ["params.yaml"]
