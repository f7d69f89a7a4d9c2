"""Which process an image reference stands for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild_local.aws.images import CannotPull, Image, name_of, parse, resolve
from modelbuild_local.aws.settings import Settings


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("serve", "serve"),
        ("serve:1", "serve"),
        ("host.example:5000/team/serve", "serve"),
        ("123456789012.dkr.ecr.us-east-1.amazonaws.com/modelbuild/train-gpu:abc", "train-gpu"),
        ("team/serve@sha256:" + "0" * 64, "serve"),
        ("team/serve:1@sha256:" + "0" * 64, "serve"),
    ],
)
def test_name_is_last_part_of_the_path(reference: str, name: str) -> None:
    """Registry, path, tag and digest do not matter, only the last part's name."""
    assert name_of(reference) == name


def test_env_and_entrypoint_of_the_last_stage() -> None:
    """ENV in both forms, quotes, continued lines, comments and earlier values; only the last stage counts."""
    text = """
ARG VERSION=3
FROM a AS builder
ENV LOST=1
ENTRYPOINT ["lost"]
FROM b
# a comment
ENV A=1 B="two words" \\
    # a comment between
    C=three
env OLD form of it
ENV V=$VERSION PATH=/opt/bin:$PATH D=${A}-$B
RUN echo 'ENV NOT=this'
ENTRYPOINT ["python", "-m", "tool"]
CMD ["serve"]
"""
    assert parse(text) == Image(
        {"A": "1", "B": "two words", "C": "three", "OLD": "form of it", "V": "3", "D": "1-two words"},
        ["python", "-m", "tool"],
    )


def test_shell_form_entrypoint_runs_in_a_shell() -> None:
    """A container engine hands the shell form to /bin/sh."""
    assert parse("FROM a\nENTRYPOINT exec tool").entrypoint == ["/bin/sh", "-c", "exec tool"]


@pytest.mark.parametrize("folder", ["default", "train-gpu", "serve"])
def test_own_images_are_understood(folder: str) -> None:
    """The three Dockerfiles of this repository give what the jobs and endpoints need."""
    root = Path(__file__).parents[3] / "docker"
    image = parse((root / folder / "Dockerfile").read_text(encoding="utf-8"))
    if folder == "serve":
        assert image.entrypoint == ["python", "-m", "modelbuild.serving"]
    else:
        assert image.entrypoint == []
        assert image.environment["METAFLOW_SKIP_INSTALL_DEPENDENCIES"] == "1"


def test_the_first_folder_that_has_the_image_counts(tmp_path: Path) -> None:
    """A repository's folder adds images, and replaces none; a missing folder has none."""
    for folder, name in (("ours", "serve"), ("theirs", "serve"), ("theirs", "own")):
        (tmp_path / folder / name).mkdir(parents=True)
        (tmp_path / folder / name / "Dockerfile").write_text(f'FROM scratch\nENTRYPOINT ["{folder}"]\n')
    folders = tuple(tmp_path / name for name in ("missing", "ours", "theirs"))
    settings = Settings("", Path("/"), folders, Path("/"), 1, 0)
    assert resolve("team/serve:1", settings).entrypoint == ["ours"]
    assert resolve("team/own:1", settings).entrypoint == ["theirs"]
    with pytest.raises(CannotPull, match=r"there is no other/Dockerfile in .*missing or .*ours or .*theirs"):
        resolve("team/other:1", settings)


def test_a_stage_has_what_it_is_made_from() -> None:
    """ENV and ENTRYPOINT of an earlier stage stay, unless the later one has its own."""
    text = """
ARG BASE=python:3
FROM --platform=linux/amd64 ${BASE} AS Base
ENV A=1 B=1
ENTRYPOINT ["python", "-m", "tool"]
FROM base AS other
ENV LOST=1
ENTRYPOINT ["lost"]
FROM BASE
ENV B=2
"""
    assert parse(text) == Image({"A": "1", "B": "2"}, ["python", "-m", "tool"])


def test_an_image_is_made_from_another_one(tmp_path: Path) -> None:
    """A serving image with a kind of one's own is made from modelbuild's, in laptop mode as in the build."""
    (tmp_path / "serve").mkdir()
    (tmp_path / "serve" / "Dockerfile").write_text('FROM serve:1\nENV A=1\nENTRYPOINT ["serve"]\n')
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "Dockerfile").write_text("FROM host:5000/modelbuild/serve:2\nENV B=$A\n")
    settings = Settings("", Path("/"), (tmp_path,), Path("/"), 1, 0)
    assert resolve("team/own:1", settings) == Image({"A": "1", "B": "1"}, ["serve"])


@pytest.mark.parametrize("end", ["EOF\n", "EOF"])
@pytest.mark.parametrize("mark", ["EOF", '"EOF"', "-EOF"])
def test_lines_of_a_here_document_are_no_instructions(mark: str, end: str) -> None:
    """A program within the Dockerfile may import from a module, which is no next stage."""
    program = "from os import environ\nenv = environ\n"
    text = f'FROM a\nENV A=1\nENTRYPOINT ["tool"]\nCOPY <<{mark} /tool.py\n{program}{end}'
    assert parse(text) == Image({"A": "1"}, ["tool"])


def test_a_here_document_ends_at_its_first_mark() -> None:
    """What follows are instructions; one without a line is a here-document, too. A comment begins none."""
    text = """FROM a
# RUN <<EOF
ENV C=1
RUN <<EOF
EOF
ENV A=1
RUN <<EOF
ENV LOST=1
EOF
ENV B=1
RUN echo 1 <<EOF
EOF
"""
    assert parse(text).environment == {"C": "1", "A": "1", "B": "1"}


def test_an_entrypoint_that_is_no_list_runs_in_a_shell() -> None:
    """JSON that is no list is a command line."""
    assert parse('FROM a\nENTRYPOINT "tool"').entrypoint == ["/bin/sh", "-c", '"tool"']


@pytest.mark.parametrize("content", [b"FROM a\nENV A='1\n", b"FROM a\nENV A=\xff\n"])
def test_a_dockerfile_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    """People write these files: what is wrong is said with the file, not as a defect of the stand-in."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "Dockerfile").write_bytes(content)
    settings = Settings("", Path("/"), (tmp_path,), Path("/"), 1, 0)
    with pytest.raises(CannotPull, match=r"own/Dockerfile cannot be read \("):
        resolve("team/own:1", settings)


@given(st.text(max_size=60))
def test_unknown_references_cannot_be_pulled(reference: str) -> None:
    """Whatever the reference, no file outside the folder of images is taken for an image."""
    settings = Settings("", Path("/"), (Path(__file__).parent,), Path("/"), 1, 0)
    with pytest.raises(CannotPull, match=r"^CannotPullContainerError: "):
        resolve(reference, settings)
