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


@given(st.text(max_size=60))
def test_unknown_references_cannot_be_pulled(reference: str) -> None:
    """Whatever the reference, no file outside the folder of images is taken for an image."""
    settings = Settings("", Path("/"), (Path(__file__).parent,), Path("/"), 1, 0)
    with pytest.raises(CannotPull, match=r"^CannotPullContainerError: "):
        resolve(reference, settings)
