"""The stand-in as a process: how it starts, and what is left when it stops."""

from __future__ import annotations

import io
import signal
from collections.abc import Callable
from typing import Any

import pytest
import requests

from waiting import SECONDS


@pytest.mark.parametrize("way", ["end of input", "SIGTERM"])
def test_nothing_is_left_after_the_end(
    new_cloud: Any, wait: Callable[..., Any], alive: Callable[[str], bool], way: str
) -> None:
    """When its input ends or SIGTERM comes it exits 0, and jobs are gone with their children."""
    cloud = new_cloud()
    command = ["sh", "-c", "sleep 300 & echo $$ $!; wait"]
    job = cloud.submit(cloud.define("orphan", command))
    wait(lambda: cloud.log(cloud.job(job)))
    pids = cloud.log(cloud.job(job))[0].split()
    assert all(alive(pid) for pid in pids)
    if way == "SIGTERM":
        cloud.service.process.send_signal(signal.SIGTERM)
        assert cloud.service.process.wait(SECONDS) == 0
    assert cloud.service.stop() == 0
    assert not any(alive(pid) for pid in pids)
    with pytest.raises(requests.ConnectionError):
        requests.get(cloud.url, timeout=SECONDS)


def test_large_objects_survive(cloud: Any) -> None:
    """S3 gives back what it was given, also what is uploaded in parts."""
    s3, body = cloud.client("s3"), b"0123456789abcdef" * (700 * 1024)
    s3.create_bucket(Bucket="large.objects")
    s3.upload_fileobj(io.BytesIO(body), "large.objects", "a/b")
    assert s3.get_object(Bucket="large.objects", Key="a/b")["Body"].read() == body
