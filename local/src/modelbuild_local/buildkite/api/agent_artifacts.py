"""The artifacts of the Agent API, and the addresses for uploads and downloads."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from modelbuild_local.buildkite import artifacts
from modelbuild_local.buildkite.api.access import Access
from modelbuild_local.buildkite.api.web import iso, json_body, same
from modelbuild_local.buildkite.engine import Engine
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.identity import new_id, new_token
from modelbuild_local.buildkite.state import Artifact, Job

_SHOWN = ("image/avif", "image/gif", "image/jpeg", "image/png", "image/svg+xml", "image/webp", "text/html")
"""What a browser shows; it saves anything else."""

# A page or an SVG of a job can hold a script: it runs none, loads nothing and is no page of this server.
_POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"


class ArtifactApi:
    """The handlers; ``url`` is the server's own address."""

    def __init__(self, engine: Engine, url: str) -> None:
        self._engine = engine
        self._access = Access(engine)
        self._url = url

    def routes(self) -> list[Route]:
        """The routes, with their full paths."""
        return [
            Route("/v3/jobs/{job}/artifacts", self._create_artifacts, methods=["POST"]),
            Route("/v3/jobs/{job}/artifacts", self._update_artifacts, methods=["PUT"]),
            Route("/v3/builds/{build}/artifacts/search", self._search_artifacts, methods=["GET"]),
            # The agent sends no token with an artifact's bytes, so these addresses contain a secret.
            Route("/uploads/{upload}", self._receive, methods=["POST"]),
            Route("/artifacts/{artifact}/{secret}", self._download, methods=["GET"]),
        ]

    async def _create_artifacts(self, request: Request) -> Response:
        job = self._access.job(request)
        body = await json_body(request)
        upload = new_token()
        created = [self._artifact(job, upload, item) for item in body.get("artifacts") or []]
        job.build.artifacts += created
        action = {"url": self._url, "method": "POST", "path": f"/uploads/{upload}", "file_input": "file"}
        return JSONResponse(
            {
                "id": body.get("id") or new_id(),
                "artifact_ids": [artifact.id for artifact in created],
                "upload_instructions": {"data": {"path": "${artifact:path}"}, "action": action},
            },
            status_code=201,
        )

    def _artifact(self, job: Job, upload: str, item: dict[str, Any]) -> Artifact:
        return Artifact(
            job=job,
            path=str(item.get("path") or ""),
            absolute_path=str(item.get("absolute_path") or ""),
            glob_path=str(item.get("glob_path") or ""),
            file_size=int(item.get("file_size") or 0),
            sha1sum=str(item.get("sha1sum") or ""),
            sha256sum=str(item.get("sha256sum") or ""),
            content_type=str(item.get("content_type") or "application/octet-stream"),
            upload=upload,
            created_at=self._engine.clock.now(),
        )

    async def _receive(self, request: Request) -> Response:
        parts = artifacts.form_parts(request.headers.get("content-type", ""), await request.body())
        path = parts.get("path", b"").decode()
        for artifact in self._all_artifacts():
            if (
                same(artifact.upload, request.path_params["upload"])
                and artifact.path == path
                and "file" in parts
            ):
                artifacts.file_of(self._engine.artifact_files, artifact).write_bytes(parts["file"])
                return JSONResponse({})
        raise Refused(404, "No artifact waits for this upload")

    async def _update_artifacts(self, request: Request) -> Response:
        job = self._access.job(request)
        body = await json_body(request)
        states = {item.get("id"): str(item.get("state")) for item in body.get("artifacts") or []}
        for artifact in job.build.artifacts:
            artifact.state = states.get(artifact.id, artifact.state)
        return JSONResponse({})

    async def _search_artifacts(self, request: Request) -> Response:
        build = self._access.build(request, request.path_params["build"])
        query = request.query_params
        found = artifacts.search(
            build,
            query.get("query", "*"),
            scope=query.get("scope", ""),
            state=query.get("state", ""),
            retried=query.get("include_retried_jobs") == "true",
            duplicates=query.get("include_duplicates") == "true",
        )
        return JSONResponse([self._artifact_json(artifact) for artifact in found])

    def _artifact_json(self, artifact: Artifact) -> dict[str, object]:
        return {
            "id": artifact.id,
            "job_id": artifact.job.id,
            "path": artifact.path,
            "absolute_path": artifact.absolute_path,
            "glob_path": artifact.glob_path,
            "file_size": artifact.file_size,
            "sha1sum": artifact.sha1sum,
            "sha256sum": artifact.sha256sum,
            "content_type": artifact.content_type,
            "url": f"{self._url}/artifacts/{artifact.id}/{artifact.secret}",
            "created_at": iso(artifact.created_at),
            "state": artifact.state,
        }

    async def _download(self, request: Request) -> Response:
        for artifact in self._all_artifacts():
            path = artifacts.file_of(self._engine.artifact_files, artifact)
            if artifact.id == request.path_params["artifact"] and path.exists():
                if not same(artifact.secret, request.path_params["secret"]):
                    break
                kind = artifact.content_type.partition(";")[0].strip().lower()
                media = kind if kind in _SHOWN else "application/octet-stream"
                headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": _POLICY}
                return FileResponse(path, media_type=media, headers=headers)
        raise Refused(404, "No such artifact")

    def _all_artifacts(self) -> list[Artifact]:
        return [artifact for build in self._engine.builds.values() for artifact in build.artifacts]
