"""The step that builds the images of a commit."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = "123456789012.dkr.ecr.us-east-1.amazonaws.com"
# An engine that knows each image by two repositories, of which the first is another's.
ENGINE = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
if [ "$1 $2" = "image inspect" ]; then
  for last; do :; done
  printf 'elsewhere/x@sha256:0\\n%s@sha256:1\\n' "${last%:*}"
fi
"""


def calls(tmp_path: Path, **environ: str) -> list[str]:
    """What the step calls, with an engine and an agent that write it down."""
    for name in ("docker", "buildkite-agent"):
        (tmp_path / name).write_text(ENGINE)
        (tmp_path / name).chmod(0o755)
    subprocess.run(
        [ROOT / ".buildkite" / "images.sh"],
        env={
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "CALLS": str(tmp_path / "calls"),
            "BUILDKITE_COMMIT": "c0ffee",
            **environ,
        },
        capture_output=True,
        check=True,
    )
    return (tmp_path / "calls").read_text().splitlines()


def test_images_are_pushed_and_pinned(tmp_path: Path) -> None:
    """Each image is built, pushed, and put on record by the digest that its own repository gave it."""
    said = calls(tmp_path, IMAGE_REGISTRY=REGISTRY)
    for name in ("default", "train-gpu", "serve"):
        image = f"{REGISTRY}/{name}"
        assert f"docker build --file docker/{name}/Dockerfile --tag {image}:c0ffee ." in said
        assert f"docker push {image}:c0ffee" in said
        assert f"buildkite-agent meta-data set image/{image}:c0ffee {image}@sha256:1" in said
    assert not [call for call in said if " tag " in call]


@pytest.mark.parametrize("tag", ["v1.2.3", "1.2.3"])
def test_release_has_its_images_by_version(tag: str, tmp_path: Path) -> None:
    """The build of a release also pushes what pipelines of other repositories ask for, its version."""
    said = calls(tmp_path, IMAGE_REGISTRY=REGISTRY, BUILDKITE_TAG=tag)
    for name in ("default", "train-gpu", "serve"):
        assert f"docker tag {REGISTRY}/{name}:c0ffee {REGISTRY}/{name}:1.2.3" in said
        assert f"docker push {REGISTRY}/{name}:1.2.3" in said


def test_without_a_registry_nothing_is_pushed(tmp_path: Path) -> None:
    """Images are built under their own names, and stay on the machine."""
    said = calls(tmp_path, BUILDKITE_TAG="v1.2.3")
    assert "docker build --file docker/serve/Dockerfile --tag modelbuild/serve:c0ffee ." in said
    assert not [call for call in said if "push" in call or "meta-data" in call]
