"""The pages: the projects, a project's runs, a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from modelbuild_local.service import pages
from modelbuild_local.service.session import PageSession
from modelbuild_local.wandb.charts import HEIGHT, WIDTH, charts, is_number
from modelbuild_local.wandb.compare import compare
from modelbuild_local.wandb.errors import Refused
from modelbuild_local.wandb.files import Files
from modelbuild_local.wandb.media import media
from modelbuild_local.wandb.state import Run, Store, now

_POLICY = "form-action 'none'"
_POLICY_OF_RUN = f"{_POLICY}; script-src 'nonce-{{nonce}}'; connect-src 'self'"
LOG_LINES = 500
"""How many of the last lines of a run's console output the page shows."""


@dataclass(frozen=True)
class Matrix:
    """Metrics such as ``class/positive/f1`` and ``class/negative/f1``: a row and a column of a table each."""

    title: str
    columns: list[str]
    rows: list[tuple[str, list[Any]]]


class Page:
    """The handlers, which only read; ``session`` admits browsers with the key."""

    def __init__(self, store: Store, files: Files, session: PageSession) -> None:
        self._session = session
        self._store = store
        self._files = files
        self._templates = pages.templates("modelbuild_local.wandb")
        self._templates.filters |= {
            "shown": shown,
            "part": lambda text: quote(str(text), safe=""),
            "state": lambda run: run.state(now()),
            "duration": duration,
        }
        self._templates.tests["numeric"] = is_number

    def routes(self) -> list[Route]:
        """The routes; a run's is the address that the SDK gives for it."""
        admitted = self._session.required
        return [
            Route("/", admitted(self._projects), methods=["GET"]),
            Route("/{entity}/{project}", admitted(self._project), methods=["GET"]),
            Route("/{entity}/{project}/runs/{run}", admitted(self._run), methods=["GET"]),
        ]

    async def _projects(self, _: Request) -> Response:
        return self._html("index.html", projects=self._store.projects())

    async def _project(self, request: Request) -> Response:
        entity, project = request.path_params["entity"], request.path_params["project"]
        runs = self._store.projects().get((entity, project))
        if runs is None:
            raise Refused(404, f"No project '{entity}/{project}'")
        return self._html(
            "project.html",
            entity=entity,
            project=project,
            total=len(runs),
            comparison=compare(runs, request.query_params),
        )

    async def _run(self, request: Request) -> Response:
        path = request.path_params
        run = self._store.runs.get((path["entity"], path["project"], path["run"]))
        if run is None:
            raise Refused(404, f"No run '{path['run']}'")
        single, matrices = tables(run.summary)
        return self._html(
            "run.html",
            _POLICY_OF_RUN,
            run=run,
            summary=single,
            matrices=matrices,
            config=flat(run.settings),
            charts=charts(run.history),
            media=media(run, self._files),
            width=WIDTH,
            height=HEIGHT,
            files=[
                (name, self._files.url(id), self._files.size(id))
                for name, id in sorted(run.files.items())
                if self._files.exists(id)
            ],
            artifacts=[
                *((artifact, "logged") for artifact in run.logged),
                *((artifact, "used") for artifact in run.used),
            ],
            log=run.log[-LOG_LINES:],
        )

    def _html(self, template: str, policy: str = _POLICY, **values: object) -> Response:
        return pages.answer(self._templates, template, policy, values)


def shown(value: object) -> str:
    """A value as text: numbers with six digits, tables and pictures by their file, maps as JSON."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S UTC")
    if isinstance(value, dict) and "_type" in value:
        return f"{value['_type']} {value.get('path', '')}".strip()
    return json.dumps(value, ensure_ascii=False)


def duration(run: Run) -> str:
    """The duration of a run, so far or in all, as ``1 m 05 s``."""
    seconds = run.seconds(now())
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} m {seconds % 60:02d} s"


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested maps, with dots between the names; the SDK's tables and pictures are not flattened."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value and "_type" not in value:
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def tables(summary: Mapping[str, Any]) -> tuple[dict[str, Any], list[Matrix]]:
    """A summary as one table of single values, and a table for each family of names with three parts.

    Tables that the run logged are left out: they are media.
    """
    single: dict[str, Any] = {}
    families: dict[str, dict[str, dict[str, Any]]] = {}
    for name, value in summary.items():
        parts = name.split("/")
        if name.startswith("_") or (isinstance(value, dict) and value.get("_type") == "table-file"):
            continue
        if len(parts) == 3 and is_number(value):
            families.setdefault(parts[0], {}).setdefault(parts[1], {})[parts[2]] = value
        else:
            single[name] = value
    return flat(dict(sorted(single.items()))), [_matrix(*family) for family in sorted(families.items())]


def _matrix(title: str, members: Mapping[str, Mapping[str, Any]]) -> Matrix:
    # Sorted, because the SDK sends a summary in no order.
    columns = sorted({column for values in members.values() for column in values})
    rows = [
        (name, [values.get(column, "") for column in columns]) for name, values in sorted(members.items())
    ]
    return Matrix(title, columns, rows)
