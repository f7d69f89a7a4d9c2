"""Writes the parameters of a model into the parameter file of its flow, as a change to commit."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pydantic import JsonValue

from modelbuild import git
from modelbuild.contract import Manifest, TrainingRequest, figure, sha256_of_json
from modelbuild.errors import ConfigurationError
from modelbuild.formats import agent_yaml
from modelbuild.formats.inline_yaml import inline
from modelbuild.formats.yaml_edit import Change, NotEditable, edited
from modelbuild.lineage.models import FoundModel
from modelbuild.store.model import ModelStore
from modelbuild.store.sweep import SweepStore


@dataclass(frozen=True)
class Adopted:
    """What adopting a model changes.

    Attributes:
        file: the parameter file.
        content: its new bytes.
        changes: the parameters that change; none if the file has those of the model already.
        message: the suggested message of the commit.
    """

    file: Path
    content: bytes
    changes: tuple[Change, ...]
    message: str


def adopt(found: FoundModel, file: Path | None, folder: Path, *, allow_dirty: bool) -> Adopted:
    """What the parameter file must become; nothing is written.

    Args:
        found: the model.
        file: the parameter file; None for ``params.yaml`` beside the flow, in the checkout of ``folder``.
        folder: a folder in the checkout of the repository.
        allow_dirty: change a file that has uncommitted changes.

    Raises:
        ConfigurationError: the file cannot be read, has uncommitted changes, or cannot be made to hold the
            model's parameters.
        VerificationFailed: the records in S3 are not those of this model.
        AwsError: S3 refused.
    """
    request = found.request
    if request.sweep is not None:
        raise ConfigurationError(
            f"{request.model} {request.model_id} is a sweep, whose candidates have the parameters: "
            f"{_offered(found.store)}"
        )
    target = file or _beside(request, folder)
    content = _content(target)
    if not allow_dirty:
        _require_committed(target)
    text, changes = _edited(target, content, request)
    return Adopted(target, text.encode(), tuple(changes), _message(found))


def write(adopted: Adopted) -> None:
    """Write the parameter file: as a whole, or not at all.

    Raises:
        ConfigurationError: it cannot be written, and is as it was.
    """
    # A symbolic link stays: its target is replaced.
    target = adopted.file.resolve()
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            copy = Path(folder) / target.name
            copy.write_bytes(adopted.content)
            shutil.copymode(target, copy)
            os.replace(copy, target)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {adopted.file} ({error.strerror}), so it is unchanged: adopt replaces it with a "
            f"new file of folder {target.parent}, so run this where you may write to that folder, and where "
            "the file is not mounted by itself"
        ) from error


def change_lines(adopted: Adopted) -> list[str]:
    """Each change as a line: the parameter, its old value and its new one."""
    return [f"{change.name}: {inline(change.before)} → {inline(change.after)}" for change in adopted.changes]


def _offered(store: ModelStore) -> str:
    """A text about the candidates of a sweep that can be adopted."""
    board = SweepStore(store.objects, store.prefix).leaderboard()
    if board is None:
        return "wait until it has ended"
    offered = [row.model_id for row in board.offered]
    return f"adopt one of {', '.join(offered)}" if offered else "none of them has become a model"


def _beside(request: TrainingRequest, folder: Path) -> Path:
    return git.root(folder).joinpath(*PurePosixPath(request.flow).parent.parts, request.params_file)


def _content(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigurationError(
            f"cannot read {file} ({reason}): name the flow's parameter file with --file"
        ) from error


def _require_committed(file: Path) -> None:
    folder = file.resolve().parent
    status = git.run(
        folder, *git.filters(folder), "status", "--porcelain", "--ignored", "--", file.resolve().name
    )
    if status.strip():
        raise ConfigurationError(
            f"{file} has changes that are not committed: commit them first, or give --allow-dirty"
        )


def _edited(file: Path, content: str, request: TrainingRequest) -> tuple[str, list[Change]]:
    name = f"{request.model} {request.model_id}"
    try:
        text, changes = edited(content, request.parameters)
        read: JsonValue = agent_yaml.load_written(text)
    except agent_yaml.YamlError as error:
        where = f", line {error.line}," if error.line else ""
        raise ConfigurationError(f"{file}{where} cannot be read as YAML: {error}") from error
    except NotEditable as error:
        raise ConfigurationError(
            f"{file} cannot take the parameters of {name}: {error}; change it by hand"
        ) from error
    if sha256_of_json(read) != request.parameters_sha256:
        raise ConfigurationError(
            f"{file} would not have the parameters of {name}, whose SHA-256 is {request.parameters_sha256}: "
            "change it by hand"
        )
    return text, changes


def _message(found: FoundModel) -> str:
    """The suggested message: "Adopt sentiment 12.7: macro-F1 0.652 on validation rows, …"."""
    figures = []
    candidate = found.candidate
    if candidate is not None and candidate.row.metric is not None:
        figures.append(f"{candidate.metric_title} {figure(candidate.row.metric)} on validation rows")
    manifest = found.store.manifest()
    if manifest is not None:
        figures.append(_test_figure(manifest, within_sweep=bool(figures)))
    subject = f"Adopt {found.request.model} {found.request.model_id}"
    return f"{subject}: {', '.join(figures)}" if figures else subject


def _test_figure(manifest: Manifest, *, within_sweep: bool) -> str:
    evaluation = manifest.evaluation
    metric = evaluation.metric(evaluation.primary)
    value = figure(evaluation.overall.metrics[metric.name])
    return f"{metric.title} {value} on {evaluation.overall.rows:,} {'test ' if within_sweep else ''}rows"
