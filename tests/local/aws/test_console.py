"""The console of the AWS stand-in: the pages to which the links of a build page lead."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

import standins
from modelbuild_local.console.app import create_app
from modelbuild_local.console.reader import Reader
from modelbuild_local.service.session import cookie_name
from modelbuild_local.up.seed import DEPLOY_ROLE
from waiting import SECONDS

URL = "http://127.0.0.1:1"
HOSTILE = "<script>alert(1)</script>"


@lru_cache
def reader(url: str) -> Reader:
    """The reader of a stand-in, in which production has its role: its clients are made once."""
    standins.create_role(url, DEPLOY_ROLE)
    return Reader(url, standins.KEY_ID, standins.SECRET)


def get(cloud: Any, path: str, key: str = "key") -> httpx.Response:
    """A page, for a browser that has this key."""
    app = create_app(reader(cloud.url), URL, "key")

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url=URL, cookies={cookie_name("key"): key}
        ) as client:
            return await client.get(path)

    return asyncio.run(send())


def test_a_job_has_a_page_with_its_log(cloud: Any) -> None:
    """State, reason, exit code and log of a Batch job stand on one page, and its log has its own."""
    job = cloud.run("console-job", ["sh", "-c", f"echo '{HOSTILE}'; exit 3"])
    page = get(cloud, f"/batch/jobs/{job['jobId']}")
    assert page.status_code == 200
    for text in ("console-job", "FAILED", "Exit code</th><td>3", "&lt;script&gt;alert(1)"):
        assert text in page.text, text
    assert HOSTILE not in page.text
    assert f"/batch/jobs/{job['jobId']}" in get(cloud, "/").text
    group, stream = "/aws/batch/job", job["container"]["logStreamName"]
    log = get(cloud, f"/cloudwatch/log?group={quote(group, safe='')}&stream={quote(stream, safe='')}")
    assert "&lt;script&gt;alert(1)" in log.text
    streams = get(cloud, f"/cloudwatch/streams?group={quote(group, safe='')}&prefix=console-job")
    assert f"stream={quote(stream, safe='')}" in streams.text


def test_an_object_has_a_page_and_can_be_fetched(cloud: Any) -> None:
    """Short text is shown, and the bytes of any object come as a file, never as a page."""
    s3 = cloud.client("s3")
    s3.create_bucket(Bucket="console-bucket")
    s3.put_object(Bucket="console-bucket", Key="a b/é.html", Body=HOSTILE.encode(), Metadata={"sha256": "1f"})
    s3.put_object(Bucket="console-bucket", Key="model", Body=b"\x00\xff" * 50_000)
    key = quote("a b/é.html", safe="")
    page = get(cloud, f"/s3/object/console-bucket?prefix={key}").text
    assert "&lt;script&gt;" in page
    assert "<th>sha256</th><td>1f</td>" in page
    assert f"/s3/download/console-bucket?prefix={key}" in page
    assert "100,000 bytes" in get(cloud, "/s3/object/console-bucket?prefix=model").text
    file = get(cloud, f"/s3/download/console-bucket?prefix={key}")
    assert (file.content, file.headers["content-type"]) == (HOSTILE.encode(), "application/octet-stream")
    assert file.headers["content-disposition"].startswith("attachment;")
    assert len(get(cloud, "/s3/download/console-bucket?prefix=model").content) == 100_000


@pytest.mark.parametrize(
    "path",
    [
        "/batch/jobs/none",
        "/s3/object/none?prefix=none",
        "/s3/download/none?prefix=none",
        "/cloudwatch/log?group=none&stream=none",
        "/cloudwatch/streams?group=none",
        "/sagemaker/endpoints/none",
    ],
)
def test_missing_resource_is_named(cloud: Any, path: str) -> None:
    """A link to what does not exist gets a sentence that names it."""
    page = get(cloud, path)
    assert page.status_code == 404
    assert "none" in page.text


def test_only_a_browser_with_the_key_reads(cloud: Any) -> None:
    """Without the key of the pages nothing of the account is shown."""
    for path in ("/", "/batch/home", "/s3/download/a?prefix=b", "/cloudwatch/log"):
        assert get(cloud, path, key="wrong").status_code == 401


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on PATH to follow addresses with")
def test_the_products_links_lead_here(cloud: Any, tmp_path: Path) -> None:
    """What stands behind the # of a console address is read in the browser, which goes on to the page."""
    stream = "head/default/1 %é"
    coded = quote(quote(stream, safe=""), safe="").replace("%", "$")
    group = quote(quote("/aws/batch/modelbuild", safe=""), safe="").replace("%", "$")
    addresses = {
        "#jobs/detail/the-id": "/batch/jobs/the-id",
        "#/endpoints/the-name": "/sagemaker/endpoints/the-name",
        f"#logsV2:log-groups/log-group/{group}/log-events/{coded}": (
            f"/cloudwatch/log?group=%2Faws%2Fbatch%2Fmodelbuild&stream={quote(stream, safe='')}"
        ),
        f"#logsV2:log-groups/log-group/{group}$3FlogStreamNameFilter$3D{coded}": (
            f"/cloudwatch/streams?group=%2Faws%2Fbatch%2Fmodelbuild&prefix={quote(stream, safe='')}"
        ),
    }
    script = (
        get(cloud, "/batch/home").text.partition("<script")[2].partition(">")[2].partition("</script>")[0]
    )
    # location cannot be replaced in a page, so the script runs with one of its own for each address.
    runs = "".join(
        f"(location => {{{script}}})({{hash: {fragment!r}, replace: address => said.push(address)}});"
        for fragment in addresses
    )
    file = tmp_path / "addresses.html"
    file.write_text(
        f"<!doctype html><body><script>const said = []; {runs}"
        "document.body.dataset.said = said.join(' ');</script></body>"
    )
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=2 * SECONDS)
    output = done.stdout.partition('data-said="')[2].partition('"')[0].replace("&amp;", "&")
    assert output.split() == list(addresses.values()), done.stderr
