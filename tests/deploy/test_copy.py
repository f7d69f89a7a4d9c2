from __future__ import annotations

from typing import Any

import pytest

from modelbuild.contract import Manifest, TrainingResult
from modelbuild.deploy.copy import copy
from modelbuild.errors import VerificationFailed
from modelbuild.handoff.manifest import Handoff
from modelbuild.store.model import ModelStore

ROOT = "s3://modelbuild-222222222222/models"


def copied(deployer: Any, manifest: Manifest) -> ModelStore:
    """Copy the model that ``manifest`` is about."""
    result = TrainingResult.from_fields(deployer.agent.meta_data)
    store = ModelStore(deployer.lake, manifest.request.artifacts)
    approved = Handoff(store, result, manifest, manifest.to_json().encode())
    return copy(approved, ROOT, deployer.lake, deployer.production)


def test_a_copy_is_made_once(deployer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The same again finds the bytes that are there, and hashes them."""
    manifest = deployer.train(181)
    copied_model = copied(deployer, manifest)
    assert capsys.readouterr().out.count("copied  ") == 2
    assert copied(deployer, manifest) == copied_model
    assert capsys.readouterr().out.count("reused  ") == 2
    assert [uri for uri, _ in deployer.production.list(f"{copied_model.prefix}/")] == [
        copied_model.manifest_uri,
        copied_model.model_uri,
    ]


def test_a_model_that_was_deployed_before_needs_its_original_no_more(deployer: Any) -> None:
    """An earlier model comes back also where retention has deleted or archived its archive of the training,
    because production has the very bytes.
    """
    manifest = deployer.train(184)
    copied_model = copied(deployer, manifest)
    deployer.lake.delete(manifest.artifact.path)
    assert copied(deployer, manifest) == copied_model


def test_an_archive_that_is_in_neither_account_is_named(deployer: Any) -> None:
    """The error says that no copy is left."""
    manifest = deployer.train(185)
    deployer.lake.delete(manifest.artifact.path)
    with pytest.raises(
        VerificationFailed, match=r"185/model\.tar\.gz was deleted, and production has no copy .*train again"
    ):
        copied(deployer, manifest)
    assert deployer.production.list(f"{ROOT}/comments/sentiment/185/") == []


def test_bytes_that_change_during_the_upload_leave_nothing(deployer: Any) -> None:
    """What production holds is hashed after the upload, and removed when it is not the model."""
    manifest = deployer.train(182)

    def corrupt(request: Any, **_: Any) -> None:
        request.data = b"other bytes"
        request.headers["Content-Length"] = str(len(request.data))
        for header in [name for name in request.headers if name.lower().startswith("x-amz-checksum")]:
            del request.headers[header]

    events = deployer.production._s3.meta.events
    events.register("before-sign.s3.PutObject", corrupt)
    with pytest.raises(VerificationFailed, match="after the upload"):
        copied(deployer, manifest)
    events.unregister("before-sign.s3.PutObject", corrupt)
    assert deployer.production.list(f"{ROOT}/comments/sentiment/182/") == []


def test_another_manifest_in_production_is_not_replaced(deployer: Any) -> None:
    """The record of what was approved is as immutable as the model."""
    manifest = deployer.train(183)
    deployer.production.write(f"{ROOT}/comments/sentiment/183/manifest.json", b"{}")
    with pytest.raises(VerificationFailed, match=r"183/manifest\.json is there already"):
        copied(deployer, manifest)
    assert deployer.production.read(f"{ROOT}/comments/sentiment/183/manifest.json") == b"{}"
