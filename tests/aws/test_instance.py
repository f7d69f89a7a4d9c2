from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from http_api import JsonHandler, served, url
from modelbuild.aws.instance import Instance, this_instance


class Metadata:
    """The instance metadata service of a host, as IMDSv2 answers."""

    def __init__(self) -> None:
        self.pages = {"instance-type": "g5.xlarge", "instance-life-cycle": "spot"}
        self.url = ""


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    """The service of a spot instance, which wants a token."""
    state = Metadata()

    class Handler(JsonHandler):
        def do_PUT(self) -> None:
            assert self.path == "/latest/api/token"
            assert self.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "60"
            self._text("token")

        def do_GET(self) -> None:
            page = state.pages.get(self.path.removeprefix("/latest/meta-data/"))
            if self.headers["X-aws-ec2-metadata-token"] != "token" or page is None:
                self.send_error(401)
            else:
                self._text(page)

        def _text(self, text: str) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text.encode())

    with served(Handler) as server:
        state.url = url(server)
        yield state


def found(metadata: Metadata, **environ: str) -> Instance | None:
    """The instance as a job sees it."""
    return this_instance({"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url, **environ})


def test_a_job_on_ec2_knows_its_instance(metadata: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    """Type, vCPUs and whether it is a spot instance; no proxy is asked."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert found(metadata) == Instance("g5.xlarge", spot=True, vcpus=os.cpu_count() or 1)
    metadata.pages["instance-life-cycle"] = "on-demand"
    assert found(metadata) == Instance("g5.xlarge", spot=False, vcpus=os.cpu_count() or 1)


def test_elsewhere_there_is_no_instance(metadata: Metadata) -> None:
    """A service that is switched off, refuses, says nothing, or is not there costs no step its end."""
    assert found(metadata, AWS_EC2_METADATA_DISABLED="true") is None
    assert this_instance({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}) is None
    metadata.pages["instance-type"] = ""
    assert found(metadata) is None
    metadata.pages["instance-type"] = "\N{SNOWMAN}"
    assert found(metadata) is None
    metadata.pages.clear()
    assert found(metadata) is None
