"""The server: the engine with its three interfaces, and the clock that calls the engine each second."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware

from modelbuild_local.buildkite import agents
from modelbuild_local.buildkite.api.agent import AgentApi
from modelbuild_local.buildkite.api.agent_artifacts import ArtifactApi
from modelbuild_local.buildkite.api.rest import RateLimit, Rest
from modelbuild_local.buildkite.api.views import Views
from modelbuild_local.buildkite.api.web import on_not_found, on_refused
from modelbuild_local.buildkite.engine import Engine
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.faults import Outages
from modelbuild_local.buildkite.pages.page import Page
from modelbuild_local.service.guard import MIB, Guard, GuardMiddleware
from modelbuild_local.service.session import PageSession


def create_app(
    engine: Engine,
    url: str,
    *,
    agent_token: str,
    api_token: str,
    bot_token: str,
    page_key: str,
    web_identity_key: str,
    rate_limit: int = 0,
) -> Starlette:
    """The application.

    Args:
        engine: the state.
        url: the address under which agents and people reach the server, without a slash at the end.
        agent_token: the token with which agents register.
        api_token: the token of the user's REST clients.
        bot_token: the token of trainings, whose user belongs to no team.
        page_key: the key that opens the pages in a browser.
        web_identity_key: the key that signs OIDC tokens.
        rate_limit: REST requests per minute; 0 for no limit.
    """
    views = Views(engine, url)
    users = {api_token: engine.user, bot_token: engine.bot}

    @asynccontextmanager
    async def ticking(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(_tick(engine))
        yield
        task.cancel()

    return Starlette(
        routes=[
            *AgentApi(engine, agent_token, url, web_identity_key).routes(),
            *ArtifactApi(engine, url).routes(),
            *Page(engine, views, PageSession(page_key)).routes(),
            *Rest(engine, views, users, RateLimit(rate_limit)).routes(),
        ],
        exception_handlers={Refused: on_refused, 404: on_not_found, 405: on_not_found},
        lifespan=ticking,
        middleware=[Middleware(GuardMiddleware, Guard(url, _largest)), Middleware(Outages, api_token)],
    )


def _largest(_method: str, path: str) -> int:
    """The largest body in bytes: agents upload artifacts whole."""
    return 1024 * MIB if path.startswith("/uploads/") else 16 * MIB


async def _tick(engine: Engine) -> None:
    while True:
        agents.tick(engine)
        await asyncio.sleep(1)
