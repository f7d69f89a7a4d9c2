"""Requests that a head does not run."""

from __future__ import annotations

import json
from typing import Any

from heads import Head


def test_request_of_a_newer_version_is_reported(head: Head, archived: bytes, buildkite: Any) -> None:
    """A head that does not know all that was asked for trains nothing, and its build does not hang."""
    request = json.loads(head.write_request(archived, parameters={"act": "publish"}).to_json())
    request["priority"] = request["build"]["pull_request"] = 5
    head.storage.write(f"{head.artifacts}/request.json", json.dumps(request).encode())
    code, output = head.run()
    assert code == 13, output
    assert "acting" not in output
    assert "is not a training request of this version of modelbuild" in buildkite.fields[0]["training/reason"]


def test_missing_flow_is_reported(head: Head, archived: bytes, buildkite: Any) -> None:
    """A flow that the commit does not have fails with its name."""
    head.write_request(archived, flow="flows/absent.py")
    code, _ = head.run()
    assert code == 13
    assert buildkite.fields[0]["training/reason"] == (
        "the commit has no flow flows/absent.py: correct option flow"
    )


def test_changed_source_is_not_run(head: Head, archived: bytes, buildkite: Any) -> None:
    """An archive with other bytes than the request names is refused."""
    request = head.write_request(archived, parameters={"act": "publish"})
    head.storage.write(request.source.path, archived + b"\0")
    code, output = head.run()
    assert code == 13
    assert "acting" not in output
    assert "was changed after the request" in buildkite.fields[0]["training/reason"]


def test_parameters_must_have_their_hash(head: Head, archived: bytes, buildkite: Any) -> None:
    """Parameters that do not have the hash of the request are not trained with."""
    head.write_request(archived, parameters_sha256="1" * 64)
    code, _ = head.run()
    assert code == 13
    assert "do not have the hash" in buildkite.fields[0]["training/reason"]


def test_missing_request_is_an_aws_error(head: Head, buildkite: Any) -> None:
    """A place without a request ends with a sentence and the code of an AWS error."""
    code, output = head.run()
    assert code == 11
    assert f"could not read {head.artifacts}/request.json" in output
    assert "Traceback" not in output
    assert buildkite.fields == []
