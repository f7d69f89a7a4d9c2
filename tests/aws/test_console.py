"""Addresses in the AWS console."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from modelbuild.aws.console import CONSOLE_URL, endpoint_url, job_url, logs_url, object_url


@pytest.fixture(autouse=True)
def default_console(monkeypatch: pytest.MonkeyPatch) -> None:
    """No console is named."""
    monkeypatch.delenv(CONSOLE_URL, raising=False)


def test_links_lead_into_the_console() -> None:
    """The job's page by id; its log by stream, or by the definition's name before the stream exists."""
    job = job_url("eu-west-1", "an-id")
    assert job == "https://eu-west-1.console.aws.amazon.com/batch/home?region=eu-west-1#jobs/detail/an-id"
    stream = logs_url("eu-west-1", "head-1a/default/77", "head")
    assert unquote(unquote(stream.replace("$", "%"))).endswith(
        "/aws/batch/modelbuild/log-events/head-1a/default/77"
    )
    filtered = logs_url("eu-west-1", "", "arn:aws:batch:eu-west-1:1:job-definition/head-1a:3")
    assert unquote(unquote(filtered.replace("$", "%"))).endswith("?logStreamNameFilter=head-1a")
    assert (
        object_url("s3://bucket/a b/c") == "https://console.aws.amazon.com/s3/object/bucket?prefix=a%20b%2Fc"
    )


def test_another_console_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each link begins with the console that the variable names, and is otherwise the same."""

    def links() -> list[str]:
        return [
            job_url("r", "j"),
            logs_url("r", "s", "d"),
            object_url("s3://bucket/k"),
            endpoint_url("r", "e"),
        ]

    def ends(urls: list[str]) -> list[str]:
        return [url.split("/", 3)[3] for url in urls]

    usual = links()
    monkeypatch.setenv(CONSOLE_URL, "https://console.amazonaws.cn/")
    assert all(url.startswith("https://console.amazonaws.cn/") for url in links())
    assert ends(links()) == ends(usual)


@pytest.mark.parametrize("named", ["", " ", "console.example", "javascript:alert(1)", "https://["])
def test_what_is_no_address_names_no_console(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """A variable that is empty, or no web address, changes nothing."""
    monkeypatch.setenv(CONSOLE_URL, named)
    assert job_url("r", "j").startswith("https://r.console.aws.amazon.com/")
