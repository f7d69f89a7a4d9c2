from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from model_servers import RightServer
from modelbuild.contract import GoldenPrediction, Manifest
from modelbuild.image_check import load_check, server, server_checks
from modelbuild.image_check.model import CheckedModel, read_model
from modelbuild.serving.model import load_directory
from models import Published, publish
from waiting import SECONDS

MANIFEST = Path(__file__).parents[1] / "data" / "model-12" / "manifest.json"


@pytest.fixture
def published(tmp_path: Path) -> Published:
    """A model of texts with three labels, as model tone 12.3 of comments."""
    folder = tmp_path / "model"
    folder.mkdir()
    return publish(folder)


TEXTS = ("It works.", "It does not work at all", "So what")


def write_manifest(path: Path, published: Published, outputs: Sequence[dict[str, Any]]) -> Path:
    """A manifest of the published model in which these are the outputs for TEXTS."""
    known = Manifest.model_validate_json(MANIFEST.read_bytes())
    hashes = {"model.json": published.environment.description_sha256, **published.description.files}
    own = known.model_copy(
        update={
            "request": known.request.model_copy(update={"model": "tone", "model_id": "12.3"}),
            "artifact": known.artifact.model_copy(update={"files": hashes}),
            "golden": tuple(
                GoldenPrediction(input=text, output=output)
                for text, output in zip(TEXTS, outputs, strict=True)
            ),
        }
    )
    path.write_text(json.dumps(own.model_dump(mode="json", by_alias=True)))
    return path


@pytest.fixture
def manifest(published: Published, tmp_path: Path) -> Path:
    """A manifest of that model with the answers of :class:`RightServer` as golden predictions."""
    return write_manifest(tmp_path / "manifest.json", published, [*map(RightServer().predict, TEXTS)])


@pytest.fixture
def own_manifest(published: Published, tmp_path: Path) -> Path:
    """A manifest of that model with its own answers as golden predictions."""
    model = load_directory(published.directory, published.environment.description_sha256)
    return write_manifest(tmp_path / "manifest.json", published, model.predict_json(TEXTS))


@pytest.fixture
def model(published: Published, manifest: Path) -> CheckedModel:
    """The model of RightServer with golden predictions."""
    return read_model(published.directory, manifest, [])


@pytest.fixture(autouse=True)
def _short_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """The load and the wait for a dead server are short, and on a busy machine no server is found slow."""
    monkeypatch.setattr(load_check, "_LOAD_SECONDS", 0.2)
    monkeypatch.setattr(server_checks, "_RECOVERY_SECONDS", 0.2)
    monkeypatch.setattr(server_checks, "_SLOW_SECONDS", SECONDS)
    monkeypatch.setattr(server, "PING_SECONDS", SECONDS)
