"""Pagination of the REST API's lists, and the filters of builds.

Source: https://buildkite.com/docs/apis/rest-api, "Pagination", and the page "Builds API".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from typing import TypeVar

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.pipeline.attributes.branches import matches_wildcard
from modelbuild_local.buildkite.state import Build, Job

PER_PAGE = 30
MAX_PER_PAGE = 100
FINISHED = ("passed", "failed", "blocked", "canceled")
"""The states of the filter ``state=finished``."""

_META_DATA = re.compile(r"meta_data\[(.+)\]")
_Item = TypeVar("_Item")


def answer_page(request: Request, items: Sequence[_Item], view: Callable[[_Item], object]) -> Response:
    """The page of ``items`` that the query asks for, with the header ``Link`` to the others."""
    per_page = min(_number(request.query_params, "per_page", PER_PAGE), MAX_PER_PAGE)
    page = _number(request.query_params, "page", 1)
    last = max(1, -(-len(items) // per_page))
    others: dict[str, int] = {}
    if page > 1:
        others = {"first": 1, "prev": min(page - 1, last)}
    if page < last:
        others |= {"next": page + 1, "last": last}
    links = [
        f'<{request.url.include_query_params(page=number, per_page=per_page)}>; rel="{name}"'
        for name, number in others.items()
    ]
    shown = [view(item) for item in items[(page - 1) * per_page : page * per_page]]
    return JSONResponse(shown, headers={"Link": ", ".join(links)} if links else None)


def cursor_page(request: Request, jobs: Sequence[Job]) -> tuple[Sequence[Job], dict[str, str]]:
    """The jobs after or before the one whose id is the query's cursor, and the links to other pages.

    Raises:
        Refused: (400) the query has both cursors, a cursor is no job's id, or ``per_page`` is no number.
    """
    query = request.query_params
    per_page = min(_number(query, "per_page", PER_PAGE), MAX_PER_PAGE)
    after, before = query.get("after"), query.get("before")
    ids = [job.id for job in jobs]
    if after is not None and before is not None:
        raise Refused(400, "'after' and 'before' exclude each other")
    for cursor in (after, before):
        if cursor is not None and cursor not in ids:
            raise Refused(400, "the cursor is not the id of a job of this list")
    start = ids.index(after) + 1 if after is not None else 0
    if before is not None:
        start = max(0, ids.index(before) - per_page)
    end = min(start + per_page, ids.index(before)) if before is not None else start + per_page
    url = request.url.remove_query_params(["after", "before"]).include_query_params(per_page=per_page)
    links = {"self": str(request.url)}
    if 0 < start < len(ids):
        links["prev"] = str(url.include_query_params(before=ids[start]))
    if end < len(ids):
        links["next"] = str(url.include_query_params(after=ids[end - 1]))
    return jobs[start:end], links


def _number(query: QueryParams, name: str, default: int) -> int:
    """A positive number of the query. Refused (400): it is not positive."""
    text = query.get(name, str(default))
    if re.fullmatch(r"0*[1-9]\d{0,8}", text, re.ASCII) is None:
        raise Refused(400, f"'{name}' must be a positive number")
    return int(text)


def select_builds(builds: Iterable[Build], query: QueryParams) -> list[Build]:
    """The builds that match the filters of a query, the newest first.

    Filters of one name are alternatives, filters of different names must all fit.

    Raises:
        Refused: (422) a time is not ISO 8601.
    """
    states, branches, commits = (_values(query, name) for name in ("state", "branch", "commit"))
    if "finished" in states:
        states = {*states, *FINISHED}
    creators = _values(query, "creator")
    created_from, created_to = _time(query, "created_from"), _time(query, "created_to")
    finished_from = _time(query, "finished_from")
    meta_data = {
        match[1]: value
        for name, value in query.multi_items()
        if (match := _META_DATA.fullmatch(name)) is not None
    }

    def fits(build: Build) -> bool:
        return (
            (not states or not states.isdisjoint(_states(build)))
            and (not branches or any(matches_wildcard(branch, build.branch) for branch in branches))
            and (not commits or build.commit in commits)
            and (not creators or build.creator.id in creators)
            and (created_from is None or build.created_at >= created_from)
            and (created_to is None or build.created_at < created_to)
            and (finished_from is None or (build.finished_at or _LONG_AGO) >= finished_from)
            and all(build.meta_data.get(key) == value for key, value in meta_data.items())
        )

    return [build for build in reversed(list(builds)) if fits(build)]


_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)


def _states(build: Build) -> set[str]:
    """The state of the build, and ``blocked`` if it waits for a step to be unblocked."""
    return {build.state, "blocked"} if build.blocked else {build.state}


def _values(query: QueryParams, name: str) -> set[str]:
    return {*query.getlist(name), *query.getlist(f"{name}[]")}


def _time(query: QueryParams, name: str) -> datetime | None:
    text = query.get(name)
    if text is None:
        return None
    try:
        # Python 3.10 parses neither Z nor a fraction without exactly three or six digits.
        match = re.fullmatch(r"(.*?)(?:\.(\d+))?(Z|[+-]\d\d:?\d\d)?", text.strip())
        assert match is not None
        zone = re.sub(r"^Z$", "+00:00", match[3] or "")
        if len(zone) == len("+0000"):
            zone = f"{zone[:3]}:{zone[3:]}"
        time = datetime.fromisoformat(f"{match[1]}{zone}")
        time = time.replace(microsecond=int((match[2] or "0")[:6].ljust(6, "0")))
    except ValueError:
        raise Refused(422, f"'{name}' is not a time as ISO 8601 writes it: '{text}'") from None
    return time if time.tzinfo is not None else time.replace(tzinfo=timezone.utc)


def flag(request: Request, name: str, default: str = "false") -> bool:
    """Whether the query's value is true."""
    return request.query_params.get(name, default) == "true"
