"""Maps an image reference to the process that runs for it.

Nothing is pulled: the last part of the reference's path names a folder with a Dockerfile, of which ``ENV``
and ``ENTRYPOINT`` are used. The programs come from ``Settings.bin`` and the host, so everything that the
Dockerfile copies or installs must be installed on the host.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field

from modelbuild_local.aws.settings import Settings


class CannotPull(Exception):
    """The image has no folder; the message is that of Batch and SageMaker for a missing image."""


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
        CannotPull: no folder in ``settings.images`` has the image's name and a Dockerfile.
    """
    name = name_of(reference)
    if re.fullmatch(r"[a-z0-9]+([._-]+[a-z0-9]+)*", name):
        for folder in settings.images:
            dockerfile = folder / name / "Dockerfile"
            if dockerfile.is_file():
                return parse(dockerfile.read_text(encoding="utf-8"))
    folders = " or ".join(map(str, settings.images))
    raise CannotPull(
        f"CannotPullContainerError: Error response from daemon: pull access denied for {reference}, "
        f"repository does not exist: there is no {name}/Dockerfile in {folders}"
    )


def parse(dockerfile: str) -> Image:
    """``ENV`` and ``ENTRYPOINT`` of the last stage of a Dockerfile.

    PATH is omitted: its folders are inside the image and do not exist here.
    """
    arguments: dict[str, str] = {}
    environment: dict[str, str] = {}
    entrypoint: list[str] = []
    for instruction, rest in _instructions(dockerfile):
        if instruction == "FROM":
            environment, entrypoint = {}, []
        elif instruction == "ARG":
            name, _, default = rest.partition("=")
            arguments[name.strip()] = " ".join(shlex.split(default))
        elif instruction == "ENV":
            for name, value in _assignments(rest):
                environment[name] = _expand(value, {**arguments, **environment})
        elif instruction == "ENTRYPOINT":
            entrypoint = _command(rest)
    environment.pop("PATH", None)
    return Image(environment, entrypoint)


def _instructions(dockerfile: str) -> list[tuple[str, str]]:
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\[ \t]*\n", " ", "\n".join(lines))
    parts = [line.strip().split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(part[0].upper(), part[1] if len(part) > 1 else "") for part in parts]


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
        return ["/bin/sh", "-c", rest]
    return [str(argument) for argument in command]
