"""What the errors of AWS's client become."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from modelbuild.aws.failures import NotFound, is_refusal, translated
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.errors import AwsError
from modelbuild.settings import AwsSettings


def answer(code: str, status: int) -> ClientError:
    """An answer of Batch that is an error."""
    found: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(found, "SubmitJob")


@pytest.mark.parametrize(
    ("error", "is_final"),
    [
        (answer("AccessDeniedException", 403), True),
        (answer("ClientException", 400), True),
        (answer("TooManyRequestsException", 429), False),
        (answer("ThrottlingException", 400), False),
        (answer("ServerException", 500), False),
        (ReadTimeoutError(endpoint_url="https://batch.example"), False),
    ],
)
def test_a_refusal_is_told_from_what_may_succeed_later(error: Exception, is_final: bool) -> None:
    """Throttled calls, AWS's own faults and lost answers are of the moment."""
    with pytest.raises(AwsError) as caught, translated("submit job"):
        raise error
    assert is_refusal(caught.value) is is_final


@pytest.mark.parametrize(
    ("code", "fix"),
    [
        ("InvalidObjectState", "restore the object from the archive that its storage class is"),
        ("NoSuchKey", "restore the object, if it was deleted"),
    ],
)
def test_what_lifecycle_rules_do_to_objects_is_named_with_the_fix(code: str, fix: str) -> None:
    """They move large objects, such as models, to storage classes that cannot be read, or delete them."""
    found: Any = {"Error": {"Code": code, "Message": "no"}}
    with pytest.raises(AwsError, match=f"{fix}$"), translated("read s3://b/k"):
        raise ClientError(found, "GetObject")


def test_what_aws_does_not_list_yet_is_no_refusal() -> None:
    """A description without the job is an answer, but no error of AWS."""
    assert not is_refusal(NotFound("Batch has no job 1"))


@pytest.mark.parametrize("broken", ["aws_session_token", "aws_access_key_id"])
def test_credentials_that_no_header_can_hold_are_not_shown(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's own text names the header with its value: neither the error nor its cause has that."""
    file = tmp_path / "credentials"
    keys = {"aws_access_key_id": "A", "aws_secret_access_key": "s", "aws_session_token": "t"}
    keys[broken] = "first-half\n  second-half"
    file.write_text("\n".join(["[default]", *(f"{name} = {value}" for name, value in keys.items())]))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with pytest.raises(AwsError) as caught:
        Storage(session(AwsSettings())).read("s3://bucket/key")
    assert "half" not in "".join(traceback.format_exception(caught.value))
