"""The build page, its logs and annotations."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import standins
from browser import CHROMIUM, started_browser
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.logs import JobLog, group_lines
from modelbuild_local.buildkite.pages.forms import form_values
from modelbuild_local.buildkite.pages.markdown import to_html
from modelbuild_local.buildkite.pages.rows import job_row

BLOCK = {
    "block": "Deploy <b>?",
    "key": "go",
    "fields": [
        {"text": "Why", "key": "why/text"},
        {
            "select": "Where",
            "key": "where",
            "multiple": True,
            "options": [{"label": "A", "value": "a"}, {"label": "B", "value": "b"}],
        },
    ],
}


def start(server: Any, name: str, steps: list[object]) -> tuple[str, str]:
    """A build of these steps: its page's address and its REST path."""
    builds = server.create_pipeline(name, steps)
    answer = server.rest.post(
        builds, json={"commit": "abcdef0123456789", "branch": "main", "message": "A <i>"}
    )
    return answer.json()["web_url"], f"{builds}/1"


def test_the_page_shows_the_build_without_a_token(server: Any) -> None:
    """The page shows state, commit, branch, message and block form; what comes from outside is escaped."""
    page, _ = start(server, "page shown", [BLOCK])
    answer = server.browser.get(page)
    assert answer.status_code == 200
    for text in ("blocked", "abcdef0123", "main", "A &lt;i&gt;", "Deploy &lt;b&gt;?", 'name="why/text"'):
        assert text in answer.text, text
    assert "script-src 'nonce-" in answer.headers["content-security-policy"]
    assert server.browser.get(f"{server.url}/local").text.count(page) == 1


def test_a_block_labels_its_button(server: Any) -> None:
    """The attribute ``submit`` is the label of the button that unblocks."""
    page, _ = start(server, "page submit", [{**BLOCK, "submit": "Send <it>"}])
    shown = server.browser.get(page).text
    assert ">Send &lt;it&gt;</button>" in shown
    assert ">Unblock</button>" not in shown


def test_a_click_on_the_page_unblocks(server: Any) -> None:
    """The form of the page unblocks with its fields, as the person the server acts for."""
    page, build = start(server, "page click", [BLOCK])
    [job] = server.rest.get(build).json()["jobs"]
    body = {"why/text": "because", "where": ["a", "b"]}
    answer = server.browser.post(
        f"{page}/jobs/{job['id']}/unblock", data=body, headers={"Origin": server.url}
    )
    assert answer.status_code == 303
    shown = server.rest.get(build).json()
    assert shown["meta_data"] == {"why/text": "because", "where": "a\nb"}
    assert shown["jobs"][0]["unblocked_by"]["name"] == "Ada"


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "http://127.0.0.1:1"])
@pytest.mark.parametrize("action", ["jobs/{job}/unblock", "jobs/{job}/retry", "cancel", "rebuild", "new"])
def test_other_sites_cannot_click(server: Any, origin: str | None, action: str) -> None:
    """A post that does not come from the page itself is refused, and changes nothing."""
    page, build = start(server, f"page {origin} {action}", [{"block": "go?"}])
    [job] = server.rest.get(build).json()["jobs"]
    headers = {"Origin": origin} if origin else {}
    address = page.rpartition("/")[0] if action == "new" else f"{page}/{action.format(job=job['id'])}"
    variables = {"branch": "main", "commit": "HEAD"}
    assert server.browser.post(address, data=variables, headers=headers).status_code == 403
    assert len(server.rest.get(build.rpartition("/")[0]).json()) == 1
    assert server.rest.get(build).json()["jobs"][0]["state"] == "blocked"


@pytest.mark.parametrize(
    ("manual", "exit_status", "offered"),
    [
        ({"allowed": True}, 1, True),
        ({"allowed": True}, 0, False),
        ({"permit_on_passed": True}, 0, True),
        ({"allowed": False}, 1, False),
    ],
)
def test_retry_is_offered_where_it_is_possible(
    bench: Any, manual: dict[str, bool], exit_status: int, offered: bool
) -> None:
    """What failed can be retried, and what passed where its step says so; the page offers just that."""
    build = bench.build([{"command": "x", "key": "x", "retry": {"manual": manual}}])
    bench.run(bench.agent(), exit_status)
    (job,) = build.jobs
    assert job_row(job, bench.clock.now()).can_retry is offered
    if offered:
        bench.engine.retry(job)
    else:
        with pytest.raises(Refused):
            bench.engine.retry(job)
    assert job_row(job, bench.clock.now()).can_retry is False


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is on PATH to open the page")
def test_a_field_keeps_the_focus_while_the_page_refreshes(server: Any) -> None:
    """Durations change each second, and yet a person can choose from a list and type a text."""
    page, _ = start(server, "page focus", [BLOCK])
    with started_browser() as browser:
        browser.show(f"{page}?key={standins.PAGE_KEY}", width=1000, theme="light")
        refreshed = browser.evaluate(
            """
            new Promise(resolve => {
              const field = document.querySelector("input[name='why/text']");
              field.closest("details").open = true;
              field.focus();
              const fetched = window.fetch;
              let rounds = 0;
              window.fetch = (...all) => {
                if (rounds++ == 3) resolve([document.activeElement.name, field.isConnected]);
                return fetched(...all);
              };
            })
            """
        )
    assert refreshed == ["why/text", True]


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is on PATH to open the page")
def test_a_page_whose_key_is_gone_says_so(server: Any) -> None:
    """When the server does not take the browser's key any more, the page says that it is out of date."""
    page, _ = start(server, "page key", [BLOCK])
    with started_browser() as browser:
        browser.show(f"{page}?key={standins.PAGE_KEY}", width=1000, theme="light")
        shown = browser.evaluate(
            """
            new Promise(resolve => {
              const main = document.querySelector("main");
              const look = () => resolve(main.firstChild.textContent);
              new MutationObserver(look).observe(main, {childList: true});
              const fetched = window.fetch;
              window.fetch = address => fetched(address, {credentials: "omit"});
            })
            """
        )
    assert shown.startswith("This page is out of date. Open this page with an address that")


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is on PATH to open the page")
def test_marked_text_stays_while_the_page_refreshes(server: Any) -> None:
    """What a person has marked to copy it is not replaced."""
    page, build = start(server, "page marked", [BLOCK])
    with started_browser() as browser:
        browser.show(f"{page}?key={standins.PAGE_KEY}", width=1000, theme="light")
        browser.evaluate("getSelection().selectAllChildren(document.querySelector('#steps'))")
        assert server.rest.put(f"{build}/cancel").status_code == 200
        kept = browser.evaluate(
            """
            new Promise(resolve => {
              const [head, steps] = ["#head", "#steps"].map(id => document.querySelector(id));
              const look = () => head.isConnected ? setTimeout(look, 50) : resolve(steps.isConnected);
              look();
            })
            """
        )
    assert kept is True


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is on PATH to open the page")
def test_a_page_with_a_refusal_refreshes(server: Any) -> None:
    """The page that shows why a click was refused goes on to show what changes in the build."""
    page, build = start(server, "page refusal", [BLOCK])
    with started_browser() as browser:
        browser.show(f"{page}?key={standins.PAGE_KEY}", width=1000, theme="light")
        browser.evaluate("document.querySelectorAll('[required]').forEach(one => one.required = false)")
        browser.press("form.fields button")
        said = browser.evaluate("document.querySelector('[role=alert]').textContent")
        assert said == "The field 'why/text' is required."
        assert server.rest.put(f"{build}/cancel").status_code == 200
        badge = browser.evaluate(
            """
            new Promise(resolve => {
              const look = () => {
                const text = document.querySelector("#head .badge").textContent;
                if (text === "canceled") resolve(text); else setTimeout(look, 50);
              };
              look();
            })
            """
        )
    assert badge == "canceled"


def test_a_foreign_name_for_this_machine_gets_nothing(server: Any) -> None:
    """A name that merely resolves to this machine opens no page, so that no site can read one."""
    assert server.browser.get(f"{server.url}/", headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "**a** [b](https://x.y)",
            '<p><strong>a</strong> <a href="https://x.y" rel="noopener noreferrer">b</a></p>',
        ),
        ("<details open><summary>s</summary>t</details>", '<details open=""><summary>s</summary>t</details>'),
        ('<img src="artifact://p.png" alt="x">', '<img src="/files/1" alt="x">'),
        ('<img src="artifact://none.png">', "<img>"),
        ('<a href="javascript:alert(1)">x</a>', '<p><a rel="noopener noreferrer">x</a></p>'),
        ('<p style="x" onclick="y" class="bold">z</p>', '<p class="bold">z</p>'),
        ('<p class="card bg-yellow black p1 head mt4">z</p>', '<p class="bg-yellow black p1 mt4">z</p>'),
        ('<p class="card">z</p>', "<p>z</p>"),
        ("<script>alert(1)</script>", ""),
        ("<div>a</div></main></body>", "<div>a</div>"),
        ("<div><p>open", "<div><p>open</p></div>"),
    ],
)
def test_annotations_keep_what_buildkite_allows(body: str, expected: str) -> None:
    """Markdown and the documented tags stay; scripts, styles, handlers and foreign schemes go."""
    assert re.sub(r"\s*\n\s*", "", to_html(body, {"p.png": "/files/1"})) == expected


@given(st.text(alphabet=st.sampled_from("<>/!-='\"& abscriptonltyjv:\n\x00"), max_size=120))
def test_no_annotation_brings_a_script(body: str) -> None:
    """Whatever the body, no script, no handler and no unclosed tag comes out."""
    out = to_html(body, {})
    tags = re.findall(r"<(/?)([a-z0-9]+)([^>]*)>", out)
    assert out.count("<") == len(tags)
    assert all(name != "script" and not re.search(r"\son\w*=", attributes) for _, name, attributes in tags)
    opened = [name for slash, name, _ in tags if not slash and name not in ("br", "hr", "img")]
    assert sorted(opened) == sorted(name for slash, name, _ in tags if slash)


def test_a_log_falls_into_its_groups() -> None:
    """Headers open groups, ``+++`` open ones, ``^^^ +++`` opens the last; colours go."""
    log = JobLog()
    log.add(0, b"first\n\x1b_bk;t=1\x07~~~ quiet\r\n\x1b[32mgreen\x1b[0m\n")
    log.add(len(log.content), b"--- shut\n10%\r100%\n^^^ +++\n+++ open\nx\n")
    groups = [(group.title, group.open, group.lines) for group in group_lines(log.text())]
    assert groups == [
        ("", True, ["first"]),
        ("quiet", False, ["green"]),
        ("shut", True, ["100%"]),
        ("open", True, ["x"]),
    ]


noisy_logs = st.binary(max_size=60).map(lambda noise: b"a\x1b_bk;t=12\x07\xc3\xa9" + noise)


@given(noisy_logs, st.randoms(), st.integers(1, 7))
def test_a_log_only_grows(data: bytes, random: Any, size: int) -> None:
    """In whatever order chunks come, what is read earlier is a prefix of what is read later."""
    chunks = [(at, data[at : at + size]) for at in range(0, len(data), size)]
    random.shuffle(chunks)
    log, earlier = JobLog(), ""
    for at, chunk in chunks:
        log.add(at, chunk)
        text = log.text()
        assert text.startswith(earlier)
        earlier = text
    assert bytes(log.content) == data


def test_ten_addresses_of_artifacts_are_replaced() -> None:
    """As on Buildkite, ten pictures and links of an annotation are replaced, and further ones left out."""
    files = {f"{number}.png": f"/artifacts/{number}" for number in range(12)}
    body = " ".join(f"![p](artifact://{name})" for name in files)
    shown = to_html(f"`src='artifact://0.png'` {body}", files)
    assert [number for number in range(12) if f'"/artifacts/{number}"' in shown] == list(range(10))


def test_empty_form_values_count() -> None:
    """An empty field is a value, and several values of one name stay apart."""
    assert form_values("a=&b%2Fc=1&b%2Fc=x%0D%0Ay") == {"a": [""], "b/c": ["1", "x\ny"]}


def test_terminal_fence_has_its_colours() -> None:
    """A fence ``term`` is a log with colours and no markup, as Buildkite shows it; other fences are code."""
    log = "\x1b[31mred <b>\x1b[0m plain\n\x1b[1;32mgreen"
    out = to_html(f"<p>above</p>\n\n```term\n{log}\n```\n<p>below</p>\n\n```py\nx\n```", {})
    assert (
        '<pre class="term"><code><span class="term-fg31">red &lt;b&gt;</span> plain\n'
        '<span class="term-fg1 term-fg32">green\n</span></code></pre>'
    ) in out
    assert "<p>below</p>" in out
    assert "<pre><code>x\n</code></pre>" in out
