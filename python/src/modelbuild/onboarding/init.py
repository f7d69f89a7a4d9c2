"""``modelbuild init``: a pipeline and a flow in a repository that has none yet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import jinja2

from modelbuild import __version__
from modelbuild.errors import ConfigurationError

_NAME_LENGTH = 40


def write(folder: Path) -> list[Path]:
    """Write ``.buildkite/pipeline.yml`` and ``flows/<name>/``; the name is the folder's.

    Returns:
        The files, in the order in which a person reads them.

    Raises:
        ConfigurationError: one of the files is there already, and nothing was written; or the folder is
            not there, or may not be written to.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"there is no folder {folder}: name the repository to write to")
    files = dict(_files(folder))
    for path in files:
        if path.exists() or path.is_symlink():
            raise ConfigurationError(f"{path} is there already, and nothing was written: move it away first")
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write {path} ({error.strerror}): run this where you may"
            ) from error
    return list(files)


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    name = _name(folder.resolve().name)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("modelbuild.onboarding"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # Python and YAML, and the only values are this module's.
    )
    values = {"name": name, "class_name": _class_name(name), "version": __version__}
    flow = Path("flows") / name
    for place in (
        Path(".buildkite/pipeline.yml"),
        flow / "params.yaml",
        flow / "parameters.py",
        flow / "flow.py",
    ):
        yield folder / place, environment.get_template(f"{place.name}.j2").render(values)


def _name(text: str) -> str:
    """A name that a folder, an endpoint and a concurrency group take."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_NAME_LENGTH].strip("-") or "model"


def _class_name(name: str) -> str:
    words = "".join(word.capitalize() for word in name.split("-"))
    return f"{words if words[0].isalpha() else f'Model{words}'}Flow"
