"""Maps an image reference to the process that runs for it.

Nothing is pulled: the last part of the reference's path names a folder with a Dockerfile, of which ``FROM``,
``ENV`` and ``ENTRYPOINT`` are used. The programs come from ``Settings.bin`` and the host, so everything that
the Dockerfile copies or installs must be installed on the host.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field

from modelbuild_local.aws.settings import Settings

# A program or a file within a Dockerfile: some of its lines may look like instructions.
_HERE_DOCUMENT = re.compile(r"""<<-?(["']?)(\w+)\1[^\n]*\n(?:.*?\n)??\t*\2[ \t]*(?:\n|\Z)""", re.DOTALL)


class CannotPull(Exception):
    """The image has no folder, or its Dockerfile cannot be read; the message is what Batch and SageMaker say
    of a missing image.
    """


@dataclass(frozen=True)
class Image:
    """The properties of an image that a container uses.

    Attributes:
        environment: The variables of the image's last build stage.
        entrypoint: The start of the command line, before a job's or endpoint's own arguments.
    """

    environment: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)


def name_of(reference: str) -> str:
    """The last part of a reference's path: ``host:5000/team/serve:1@sha256:…`` gives ``serve``."""
    return reference.split("@")[0].rsplit("/", 1)[-1].split(":")[0]


def resolve(reference: str, settings: Settings) -> Image:
    """The image of ``reference``.

    Raises:
        CannotPull: no folder in ``settings.images`` has the image's name and a Dockerfile, or that cannot be
            read.
    """
    name = name_of(reference)
    image = _find(name, settings, ())
    if image is None:
        folders = " or ".join(map(str, settings.images))
        raise CannotPull(
            f"CannotPullContainerError: Error response from daemon: pull access denied for {reference}, "
            f"repository does not exist: there is no {name}/Dockerfile in {folders}"
        )
    return image


def _find(name: str, settings: Settings, derived: tuple[str, ...]) -> Image | None:
    """The image of a name; None if no folder has it, or if it is one of the images that are made from it."""
    if name in derived or not re.fullmatch(r"[a-z0-9]+([._-]+[a-z0-9]+)*", name):
        return None
    for folder in settings.images:
        dockerfile = folder / name / "Dockerfile"
        if dockerfile.is_file():
            try:
                text = dockerfile.read_text(encoding="utf-8")
                return parse(text, lambda base: _find(name_of(base), settings, (*derived, name)))
            except ValueError as error:
                raise CannotPull(
                    f"CannotPullContainerError: {dockerfile} cannot be read ({error})"
                ) from error
    return None


def parse(dockerfile: str, find: Callable[[str], Image | None] = lambda _: None) -> Image:
    """``ENV`` and ``ENTRYPOINT`` of the last stage of a Dockerfile, and of the stages and images below it.

    PATH is omitted: its folders are inside the image and do not exist here.

    Args:
        dockerfile: the text.
        find: the image of a reference, from which a stage may be made; None if it is not known.

    Raises:
        ValueError: a quotation has no end.
    """
    arguments: dict[str, str] = {}
    stages: dict[str, Image] = {}
    image = Image()
    for instruction, rest in _instructions(dockerfile):
        if instruction == "FROM":
            base, stage = _stage(rest, arguments)
            below = stages.get(base) or find(base) or Image()
            image = stages[stage] = Image(dict(below.environment), list(below.entrypoint))
        elif instruction == "ARG":
            name, _, default = rest.partition("=")
            arguments[name.strip()] = " ".join(shlex.split(default))
        elif instruction == "ENV":
            for name, value in _assignments(rest):
                image.environment[name] = _expand(value, {**arguments, **image.environment})
        elif instruction == "ENTRYPOINT":
            image.entrypoint[:] = _command(rest)
    image.environment.pop("PATH", None)
    return image


def _instructions(dockerfile: str) -> list[tuple[str, str]]:
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    text = _HERE_DOCUMENT.sub("\n", "\n".join(lines))
    joined = re.sub(r"\\[ \t]*\n", " ", text)
    parts = [line.strip().split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(part[0].upper(), part[1] if len(part) > 1 else "") for part in parts]


def _stage(rest: str, arguments: dict[str, str]) -> tuple[str, str]:
    """What a stage is made from, and its name: ``--platform=linux/arm64 python:3 AS build``."""
    base, *named = [word for word in rest.split() if not word.startswith("--")] or [""]
    return _expand(base, arguments).lower(), named[-1].lower() if named else ""


def _assignments(rest: str) -> list[tuple[str, str]]:
    first = rest.split(None, 1)
    if first and "=" not in first[0]:  # the old form: ENV NAME the rest of the line
        return [(first[0], first[1].strip() if len(first) > 1 else "")]
    pairs = (argument.partition("=") for argument in shlex.split(rest))
    return [(name, value) for name, _, value in pairs]


def _expand(value: str, variables: dict[str, str]) -> str:
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda m: variables.get(m[1] or m[2], ""), value)


def _command(rest: str) -> list[str]:
    try:
        command = json.loads(rest)
    except ValueError:
        command = None
    return [str(argument) for argument in command] if isinstance(command, list) else ["/bin/sh", "-c", rest]
