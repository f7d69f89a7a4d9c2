"""Models that do not start, and archives that are refused."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from endpoints import BUCKET, Serving, refused
from modelbuild_local.aws.sagemaker import model_files


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("no-image", {"Image": "registry.example/nothing:1"}, "CannotPullContainerError"),
        ("no-entry", {"Image": "registry.example/tool:1"}, "could not be started"),
        ("exits", {"mode": "exit"}, "did not pass the ping health check"),
    ],
)
def test_what_cannot_start_fails_with_its_reason(
    serving: Serving, name: str, options: dict[str, Any], reason: str
) -> None:
    """An endpoint that cannot come into service is Failed, answers nothing, and can only be deleted."""
    found = serving.create(name, serving.config(name, serving.model(name, **options)))
    assert found["EndpointStatus"] == "Failed"
    assert reason in found["FailureReason"]
    with pytest.raises(ClientError, match=f"Endpoint {name} of account 123456789012 not found"):
        serving.call(name)
    change = {"EndpointName": name, "EndpointConfigName": name}
    assert "status Failed" in refused(serving.sagemaker.update_endpoint, **change)


def test_an_archive_that_was_deleted_after_the_model_was_created_fails(serving: Serving) -> None:
    """SageMaker reads the archive when an instance starts, and not when the model is created."""
    config = serving.config("no-data", serving.model("no-data"))
    serving.s3.delete_object(Bucket=BUCKET, Key="no-data.tar.gz")
    found = serving.create("no-data", config)
    assert found["EndpointStatus"] == "Failed"
    assert "Failed to download model data" in found["FailureReason"]


def test_invalid_or_escaping_archive_fails(serving: Serving) -> None:
    """Nothing is written outside the model's folder."""
    serving.s3.put_object(Bucket=BUCKET, Key="bad/torn.tar.gz", Body=b"\x1f\x8b torn")
    outside = serving.archive("bad/outside.tar.gz", {"../../../escaped": "x"})
    for name, uri in (("torn", f"s3://{BUCKET}/bad/torn.tar.gz"), ("outside", outside)):
        found = serving.create(name, serving.config(name, serving.model(name, ModelDataUrl=uri)))
        assert found["EndpointStatus"] == "Failed"
        assert "Failed to extract model data archive" in found["FailureReason"]
    assert not list(serving.cloud.scratch.rglob("escaped"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_archive_of_a_model_has_files_and_folders_only(kind: bytes, tmp_path: Path) -> None:
    """On every Python, files and folders are unpacked, and a link or a device is refused."""

    def archive(*members: tuple[str, bytes]) -> io.BytesIO:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, what in members:
                member = tarfile.TarInfo(name)
                member.type, member.linkname = what, "/etc/passwd"
                member.size = 4 if what == tarfile.REGTYPE else 0
                tar.addfile(member, io.BytesIO(b"text"))
        buffer.seek(0)
        return buffer

    good = (("code", tarfile.DIRTYPE), ("code/deep/model.json", tarfile.REGTYPE))
    with (
        tarfile.open(fileobj=archive(*good, ("link", kind))) as files,
        pytest.raises(tarfile.TarError, match="link"),
    ):
        model_files._unpack(files, tmp_path)
    assert (tmp_path / "code/deep/model.json").read_bytes() == b"text"
    assert not (tmp_path / "link").is_symlink()
    assert not (tmp_path / "link").exists()
