"""The REST API, under ``/v2``."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from modelbuild_local.buildkite.api.listing import answer_page
from modelbuild_local.buildkite.api.resources import Resources
from modelbuild_local.buildkite.api.rest_builds import BuildApi
from modelbuild_local.buildkite.api.rest_jobs import JobApi, caller
from modelbuild_local.buildkite.api.views import Views
from modelbuild_local.buildkite.api.web import Endpoint, Handler, same, token_of
from modelbuild_local.buildkite.engine import Engine
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.identity import User

# The scopes of each token: everything that is served here.
SCOPES = [
    *("read_agents", "read_artifacts", "read_builds", "write_builds", "read_organizations"),
    *("read_pipelines", "write_pipelines", "read_user"),
]
UNLIMITED = 1_000_000
WINDOW_SECONDS = 60.0


class RateLimit:
    """The limit of requests per minute; 0 means no limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit or UNLIMITED
        self._used = 0
        self._reset = 0.0

    def take(self, now: float) -> tuple[bool, dict[str, str]]:
        """Count a request at second ``now``; returns whether it is within the limit, and the headers about
        it.
        """
        if now >= self._reset:
            self._used, self._reset = 0, now + WINDOW_SECONDS
        self._used += 1
        headers: dict[str, str] = {}
        for prefix in ("RateLimit", "RateLimit-User"):
            headers[f"{prefix}-Limit"] = str(self.limit)
            headers[f"{prefix}-Remaining"] = str(max(0, self.limit - self._used))
            headers[f"{prefix}-Reset"] = str(max(1, round(self._reset - now)))
        return self._used <= self.limit, headers


class Rest:
    """The handlers of tokens, organizations and agents, and all routes that need a token."""

    def __init__(self, engine: Engine, views: Views, users: Mapping[str, User], limit: RateLimit) -> None:
        """Handlers; ``users`` has each user by their token."""
        self._engine = engine
        self._views = views
        self._find = Resources(engine)
        self._users = users
        self._limit = limit

    def routes(self) -> list[Route]:
        """The routes, with their full paths."""
        organization = "/v2/organizations/{org}"
        table: list[Endpoint] = [
            ("GET", "/v2/user", self._user),
            ("GET", "/v2/access-token", self._access_token),
            ("GET", "/v2/organizations", self._organizations),
            ("GET", organization, self._organization),
            ("GET", f"{organization}/agents", self._agents),
            ("GET", f"{organization}/agents/{{agent}}", self._agent),
            *BuildApi(self._engine, self._views).endpoints(),
            *JobApi(self._engine, self._views).endpoints(),
        ]
        return [Route(path, self._guarded(handler), methods=[method]) for method, path, handler in table]

    def _guarded(self, handler: Handler) -> Handler:
        """Wrap a handler: check the token, the organization's name and the rate limit."""

        async def guarded(request: Request) -> Response:
            token = token_of(request, "Bearer")
            request.state.caller = next((self._users[one] for one in self._users if same(token, one)), None)
            if request.state.caller is None:
                raise Refused(401, "Authentication required. Please supply a valid API Access Token")
            if request.path_params.get("org", self._engine.organization) != self._engine.organization:
                raise Refused(404, "No organization found")
            allowed, headers = self._limit.take(self._engine.clock.seconds())
            if not allowed:
                message = "You have exceeded your API rate limit. Please wait before making more requests."
                limit, reset = self._limit.limit, int(headers["RateLimit-User-Reset"])
                body = {
                    "message": message,
                    "scope": "user",
                    "limit": limit,
                    "current": limit + 1,
                    "reset": reset,
                }
                return JSONResponse(body, status_code=429, headers=headers)
            try:
                response = await handler(request)
            except Refused as error:
                response = JSONResponse({"message": error.message}, status_code=error.status)
            response.headers.update(headers)
            return response

        return guarded

    async def _user(self, request: Request) -> Response:
        user = caller(request)
        return JSONResponse({"id": user.id, "name": user.name, "email": user.email})

    async def _access_token(self, request: Request) -> Response:
        user = caller(request)
        about = {"name": user.name, "email": user.email}
        return JSONResponse({"uuid": user.id, "scopes": SCOPES, "description": "The laptop's", "user": about})

    async def _organizations(self, request: Request) -> Response:
        return answer_page(request, [self._views.organization()], lambda organization: organization)

    async def _organization(self, _: Request) -> Response:
        return JSONResponse(self._views.organization())

    async def _agents(self, request: Request) -> Response:
        query = request.query_params
        present = [
            agent
            for agent in self._engine.agents.values()
            if agent.connection_state in ("connected", "stopping")
            and all(
                query.get(name, value) == value
                for name, value in (
                    ("name", agent.name),
                    ("hostname", agent.hostname),
                    ("version", agent.version),
                )
            )
        ]
        return answer_page(request, present, self._views.agent)

    async def _agent(self, request: Request) -> Response:
        return JSONResponse(self._views.agent(self._find.agent(request)))
