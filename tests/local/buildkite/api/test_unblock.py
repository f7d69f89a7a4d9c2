"""Block steps that the REST API unblocks."""

from __future__ import annotations

from typing import Any

import pytest

from agent_client import FakeAgent, start_build


def block_of(server: Any, build: str) -> dict[str, Any]:
    """The one manual job of a build."""
    [job] = [job for job in server.rest.get(build).json()["jobs"] if job["type"] == "manual"]
    return dict(job)


def test_unblocking_hands_over_the_fields(server: Any, agent: FakeAgent, name: str) -> None:
    """Fields become meta-data, absent ones by their defaults; later jobs learn who unblocked."""
    fields = [
        {"text": "Path", "key": "model/path"},
        {"text": "Reason", "key": "reason", "required": False},
        {"select": "Size", "key": "size", "default": "s", "options": [{"label": "S", "value": "s"}]},
    ]
    block = {"block": "go?", "key": "go", "fields": fields, "blocked_state": "running"}
    build = start_build(server, name, block, {"command": "x"})
    shown = server.rest.get(build).json()
    assert (shown["state"], shown["blocked"]) == ("running", True)
    [job] = server.rest.get(f"{build}/jobs", params={"step_key": "go", "state[]": "blocked"}).json()["items"]
    assert (job["unblockable"], job["label"]) == (True, "go?")
    answer = server.rest.put(f"/jobs/{job['id']}/unblock", json={"fields": {"model/path": "s3://b/m"}})
    assert (answer.status_code, answer.json()["state"]) == (200, "unblocked")
    assert answer.json()["unblocked_by"]["name"] == "Ada"
    meta_data = server.rest.get(build).json()["meta_data"]
    assert meta_data == {"model/path": "s3://b/m", "reason": "", "size": "s"}
    env = agent.take()["env"]
    assert (env["BUILDKITE_UNBLOCKER"], env["BUILDKITE_UNBLOCKER_EMAIL"]) == ("Ada", "ada@example.org")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "The field 'path' is required"),
        ({"fields": {"path": ""}}, "The field 'path' is required"),
        ({"fields": {"path": "x", "other": "y"}}, "no field with the key 'other'"),
        ({"fields": {"path": "x", "size": "huge"}}, "'huge' is not an option"),
        ({"fields": {"path": "x", "digits": "a1"}}, "must match"),
        ({"fields": ["path"]}, "must be a map"),
        ({"fields": {"path": "x"}, "unblocker": "nobody"}, "not a valid user id"),
        ({"fields": {"path": {"x": 1}}}, "must be a text"),
        ({"fields": {"path": "x" * 100_001}}, "over 100000 bytes"),
    ],
)
def test_wrong_fields_are_refused(server: Any, name: str, body: dict[str, Any], message: str) -> None:
    """An unblock with missing, unknown or wrong fields is answered with 422, and the block stays closed."""
    fields = [
        {"text": "Path", "key": "path"},
        {"text": "Digits", "key": "digits", "format": "[0-9]+", "required": False},
        {"select": "Size", "key": "size", "required": False, "options": [{"label": "S", "value": "s"}]},
    ]
    build = start_build(server, name, {"block": "go?", "fields": fields})
    job = block_of(server, build)
    answer = server.rest.put(f"{build}/jobs/{job['id']}/unblock", json=body)
    assert answer.status_code == 422
    assert message in answer.json()["message"]
    assert block_of(server, build)["state"] == "blocked"


def test_values_of_fields_are_text_with_unix_line_endings(server: Any, name: str) -> None:
    """Line endings of a field become those of Unix; a number or boolean has the form that JSON gives it."""
    fields = [{"text": key, "key": key} for key in ("notes", "count", "really")]
    build = start_build(server, name, {"block": "go?", "fields": fields})
    body = {"fields": {"notes": "one\r\ntwo\rthree", "count": 3, "really": True}}
    assert server.rest.put(f"{build}/jobs/{block_of(server, build)['id']}/unblock", json=body).is_success
    expected = {"notes": "one\ntwo\nthree", "count": "3", "really": "true"}
    assert server.rest.get(build).json()["meta_data"] == expected


def test_only_what_is_blocked_can_be_unblocked(server: Any, agent: FakeAgent, name: str) -> None:
    """Command jobs answer 400; a block that is not open yet, no longer, or of a canceled build 422."""
    build = start_build(server, name, {"command": "x"}, {"block": "go?"})
    block = block_of(server, build)["id"]
    agent.take()
    answers = [server.rest.put(f"{build}/jobs/{agent.job['id']}/unblock")]
    answers.append(server.rest.put(f"{build}/jobs/{block}/unblock"))
    agent.finish()
    assert server.rest.put(f"{build}/jobs/{block}/unblock").status_code == 200
    answers.append(server.rest.put(f"{build}/jobs/{block}/unblock"))
    closed = "The job's state must be blocked"
    assert [(answer.status_code, answer.json()["message"]) for answer in answers] == [
        (400, "This job type cannot be unblocked"),
        (422, closed),
        (422, closed),
    ]


def test_a_canceled_build_stays_closed(server: Any, name: str) -> None:
    """After a cancel the block cannot be unblocked."""
    build = start_build(server, name, {"block": "go?"})
    assert server.rest.put(f"{build}/cancel").json()["state"] == "canceled"
    assert server.rest.put(f"{build}/jobs/{block_of(server, build)['id']}/unblock").status_code == 422
