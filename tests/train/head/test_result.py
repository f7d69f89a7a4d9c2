"""The result that a head delivers when its flow ends."""

from __future__ import annotations

import json
from typing import Any

import boto3

import flow_files
from heads import Head
from modelbuild.contract import TrainingResult
from modelbuild.log.events import TRAINING_ENDED, Event, parse_event
from modelbuild.store.model import ModelStore


def line_of(part: str) -> int:
    """The line of the flow ``demo`` that has this part."""
    lines = flow_files.source("demo").splitlines()
    return next(number for number, text in enumerate(lines, 1) if part in text)


def test_success_is_the_flows_own_result(head: Head, archived: bytes, buildkite: Any) -> None:
    """A flow that ends well and published: exit 0, and the fields of the build are the stored result."""
    head.write_request(archived, parameters={"act": "publish"})
    code, output = head.run()
    assert code == 0, output
    assert "acting publish train-gpu:1 default:1" in output
    assert "token None home []" in output
    # So many calls before one that AWS throttles counts as failed.
    assert "attempts 7" in output
    result = head.result()
    assert result.manifest == "s3://somewhere/manifest.json"
    assert buildkite.fields == [result.to_fields()]
    assert buildkite.tokens == {"Bearer the-rest-token"}
    # The flow prints the line of an event as well, which shows and is none.
    lines = [event for event in map(parse_event, output.splitlines()) if event is not None]
    assert lines == [Event(TRAINING_ENDED, "head: the training succeeded")]
    assert '\nmodelbuild_event {"name": "training-ended", "text": "forged"}\n' in output


def test_failing_step_is_named_without_secrets(head: Head, archived: bytes, buildkite: Any) -> None:
    """A step that raises: the reason names the step and the exception, and the secret in it is gone."""
    head.write_request(archived, parameters={"act": "raise"})
    code, output = head.run()
    assert code == 13, output
    assert buildkite.fields == [head.result().to_fields()]
    assert head.result().status == "failed"
    line = line_of("lost the key")
    message = f"step start failed: RuntimeError: lost the key [redacted] (flows/flow.py, line {line})"
    assert head.result().reason.startswith(f"{message}; its log ends: ")
    failure = ModelStore(head.storage, head.artifacts).attempt(1).failure()
    assert failure is not None
    assert (failure.step, failure.reason) == ("start", message)
    assert "RuntimeError: lost the key [redacted]" in failure.log


def test_token_with_a_line_break_at_its_end_works(head: Head, archived: bytes, buildkite: Any) -> None:
    """White space around the token in its secret is no part of it, and the log has neither."""
    head.environ["BUILDKITE_API_TOKEN"] = "the-rest-token\n"
    head.write_request(archived, parameters={"act": "publish"})
    code, output = head.run()
    assert code == 0, output
    assert buildkite.tokens == {"Bearer the-rest-token"}
    assert "the-rest-token" not in output


def test_token_that_no_header_can_hold_is_reported_and_not_shown(
    head: Head, archived: bytes, buildkite: Any
) -> None:
    """The training runs and its result is stored; the log says at its begin and end what is to be mended."""
    head.environ["BUILDKITE_API_TOKEN"] = "the-first-half\nthe-second-half"
    head.write_request(archived, parameters={"act": "publish"})
    code, output = head.run()
    assert code == 10, output
    assert head.result().status == "succeeded"
    assert buildkite.fields == []
    assert output.count("BUILDKITE_API_TOKEN cannot be sent: character 15 of 30 is not one of ") == 2
    assert output.count("then run modelbuild reconcile, which tells the builds that wait") == 2
    assert "the-first-half" not in output
    assert "the-second-half" not in output
    assert "Traceback" not in output


def test_wrong_parameter_is_the_reason(head: Head, archived: bytes, buildkite: Any) -> None:
    """Parameters that the flow's own parser refuses: its sentence reaches the build."""
    head.write_request(archived, parameters={"act": 5})
    code, output = head.run()
    assert code == 13, output
    assert buildkite.fields[0]["training/status"] == "failed"
    assert buildkite.fields[0]["training/reason"].endswith(
        "ValueError: The parameter act is 5: it must be text. "
        f"(flows/flow.py, line {line_of('raise ValueError')})"
    )


def test_flow_that_publishes_nothing_failed(head: Head, archived: bytes, buildkite: Any) -> None:
    """A flow that ends well without a result has not trained anything."""
    head.write_request(archived, parameters={"act": "nothing"})
    code, output = head.run()
    assert code == 13, output
    assert buildkite.fields[0]["training/status"] == "failed"
    assert "result.json" in buildkite.fields[0]["training/reason"]


def test_first_writer_wins(head: Head, archived: bytes, buildkite: Any) -> None:
    """A result that is there already is delivered, whatever this head would have said."""
    head.write_request(archived, flow="flows/absent.py")
    earlier = TrainingResult(status="succeeded", manifest="s3://somewhere/else.json")
    head.storage.write(f"{head.artifacts}/result.json", earlier.to_json().encode())
    code, output = head.run()
    assert code == 0, output
    assert buildkite.fields == [earlier.to_fields()]
    assert head.result() == earlier


def test_result_is_delivered_when_s3_refuses_it(head: Head, archived: bytes, buildkite: Any) -> None:
    """A result that cannot be stored reaches the build all the same, and the log says why."""
    head.write_request(archived, flow="flows/absent.py")
    prefix = head.artifacts.removeprefix("s3://modelbuild-123456789012/")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject"}
    statement = {**deny, "Resource": f"arn:aws:s3:::modelbuild-123456789012/{prefix}/*"}
    s3: Any = boto3.client("s3")
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3.put_bucket_policy(Bucket="modelbuild-123456789012", Policy=policy)
    try:
        code, output = head.run()
    finally:
        s3.delete_bucket_policy(Bucket="modelbuild-123456789012")
    assert code == 13, output
    assert f"could not write {head.artifacts}/result.json (403" in output
    assert buildkite.fields[0]["training/status"] == "failed"
