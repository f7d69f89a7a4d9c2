"""``modelbuild init``: a pipeline and a flow in a repository that trains nothing yet."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import jinja2

from modelbuild import __version__, git
from modelbuild.errors import ConfigurationError
from modelbuild.formats import agent_yaml
from modelbuild.formats.inline_yaml import inline
from modelbuild.onboarding import data
from modelbuild.onboarding.check import PLACEHOLDER
from modelbuild.onboarding.data import DataFile
from modelbuild.onboarding.pipeline import DEFAULT_FILE

# Where agents look for a pipeline. Of two such files they take neither.
_PIPELINES = tuple(
    Path(f"{name}.{ending}")
    for name in ("buildkite", ".buildkite/pipeline", "buildkite/pipeline")
    for ending in ("yml", "yaml", "json")
)
_SECOND_FILE = Path(".buildkite/modelbuild.yml")
_IGNORED = Path(".gitignore")
_NAME_LENGTH = 40
_FLOW_FILES = ("data.csv", "params.yaml", "parameters.py", "flow.py")


@dataclass(frozen=True)
class Written:
    """What was written, in the order in which a person reads it, and the ``folder`` that was given."""

    folder: Path
    pipeline: Path
    flow: tuple[Path, ...]
    ignored: Path | None
    other: Path | None
    """The pipeline that was there before."""
    team: str
    """The team that may deploy; empty where it is to be named."""
    excluded: tuple[Path, ...] = ()
    """The files that git ignores, by the repository's own rules."""

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that were written."""
        return (self.pipeline, *self.flow, *((self.ignored,) if self.ignored else ()))

    def next_steps(self) -> Iterator[str]:
        """What a person does now, a sentence each."""
        default = self.pipeline == self.folder / DEFAULT_FILE
        named = "" if default else f" --pipeline {self.pipeline.relative_to(self.folder)}"
        flow, pipeline = (shlex.quote(str(path)) for path in (self.flow[-1], self.pipeline))
        if not self.ignored:
            yield "Have git ignore .metaflow/ and __pycache__/, which the flow leaves where it runs."
        if self.excluded:
            files = " ".join(shlex.quote(str(file.relative_to(self.folder))) for file in self.excluded)
            yield f"Git ignores what the flow needs, so a commit would lack it: git add --force {files}"
        yield f"Try the flow on this machine, where it needs no account: python {flow} run"
        yield (
            "Commit, and see the whole way to a served model on this machine, without any account: "
            f"modelbuild local up, and in another terminal modelbuild local run{named}"
        )
        yield (
            f"For agents of your own, put the owner of your modelbuild repository in place of {PLACEHOLDER} "
            f"in {self.pipeline}, and see whether the pipeline is right: modelbuild check"
            f"{'' if default else f' {pipeline}'}"
        )
        if not self.team:
            yield f"In {self.pipeline}, name the team that may deploy in allowed_teams of step approve."
        if self.other:
            yield (
                f"{self.other} stays as it is: have a step of it run `buildkite-agent pipeline upload "
                f"{self.pipeline.relative_to(self.folder)}`, or make a pipeline of its own with that step."
            )
        yield (
            "See on an agent (modelbuild's docs/setup.md tells how) whether the account is ready: "
            f"modelbuild doctor{'' if default else f' --pipeline {pipeline}'}"
        )


def write(folder: Path, team: str = "", rows: DataFile | None = None) -> Written:
    """Write a pipeline, ``flows/<name>/`` and ``.gitignore``; the name is the folder's.

    The pipeline is ``.buildkite/pipeline.yml``, or another file where agents would find two. A
    ``.gitignore`` that is there stays.

    Args:
        folder: the root of the repository.
        team: the slug of the team that may deploy.
        rows: the rows to train on; without them, an example.

    Raises:
        ConfigurationError: ``team`` is no slug, or one of the files is there already; or the folder is not
            there, is not the root of its repository, or may not be written to.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}: name the repository to write to")
    _require_root(folder.resolve())
    if team and not re.fullmatch(r"[a-z0-9][a-z0-9-]*", team):
        raise ConfigurationError(
            f"{team!r} is no slug of a team, such as ml-approvers: give the last part of its page's address"
        )
    name = _name(folder.resolve().name)
    other = next((folder / path for path in _PIPELINES if (folder / path).exists()), None)
    written = Written(
        folder=folder,
        pipeline=folder / (_SECOND_FILE if other else DEFAULT_FILE),
        flow=tuple(folder / "flows" / name / file for file in _FLOW_FILES),
        ignored=None if (folder / _IGNORED).exists() else folder / _IGNORED,
        other=other,
        team=team,
    )
    files = dict(_rendered(written, name, rows or data.read(data.EXAMPLE, None, None)))
    for path in files:
        if path.exists() or path.is_symlink():
            raise ConfigurationError(f"{path} is there already, and nothing was written: move it away first")
    begun: list[Path] = []
    for path, content in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                begun.append(path)
                file.write(content)
        except OSError as error:
            for one in begun:
                one.unlink(missing_ok=True)
            raise ConfigurationError(
                f"cannot write {path} ({error.strerror}), and no file was written: run this in a folder that "
                "you may write to"
            ) from error
    return replace(written, excluded=tuple(file for file in written.files if _is_ignored(folder, file)))


def _is_ignored(folder: Path, file: Path) -> bool:
    if not git.succeeds(folder, "rev-parse", "--git-dir"):
        return False
    options = ("--others", "--ignored", "--exclude-standard")
    return bool(git.run(folder, "ls-files", *options, "--", str(file.resolve())))


def _require_root(folder: Path) -> None:
    """Refuse a folder inside a repository, where agents would not find the pipeline, and a bare one."""
    roots = (parent for parent in (folder, *folder.parents) if (parent / ".git").exists())
    root = next(roots, folder)
    if root != folder:
        raise ConfigurationError(
            f"{folder} is inside the repository {root}, at whose root agents look for a pipeline: run "
            f"modelbuild init {root}"
        )
    if git.succeeds(folder, "rev-parse", "--git-dir"):
        git.root(folder)


def _rendered(written: Written, name: str, rows: DataFile) -> Iterator[tuple[Path, bytes]]:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("modelbuild.onboarding"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Python and YAML; names of columns are quoted by the template.
    )
    values = {
        "name": name,
        "endpoint": name if type(agent_yaml.load(name)) is str else f'"{name}"',
        "class_name": _class_name(name),
        "version": __version__,
        "placeholder": PLACEHOLDER,
        "team": written.team,
        "file": "data.csv",
        "text": inline(rows.text, '"'),
        "label": inline(rows.label, '"'),
    }
    for path in written.files:
        if path.name == "data.csv":
            yield path, rows.content
            continue
        template = "pipeline.yml" if path == written.pipeline else path.name.lstrip(".")
        yield path, environment.get_template(f"{template}.j2").render(values).encode()


def _name(text: str) -> str:
    """A name that is valid for a folder, a model, an endpoint and a concurrency group."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_NAME_LENGTH].strip("-") or "model"
    return f"model-{name}" if name.isdigit() else name


def _class_name(name: str) -> str:
    words = "".join(word.capitalize() for word in name.split("-"))
    return f"{words if words[0].isalpha() else f'Model{words}'}Flow"
