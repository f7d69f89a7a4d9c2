"""An agent as the server sees one, and builds for it."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import httpx

names = (f"http-{number}" for number in itertools.count())


class FakeAgent:
    """An agent as the server sees one: a client with an access token."""

    def __init__(self, server: Any, queue: str) -> None:
        self._api: httpx.Client = server.agent_api
        body = {"name": "agent", "hostname": "host", "version": "3.138.3", "meta_data": [f"queue={queue}"]}
        self.registered = self._api.post(
            "/register", json=body, headers={"Authorization": "Token agent-token"}
        ).json()
        self.token = self.registered["access_token"]
        self.job: dict[str, Any] = {}

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """A request with the agent's token; ``{job}`` in the path stands for its job."""
        headers = {"Authorization": f"Token {self.token}", **more.pop("headers", {})}
        return self._api.request(method, path.format(job=self.job.get("id")), headers=headers, **more)

    def take(self) -> dict[str, Any]:
        """Take and start the next job; what it is given to run with."""
        self.job = self.call("GET", "/ping").json()["job"]
        accepted: dict[str, Any] = self.call("PUT", "/jobs/{job}/accept").json()
        assert self.call("PUT", "/jobs/{job}/start", json={}).status_code == 200
        return accepted

    def upload(self, path: str, content: bytes, content_type: str = "application/octet-stream") -> None:
        """Upload an artifact of the job."""
        item = {
            "path": path,
            "file_size": len(content),
            "sha1sum": hashlib.sha1(content).hexdigest(),
            "content_type": content_type,
        }
        body = {"id": "batch", "artifacts": [item]}
        answer = self.call("POST", "/jobs/{job}/artifacts", json=body).json()
        action, [artifact] = answer["upload_instructions"]["action"], answer["artifact_ids"]
        stored = httpx.post(
            action["url"] + action["path"], data={"path": path}, files={action["file_input"]: content}
        )
        assert stored.status_code == 200
        done = {"artifacts": [{"id": artifact, "state": "finished"}]}
        assert self.call("PUT", "/jobs/{job}/artifacts", json=done).is_success

    def finish(self, exit_status: int = 0) -> None:
        """End the job."""
        assert (
            self.call("PUT", "/jobs/{job}/finish", json={"exit_status": str(exit_status)}).status_code == 200
        )


def start_build(server: Any, name: str, *steps: dict[str, Any], **more: Any) -> str:
    """A build of these steps, command steps on the queue ``name``; its path."""
    placed = [{**step, "agents": {"queue": name}} if "command" in step else step for step in steps]
    builds = server.create_pipeline(name, placed)
    answer = server.rest.post(builds, json={"commit": "HEAD", "branch": "main", **more})
    assert answer.status_code == 201, answer.text
    return f"{builds}/{answer.json()['number']}"
