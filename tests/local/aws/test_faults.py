"""What can be made to go wrong: outages, throttling, lost answers, keys that expire, clocks, memory."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import botocore.auth
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.exceptions import HTTPClientError as NoAnswer

from request_faults import RequestFaults, injected_faults
from standins import ADMINISTRATOR, KEY_ID, SECRET

ROLE = "arn:aws:iam::123456789012:role/job"
DESCRIBE = ("batch POST /v1/describejobs", 429, "TooManyRequestsException")
LONGEST = 43200


def call(url: str, method: str, value: Any = None, kind: str = "application/json") -> tuple[int, Any]:
    """Status and JSON of one request to the stand-in itself."""
    data = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(url, data, {"Content-Type": kind, **ADMINISTRATOR}, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


@pytest.fixture
def faults(cloud: Any) -> Iterator[RequestFaults]:
    """Faults that are gone when the test is over."""
    with injected_faults(cloud.url) as changed:
        yield changed


@pytest.fixture(scope="module")
def bucket(cloud: Any) -> str:
    """A bucket."""
    cloud.client("s3").create_bucket(Bucket="faults")
    return "faults"


def refusal(of: Callable[[], Any]) -> tuple[int, str]:
    """Status and code with which a call is refused."""
    with pytest.raises(ClientError) as caught:
        of()
    response: Any = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


@pytest.mark.parametrize(
    ("request_", "status", "code", "operation"),
    [
        ("s3 PUT /faults/*", 503, "SlowDown", lambda c: c("s3").put_object(Bucket="faults", Key="a/b")),
        (*DESCRIBE, lambda c: c("batch").describe_jobs(jobs=["a"])),
        ("athena POST /ListWorkGroups", 400, "ThrottlingException", lambda c: c("athena").list_work_groups()),
        ("sts *", 400, "Throttling", lambda c: c("sts").get_caller_identity()),
    ],
)  # fmt: skip
def test_refusals_are_the_services_own(
    cloud: Any, bucket: str, faults: RequestFaults, request_: str, status: int, code: str, operation: Any
) -> None:
    """Clients read the code in each protocol's form, once for each of the count, and then all is well."""
    assert bucket
    faults.add(request_, status=status, code=code, count=2)
    assert [refusal(lambda: operation(cloud.client)) for _ in range(2)] == [(status, code)] * 2
    operation(cloud.client)
    assert faults.struck() == [2]


def test_each_nth_for_a_while(
    cloud: Any, bucket: str, faults: RequestFaults, wait: Callable[..., Any]
) -> None:
    """Only the requests that are named are struck, each n-th of them, and none after the time is over."""
    faults.add("s3 PUT /faults/x*", status=503, code="SlowDown", every=3)

    def put(name: str) -> bool:
        try:
            cloud.client("s3").put_object(Bucket=bucket, Key=name)
        except ClientError:
            return False
        return True

    assert [name for name in ("x1", "x2", "x3", "x4", "z", "x5", "x6") if not put(name)] == ["x3", "x6"]
    faults.add("s3 PUT /faults/y", status=500, seconds=3)
    assert not put("y")
    wait(lambda: put("y"))
    assert faults.struck()[0] == 2


def test_broken_connection_and_lost_answer(cloud: Any, bucket: str, faults: RequestFaults) -> None:
    """A connection can break before anything is done, and after it was done; it can be silent before."""
    s3 = cloud.client("s3")
    faults.add("s3 PUT /faults/broken", count=1, silence=0.3)
    faults.add("s3 PUT /faults/lost", lost=True, count=1)
    before = time.monotonic()
    with pytest.raises((ConnectionClosedError, NoAnswer)):
        s3.put_object(Bucket=bucket, Key="broken", Body=b"1" * 100_000)
    assert time.monotonic() - before >= 0.3
    with pytest.raises((ConnectionClosedError, NoAnswer)):
        s3.put_object(Bucket=bucket, Key="lost", Body=b"2")
    found = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert "lost" in found
    assert "broken" not in found


def test_a_fault_runs_no_request_without_the_key(cloud: Any, bucket: str, faults: RequestFaults) -> None:
    """A request with a forged signature is refused, and a fault that is to strike once waits for another."""
    s3 = cloud.client("s3")
    forged = boto3.client(
        "s3",
        endpoint_url=cloud.url,
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET[::-1],
    )
    faults.add("s3 PUT /faults/forged", lost=True, count=1)
    code = refusal(lambda: forged.put_object(Bucket=bucket, Key="forged", Body=b"1"))
    assert code == (403, "SignatureDoesNotMatch")
    assert "forged" not in str(s3.list_objects_v2(Bucket=bucket).get("Contents", []))
    with pytest.raises((ConnectionClosedError, NoAnswer)):
        s3.put_object(Bucket=bucket, Key="forged", Body=b"2")


@pytest.mark.parametrize(
    ("value", "kind", "status"),
    [
        ({"request": "s3 *", "status": 503}, "text/plain", 415),
        ({"request": "s3 *", "status": 200}, "application/json", 400),
        ({"request": "s3 *", "sometimes": True}, "application/json", 400),
    ],
)
def test_what_is_no_fault_is_refused(
    cloud: Any, faults: RequestFaults, value: Any, kind: str, status: int
) -> None:
    """A misspelt fault, and one from another site, changes nothing."""
    assert call(f"{cloud.url}/laptop/faults", "POST", value, kind)[0] == status
    assert faults.struck() == []
    assert call(f"{cloud.url}/laptop/credentials", "PUT", {"hours": 1})[0] == 400


def test_container_renews_its_keys_and_expired_ones_are_refused(cloud: Any, faults: RequestFaults) -> None:
    """A job's library gets new keys of its role in time; those that it had before are refused, by each
    service in its own words.
    """
    program = """
import boto3, time
first = boto3.Session(region_name="us-east-1")
keys = first.get_credentials().get_frozen_credentials()
old = boto3.Session(keys.access_key, keys.secret_key, keys.token, region_name="us-east-1")
sts = old.client("sts")
while True:
    try:
        sts.get_caller_identity()
    except sts.exceptions.ClientError:
        break
    time.sleep(0.2)
print(first.client("sts").get_caller_identity()["Arn"])
for service, call in (("sts", "get_caller_identity"), ("s3", "list_buckets"), ("athena", "list_work_groups")):
    try:
        getattr(old.client(service), call)()
    except Exception as error:
        print(service, error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"])
"""
    faults.limit_key_lifetime(6)
    try:
        job = cloud.run("renews", ["python", "-c", program], properties={"jobRoleArn": ROLE})
    finally:
        faults.limit_key_lifetime(LONGEST)
    lines = cloud.log(job)
    assert lines[0].startswith("arn:aws:sts::123456789012:assumed-role/job/"), "\n".join(lines)
    assert lines[1:] == ["sts 400 ExpiredToken", "s3 400 ExpiredToken", "athena 400 ExpiredTokenException"]
    assert call(f"{cloud.url}/laptop/credentials", "GET")[0] == 404


@pytest.mark.parametrize(
    ("service", "call_", "minutes", "expected"),
    [
        ("s3", "list_buckets", 14, None),
        ("s3", "list_buckets", -16, (403, "RequestTimeTooSkewed")),
        ("athena", "list_work_groups", 4, None),
        ("athena", "list_work_groups", 6, (403, "InvalidSignatureException")),
        ("sts", "get_caller_identity", -6, (403, "SignatureDoesNotMatch")),
    ],
)
def test_clocks_may_be_off_a_little(
    cloud: Any, monkeypatch: pytest.MonkeyPatch, service: str, call_: str, minutes: float, expected: Any
) -> None:
    """S3 takes a quarter of an hour, the others five minutes; beyond that, requests are refused."""

    def now(*_: Any, **__: Any) -> datetime:
        return datetime.now(timezone.utc) + timedelta(minutes=minutes)

    monkeypatch.setattr(botocore.auth, "get_current_datetime", now)
    connect: Any = boto3.client
    client = connect(
        service,
        endpoint_url=cloud.url,
        region_name="us-east-1",
        aws_access_key_id=KEY_ID,
        aws_secret_access_key=SECRET,
        config=Config(retries={"max_attempts": 0}),
    )
    if expected is None:
        getattr(client, call_)()
    else:
        assert refusal(getattr(client, call_)) == expected


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="memory is read from /proc")
def test_job_that_takes_too_much_memory_is_killed(cloud: Any) -> None:
    """A job may take the memory that it asked for, its children's included, and no more: it is killed, with
    the reason that Batch gives.
    """
    hold = "import time; held = b'x' * (MIB << 20); time.sleep(WAIT)"

    def script(mib: int, seconds: float) -> list[str]:
        text = hold.replace("MIB", str(mib)).replace("WAIT", str(seconds))
        return ["sh", "-c", f'python -c "{text}" & wait; echo ended']

    job = cloud.run("large", script(200, 60))
    assert (job["status"], job["container"]["exitCode"]) == ("FAILED", 137)
    assert job["container"]["reason"] == "OutOfMemoryError: Container killed due to memory usage"
    assert job["statusReason"] == "Essential container in task exited"
    assert cloud.log(job) == []
    job = cloud.run("small", script(80, 0.5))
    assert (job["status"], cloud.log(job)) == ("SUCCEEDED", ["ended"])
