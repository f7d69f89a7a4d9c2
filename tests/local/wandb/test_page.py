"""The pages and the charts."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import httpx
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import standins
from browser import CHROMIUM, started_browser
from modelbuild_local.service.session import with_key
from modelbuild_local.wandb.charts import HEIGHT, WIDTH, charts
from modelbuild_local.wandb.compare import compare
from modelbuild_local.wandb.page import tables
from modelbuild_local.wandb.state import Run, Store

KEY = ("api", "k" * 40)
HOSTILE = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}"

texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)


class Tags(HTMLParser):
    """The elements and attributes of a page, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.attributes: set[str] = set()
        self.scripts: list[dict[str, str | None]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        self.names.add(tag)
        if tag == "script":
            self.scripts.append(dict(attrs))
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        """Text between elements."""
        self.text += data


@pytest.fixture(scope="module")
def client(wandb_server: Any) -> Iterator[httpx.Client]:
    """A client of the server as people reach it: what an address says is read there, and nowhere else."""
    with httpx.Client(base_url=wandb_server.url, cookies=standins.PAGE_COOKIES) as client:
        yield client


names = (f"r{number}" for number in itertools.count())


@settings(max_examples=40, deadline=None)
@example(HOSTILE)
@example("%00")
@given(texts)
def test_names_are_only_ever_text(client: httpx.Client, text: str) -> None:
    """Whatever a run is called or holds, the pages show it as text, and have no script but the one that
    refreshes the page of a run.
    """
    project, name = text.replace("/", "-"), next(names)
    variables = {
        **{"project": project, "name": name, "displayName": text, "groupName": text, "jobType": text},
        **{"notes": text, "tags": [text], "config": json.dumps({text: {"value": {text: text}}})},
    }
    body = {"operationName": "UpsertBucket", "query": "", "variables": variables}
    assert client.post("/graphql", json=body, auth=KEY).json()["data"]["upsertBucket"]["inserted"]
    row = json.dumps({text: 1.5})
    files = {
        "wandb-history.jsonl": {"offset": 0, "content": [row, row]},
        "wandb-summary.json": {"offset": 0, "content": [json.dumps({text: text, f"a/{project}/c": 2})]},
        "output.log": {"offset": 0, "content": [text]},
    }
    path = f"local/{quote(project, safe='')}"
    if project in (".", ".."):
        return  # No client keeps such a part of an address.
    stream = client.post(f"/files/{path}/{name}/file_stream", json={"files": files}, auth=KEY)
    assert stream.status_code == 200
    filtered = f"/{path}?{urlencode({'group': text, 'job_type': text, 'sort': '-' + 'name'})}"
    for page in ("/", f"/{path}", filtered, f"/{path}/runs/{name}"):
        answer = client.get(page)
        assert answer.status_code == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        tags = Tags(answer.text)
        nonces = re.findall(r"script-src 'nonce-([\w-]+)'(?:;|$)", policy)
        assert tags.scripts == [{"nonce": nonce} for nonce in nonces]
        assert policy.count("script") == len(nonces) == (page.endswith(f"/runs/{name}"))
        assert not tags.names & {"img", "iframe", "object"}
        assert not {name for name in tags.attributes if name.startswith("on") or name == "style"}
        assert project in tags.text


def test_metrics_in_three_parts_are_tables() -> None:
    """``class/positive/f1`` is a cell of the table "class"; the rest, but for the SDK's own, is a list."""
    single, matrices = tables(
        {
            "f1": 0.5,
            "class/b/f1": 1,
            "class/a/f1": 2,
            "class/a/rows": 3,
            "a/b": 4,
            "_step": 5,
            "x/y/z": "text",
        }
    )
    assert single == {"f1": 0.5, "a/b": 4, "x/y/z": "text"}
    (matrix,) = matrices
    assert (matrix.title, matrix.columns) == ("class", ["f1", "rows"])
    assert matrix.rows == [("a", [2, 3]), ("b", [1, ""])]


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["loss", "f1", "_step", "_runtime"]),
            st.floats() | st.integers() | st.booleans() | st.text(),
        ),
        max_size=30,
    )
)
def test_a_chart_stays_within_its_picture(history: list[dict[str, Any]]) -> None:
    """Each metric with a number that can be drawn has a line, and every point of it is inside."""
    found = charts(history)
    assert {chart.name for chart in found} <= {"loss", "f1"}
    for chart in found:
        points = [tuple(map(float, point.split(","))) for point in chart.points.split()]
        assert points[-1] == chart.end
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)
        assert chart.low <= chart.last <= chart.high


def test_a_chart_of_a_long_history_is_short_and_keeps_its_end() -> None:
    """A thousand rows or a million, the picture has some hundred points, the last row among them."""
    (chart,) = charts([{"loss": 1 / (step + 1), "_step": step * 2} for step in range(5000)])
    assert len(chart.points.split()) <= 401
    assert (chart.first_step, chart.last_step, chart.last) == (0, 9998, 1 / 5000)
    assert chart.end[0] > WIDTH - 10


@pytest.fixture
def runs() -> list[Run]:
    """Three runs with curves and metrics, of which one is an experiment with another learning rate."""
    store = Store()
    found = [store.new_run("local", "p", name) for name in ("a", "b", "c")]
    made = (("training", 1, 3), ("training", 1, 1), ("experiment", 2, 2))
    for run, (kind, rate, score) in zip(found, made, strict=True):
        parameters = {"seed": 1, "training": {"rate": rate}, **({"extra": True} if rate == 2 else {})}
        run.config = {"parameters": {"value": parameters}, "primary_metric": {"value": "macro_f1"}}
        run.summary = {"loss": 0.1, "accuracy": score, "macro_f1": score, "class/a/f1": score, "_step": 9}
        run.history = [{"loss": 0.1}]
        run.job_type, run.group = kind, f"model-{run.id}"
    return found


def test_runs_are_compared_by_metrics_and_by_what_differs(runs: list[Run]) -> None:
    """The primary metric is the first column, curves' last values are the last, and a parameter has a
    column where runs differ in it.
    """
    found = compare(runs, {})
    titles = [column.title for column in found.columns]
    assert titles == ["macro_f1", "accuracy", "loss", "training.rate", "extra"]
    assert [(run.id, [*values][3:]) for run, values in found.rows] == [
        ("c", [2, True]),
        ("b", [1, None]),
        ("a", [1, None]),
    ]
    assert found.started.direction == "descending"


def test_runs_are_sorted_by_links(runs: list[Run]) -> None:
    """A column's link sorts by it, highest first; once the page is sorted so, the other way round."""
    link = "?"
    for direction, ids in (
        ("none", "cba"),
        ("descending", "acb"),
        ("ascending", "bca"),
        ("descending", "acb"),
    ):
        found = compare(runs, dict(parse_qsl(link[1:])))
        assert "".join(run.id for run, _ in found.rows) == ids
        assert found.columns[0].direction == direction
        link = found.columns[0].link


def test_runs_are_filtered_by_links(runs: list[Run]) -> None:
    """Filters add up and keep the order, and each has a link that takes it back."""
    first = compare(runs, {"sort": "-summary_metrics.macro_f1"})
    second = compare(runs, dict(parse_qsl(first.links["job_type", "training"][1:])))
    assert [run.id for run, _ in second.rows] == ["a", "b"]
    third = compare(runs, dict(parse_qsl(second.links["group", "model-b"][1:])))
    assert [run.id for run, _ in third.rows] == ["b"]
    ((_, _, back), _) = third.chosen
    assert dict(parse_qsl(back[1:])) == {"job_type": "training", "sort": "-summary_metrics.macro_f1"}


def test_an_unknown_column_is_no_page(client: httpx.Client) -> None:
    """A sort by what does not exist says so."""
    body = {"operationName": "UpsertBucket", "query": "", "variables": {"project": "sorted", "name": "r"}}
    client.post("/graphql", json=body, auth=KEY)
    answer = client.get("/local/sorted", params={"sort": "moon"})
    assert (answer.status_code, answer.json()["error"]) == (400, "Unknown column 'moon'")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH to lay pages out")
def test_long_names_wrap_on_a_narrow_screen(client: httpx.Client) -> None:
    """At 360 px, no card with a long name of a project, group, type, tag or setting is cut at its side."""
    long, name = "w" * 90, next(names)
    variables = {
        **{"project": long, "name": name, "displayName": long, "groupName": long, "jobType": long},
        **{"notes": long, "tags": [long], "config": json.dumps({long: {"value": long}})},
    }
    body = {"operationName": "UpsertBucket", "query": "", "variables": variables}
    assert client.post("/graphql", json=body, auth=KEY).is_success
    cut = "[...document.querySelectorAll('.card')].filter(one => one.scrollWidth > one.clientWidth).length"
    [key] = standins.PAGE_COOKIES.values()
    with started_browser() as browser:
        for path in ("/", f"/local/{long}", f"/local/{long}/runs/{name}"):
            browser.show(with_key(f"{client.base_url}{path}", key), width=360, theme="light")
            assert browser.evaluate("document.querySelectorAll('.card').length") > 0
            assert browser.evaluate(cut) == 0, path
            assert browser.evaluate("document.documentElement.scrollWidth") == 360, path
