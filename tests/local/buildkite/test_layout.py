"""The build page in each state of a build: what it says, and that it fits a narrow screen."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from modelbuild_local.buildkite import agents
from modelbuild_local.buildkite.app import create_app
from modelbuild_local.buildkite.engine import Engine
from modelbuild_local.buildkite.pipeline.definition import CommandStep
from modelbuild_local.buildkite.state import Build
from modelbuild_local.service.session import cookie_name
from scenes import SCENES
from waiting import SECONDS

URL = "http://127.0.0.1:1"
WIDTH = 360


def ask(engine: Engine, method: str, path: str, **data: str) -> httpx.Response:
    """A request of a browser that was opened with the key, on a page of the server itself."""
    app = create_app(
        engine, URL, agent_token="a", api_token="b", bot_token="d", page_key="key", web_identity_key="c"
    )

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url=URL, cookies={cookie_name("key"): "key"}
        ) as client:
            return await client.request(method, path, data=data, headers={"Origin": URL})

    return asyncio.run(send())


def path_of(build: Build) -> str:
    """The path of a build's page."""
    return f"/local/{build.pipeline.slug}/builds/{build.number}"


def job_of(page: str, build: Build, key: str) -> str:
    """The part of the page about the newest job of a step."""
    job = next(step.job for step in build.steps if step.key == key)
    found = re.search(
        rf'<details class="card job tone [\w-]+" id="{job.id}".*?(?=<details class="card|<section)',
        page,
        re.S,
    )
    assert found is not None
    return found[0]


def badge(part: str) -> str:
    """The state that a part of the page shows first."""
    found = re.search(r'<span class="badge">([^<]*)</span>', part)
    assert found is not None
    return found[1]


@pytest.fixture
def shown(make_bench: Callable[[], Any]) -> Callable[[str], tuple[Any, Build, str]]:
    """Makes a scene: its bench, its build and its page."""

    def show(scene: str) -> tuple[Any, Build, str]:
        bench = make_bench()
        build = SCENES[scene](bench)
        answer = ask(bench.engine, "GET", path_of(build))
        assert answer.status_code == 200
        return bench, build, answer.text

    return show


@pytest.mark.parametrize(
    ("scene", "build_state", "training", "approve"),
    [
        ("training", "running", "in training", "waiting"),
        ("blocked", "blocked", "succeeded", "blocked"),
        ("failed", "failed", "failed", "broken"),
        ("canceled", "canceled", "canceled", "canceled"),
        ("passed", "passed", "succeeded", "unblocked"),
    ],
)
def test_each_state_has_its_label(
    shown: Callable[[str], Any], scene: str, build_state: str, training: str, approve: str
) -> None:
    """A build whose training runs is running, and only a block that waits for a person is blocked."""
    _, build, page = shown(scene)
    assert badge(page) == build_state
    assert badge(job_of(page, build, "training_finished")) == training
    assert badge(job_of(page, build, "approve")) == approve


def test_what_a_training_reports_is_its_own(shown: Callable[[str], Any]) -> None:
    """A block that a failed training unblocked is red, names the training, and gives its reason."""
    bench, build, page = shown("failed")
    part = job_of(page, build, "training_finished")
    assert 'class="card job tone failed"' in part
    assert f"by {bench.engine.bot.name}" in part
    assert bench.engine.user.name not in part
    assert "ValueError: unknown label" in part


def test_unblocking_for_a_training_needs_a_second_thought(shown: Callable[[str], Any]) -> None:
    """The form for a block that a training unblocks is folded away, and refused without its box."""
    bench, build, page = shown("training")
    part = job_of(page, build, "training_finished")
    assert "The training unblocks this step" in part
    assert '<a href="http://127.0.0.1:1/job">Its job and log</a>' in part
    folded = re.search(r"<details id[^>]*>(.*)</details>", part, re.S)
    assert folded is not None
    assert "open" not in folded[0].split(">")[0]
    assert "<form" in folded[1]
    assert part.count("<form") == 1
    [block] = [job for job in build.jobs if job.state == "blocked"]
    path = f"{path_of(build)}/jobs/{block.id}/unblock"
    refused = ask(bench.engine, "POST", path, **{"training/status": "succeeded"})
    assert (refused.status_code, block.state) == (422, "blocked")
    done = ask(bench.engine, "POST", path, **{"training/status": "failed", ":by-hand": "on"})
    assert (done.status_code, block.state) == (303, "unblocked")


@pytest.mark.parametrize(
    ("scene", "key", "action", "form", "status", "sentence"),
    [
        ("blocked", "approve", "unblock", {"why": ""}, 422, "The field &#39;why&#39; is required"),
        ("passed", "approve", "unblock", {"why": "again"}, 422, "The job&#39;s state must be blocked"),
        ("training", "training_finished", "unblock", {}, 422, "tick the box to unblock it by hand"),
        ("passed", "train", "retry", {}, 400, "Only failed, timed out or canceled jobs can be retried"),
        ("passed", "", "cancel", {}, 422, "already finished"),
    ],
)
def test_a_click_that_is_refused_shows_the_page_with_the_reason(
    shown: Callable[[str], Any],
    scene: str,
    key: str,
    action: str,
    form: dict[str, str],
    status: int,
    sentence: str,
) -> None:
    """Who clicks a second time, or too late, sees the page of the build, which says why nothing happened."""
    bench, build, _ = shown(scene)
    jobs = [step.job for step in build.steps if step.key == key]
    of_job = f"/jobs/{jobs[0].id}" if jobs else ""
    answer = ask(bench.engine, "POST", f"{path_of(build)}{of_job}/{action}", **form)
    assert answer.status_code == status
    assert re.search(rf'role="alert">[^<]*{re.escape(sentence)}[^<]*\.<', answer.text) is not None
    assert 'id="head"' in answer.text


def test_a_log_address_that_is_no_web_page_is_no_link(make_bench: Callable[[], Any]) -> None:
    """Meta-data comes from any job: only the address of a web page becomes a link."""
    bench = make_bench()
    build = SCENES["training"](bench)
    build.meta_data["train/job/url"] = "javascript:alert(1)"
    page = ask(bench.engine, "GET", path_of(build)).text
    assert "javascript:" not in page
    assert "Its job and log" not in page


def test_a_build_that_no_agent_takes_says_so(shown: Callable[[str], Any]) -> None:
    """Without an agent the page names the command that brings some; with agents, the tags that none has."""
    bench, build, page = shown("unattended")
    assert "No agent is connected." in page
    assert "modelbuild local run" in page
    bench.agent()
    assert "No agent is connected." not in ask(bench.engine, "GET", path_of(build)).text
    special = bench.build([{"label": "big", "command": "x", "agents": {"queue": "gpu"}}])
    assert (
        "“big” waits for an agent with the tags queue=gpu." in ask(bench.engine, "GET", path_of(special)).text
    )
    bench.agent("queue=gpu")
    assert "waits for an agent" not in ask(bench.engine, "GET", path_of(special)).text


def test_a_build_that_is_over_asks_for_no_agent(shown: Callable[[str], Any]) -> None:
    """The hint comes back with a retry, which needs an agent."""
    bench, build, page = shown("failed")
    for agent in bench.agents:
        agents.disconnect(bench.engine, agent)
    assert 'class="card hint"' not in ask(bench.engine, "GET", path_of(build)).text
    failed = next(step.job for step in build.steps if step.key == "notify")
    assert f"{failed.id}/retry" in page
    assert ask(bench.engine, "POST", f"{path_of(build)}/jobs/{failed.id}/retry").status_code == 303
    assert "No agent is connected." in ask(bench.engine, "GET", path_of(build)).text


def test_rebuild_makes_the_same_build_again(bench: Any) -> None:
    """Rebuild leads to a new build of the same commit and variables, which names the one it repeats."""
    build = SCENES["passed"](bench)
    build.env["LEARNING_RATE"] = "0.1"
    answer = ask(bench.engine, "POST", f"{path_of(build)}/rebuild")
    new = build.pipeline.builds[-1]
    assert (answer.status_code, answer.headers["location"]) == (303, path_of(new))
    assert (new.number, new.commit, new.env, new.source) == (2, build.commit, {"LEARNING_RATE": "0.1"}, "ui")
    assert f'rebuild of <a href="{path_of(build)}">#1</a>' in ask(bench.engine, "GET", path_of(new)).text


def test_a_new_build_has_what_the_form_gave(bench: Any) -> None:
    """The form begins with the branch and variables of the build it was opened from, and makes a build."""
    build = bench.build([{"command": "x"}])
    build.env.update({"A": "1=2", "LINES": "1\n2"})
    pipeline = f"/local/{build.pipeline.slug}"
    form = ask(bench.engine, "GET", f"{pipeline}/new?like=1").text
    assert ">A=1=2</textarea>" in form
    assert 'name="branch" value="main"' in form
    fields = {"branch": " next ", "commit": "HEAD", "message": "Try <b>", "env": "A=1=2\r\n\r\nB=\r\n"}
    answer = ask(bench.engine, "POST", f"{pipeline}/builds", **fields)
    new = build.pipeline.builds[-1]
    assert (answer.status_code, answer.headers["location"]) == (303, path_of(new))
    assert (new.branch, new.commit, new.message, new.source) == ("next", "HEAD", "Try <b>", "ui")
    assert new.env == {"A": "1=2", "B": ""}


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (
            {"env": "A=1\nno variable"},
            "&#39;no variable&#39; in the environment is not of the form NAME=value",
        ),
        ({"branch": " "}, "A build needs a branch"),
        ({"commit": ""}, "A build needs a commit"),
    ],
)
def test_a_form_that_is_refused_keeps_what_was_typed(
    bench: Any, wrong: dict[str, str], sentence: str
) -> None:
    """The form comes back with the reason and every value, and there is no build."""
    build = bench.build([{"command": "x"}])
    fields = {"branch": "main", "commit": "HEAD", "message": "kept", "env": "", **wrong}
    answer = ask(bench.engine, "POST", f"/local/{build.pipeline.slug}/builds", **fields)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert 'value="kept"' in answer.text
    assert len(build.pipeline.builds) == 1


def test_no_text_turns_the_words_of_the_page(make_bench: Callable[[], Any]) -> None:
    """Marks for the direction of text in messages, labels and annotations stay out of the page."""
    bench = make_bench()
    build = SCENES["blocked"](bench)
    build.message = "\u202egnp.exe"
    build.steps[-1].job.step.definition.label = "\u2067<b>\u05d0"
    for note in build.annotations.values():
        note.body = "\u202e*x*"
    page = ask(bench.engine, "GET", path_of(build)).text
    assert "<h1>gnp.exe</h1>" in page
    assert "&lt;b&gt;\u05d0" in page
    assert "<em>x</em>" in page
    assert re.search("[\u202a-\u202e\u2066-\u2069]", page) is None


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH to lay pages out")
def test_pages_fit_a_narrow_screen(make_bench: Callable[[], Any], tmp_path: Path) -> None:
    """At 360 px no page is wider than its window, whatever its texts are, and titles stand in whole words."""
    pages: dict[str, str] = {}
    for name, start_build in SCENES.items():
        bench = make_bench()
        build = start_build(bench)
        bench.agent()
        build.message = build.pipeline.name = build.branch = build.commit = "A" * 90
        build.steps[-1].job.step.definition.label = "deploy/" + "x" * 80
        for step in build.steps:
            if isinstance(step.definition, CommandStep):
                step.definition.agents = {"queue": "q" * 90}
        pages[name] = ask(bench.engine, "GET", path_of(build)).text
    for path in ("/local", f"/local/{build.pipeline.slug}/new"):
        pages[path] = ask(bench.engine, "GET", path).text
    measured = measure(pages, tmp_path)
    assert measured.keys() == pages.keys()
    assert {name: width for name, (width, _) in measured.items() if width > WIDTH} == {}
    assert {name: narrowest for name, (_, narrowest) in measured.items() if narrowest < 100} == {}


def measure(pages: dict[str, str], folder: Path) -> dict[str, tuple[int, int]]:
    """How wide each page is in a window of 360 px, and its narrowest title, in CSS pixels.

    The pages lie in frames: a window of Chromium itself is not made that narrow.
    """
    frames = "".join(
        f'<iframe name="{html.escape(name)}" srcdoc="{html.escape(page)}" style="width: {WIDTH}px"></iframe>'
        for name, page in pages.items()
    )
    script = """addEventListener("load", () => {
      const widths = {};
      for (const frame of document.querySelectorAll("iframe")) {
        const page = frame.contentDocument;
        page.querySelectorAll("details").forEach(one => one.open = true);
        const titles = [...page.querySelectorAll(".name, .what")]
          .map(one => one.offsetWidth);
        widths[frame.name] = [page.documentElement.scrollWidth, Math.min(...titles, 1000)];
      }
      document.body.textContent = "";
      document.body.dataset.widths = JSON.stringify(widths);
    });"""
    file = folder / "pages.html"
    file.write_text(f"<!doctype html><script>{script}</script><body>{frames}", encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()]
    environment = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", timeout=2 * SECONDS, env=environment
    )
    found = re.search(r'data-widths="([^"]*)"', done.stdout)
    assert found is not None, done.stderr
    return {name: (width, title) for name, (width, title) in json.loads(html.unescape(found[1])).items()}
