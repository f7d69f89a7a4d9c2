"""What the errors of AWS's client become."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from modelbuild.aws.failures import NotFound, is_refusal, translated
from modelbuild.errors import AwsError


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


def test_what_aws_does_not_list_yet_is_no_refusal() -> None:
    """A description without the job is an answer, but no error of AWS."""
    assert not is_refusal(NotFound("Batch has no job 1"))
