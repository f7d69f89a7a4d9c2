"""The process, its users, and what does not disturb it."""

from __future__ import annotations

import json
import signal
import string
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from modelbuild_local.service.session import cookie_name
from modelbuild_local.wandb.app import create_app
from modelbuild_local.wandb.state import Store, now
from waiting import SECONDS

KEY = ("api", "k" * 40)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_wrong_key_is_reported_at_once(own_server: Any) -> None:
    """With another key than the server's, neither writing nor reading begins, and the key is not shown."""
    wrong = "w" * 40
    result = own_server.run(
        """
import wandb
for attempt in (lambda: wandb.init(project="p"), lambda: wandb.Api()):
    try:
        attempt()
    except wandb.Error as error:
        print(type(error).__name__, error)
""",
        key=wrong,
    )
    errors = [line for line in result.stdout.splitlines() if "Error" in line]
    assert len(errors) == 2
    assert "set WANDB_API_KEY" in errors[0]
    assert wrong not in result.stdout + result.stderr
    assert own_server.graphql("Viewer")["data"]["viewer"]["entity"] == "local"


def test_nothing_is_written_or_read_without_a_key(wandb_server: Any) -> None:
    """A missing key, one too short to be one, and another scheme are all refused."""
    body = {"operationName": "Viewer", "query": "query Viewer { x }"}
    for headers, auth in (({}, None), ({}, ("api", "k" * 39)), ({"Authorization": f"Bearer {KEY[1]}"}, None)):
        for path in ("/graphql", "/files/local/p/r/file_stream"):
            answer = httpx.post(wandb_server.url + path, json=body, headers=headers, auth=auth)
            assert answer.status_code == 401
            assert "WANDB_API_KEY" in answer.json()["error"]


def test_an_unknown_operation_is_answered_and_counted(own_server: Any) -> None:
    """An operation that the server lacks is an error with its name, and listed for tests of an upgrade."""
    assert own_server.unknown() == []
    answer = own_server.graphql("FlyToTheMoon", project="p")
    assert "FlyToTheMoon" in answer["errors"][0]["message"]
    assert own_server.unknown() == ["FlyToTheMoon"]


def test_a_signal_ends_the_process(own_server: Any) -> None:
    """SIGTERM is a clean end, as that of standard input is for the fixtures; stdout had one line in all."""
    own_server.process.send_signal(signal.SIGTERM)
    assert own_server.process.wait(SECONDS) == 0
    assert own_server.process.stdout.read() == ""


def test_a_foreign_name_gets_nothing(wandb_server: Any) -> None:
    """A site whose name resolves to this machine cannot read the pages."""
    answer = httpx.get(wandb_server.url, headers={"Host": "example.org"})
    assert answer.status_code == 403


def test_only_given_addresses_take_files(tmp_path: Path) -> None:
    """A file goes where the server said and nowhere else, and comes back as nothing that a browser runs."""
    client = TestClient(
        create_app(tmp_path / "files", "http://127.0.0.1:1", KEY[1], "page"), "http://127.0.0.1:1"
    )
    for id in ("0" * 40, "..%2f..%2fetc", "%2e%2e"):
        assert client.put(f"/storage/{id}", content=b"x").status_code == 404
        assert client.get(f"/storage/{id}").status_code == 404
    assert list((tmp_path / "files").iterdir()) == []
    ask(client, "UpsertBucket", entity="local", project="p", name="r")
    created = ask(client, "CreateRunFiles", project="p", run="r", files=["../../a.html"])
    path = created["data"]["createRunFiles"]["files"][0]["uploadUrl"].removeprefix("http://127.0.0.1:1")
    assert client.get(path).status_code == 404
    assert client.put(path, content=b"<script>").status_code == 200
    answer = client.get(path)
    assert answer.content == b"<script>"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == "attachment"
    assert [file.name for file in (tmp_path / "files").iterdir()] == [path.removeprefix("/storage/")]


def in_memory(folder: Path) -> TestClient:
    """A client of a server in this process, with the cookie of its pages."""
    app = create_app(folder, "http://127.0.0.1:1", KEY[1], "page")
    return TestClient(app, "http://127.0.0.1:1", cookies={cookie_name("page"): "page"})


def ask(client: TestClient, operation: str, /, **variables: object) -> Any:
    """The answer to an operation."""
    body = json.dumps({"operationName": operation, "query": "", "variables": variables})
    answer = client.post("/graphql", content=body, auth=KEY)
    assert answer.status_code == 200
    return answer.json()


OPERATIONS = [
    *("UpsertBucket", "RunResumeStatus", "CreateRunFiles", "Run", "Runs", "RunFullHistory", "HistoryPage"),
    *("RunSampledHistory", "RunFiles", "CreateArtifact", "CreateArtifactFiles", "CommitArtifact"),
    *("UseArtifact", "ArtifactMembershipByName", "GetArtifactMembershipFileUrls", "RunOutputArtifacts"),
    "NotifyScriptableRunAlert",
]
NAMES = [
    *("id", "name", "run", "runName", "entity", "project", "config", "tags", "files", "specs", "filters"),
    *("minStep", "maxStep", "pageSize", "cursor", "artifactID", "artifactFiles", "input", "samples"),
    *("order", "entityName", "projectName", "title", "summaryMetrics"),
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    operation=st.sampled_from(OPERATIONS),
    variables=st.dictionaries(st.sampled_from(NAMES), json_values, max_size=6),
    lines=st.lists(json_values | st.text(), max_size=3),
)
def test_a_malformed_message_is_never_a_server_error(
    tmp_path: Path, operation: str, variables: dict[str, Any], lines: list[Any]
) -> None:
    """The SDK repeats what got a 5xx for minutes, so whatever it sends gets another answer."""
    client = in_memory(tmp_path)
    ask(client, "UpsertBucket", name="r")
    ask(client, operation, **variables)
    files = {"wandb-history.jsonl": {"offset": 0, "content": [*map(json.dumps, lines), *lines]}}
    stream = client.post(
        "/files/local/uncategorized/r/file_stream", content=json.dumps({"files": files}), auth=KEY
    )
    assert stream.status_code in (200, 400)
    for page in ("/local/uncategorized/runs/r", "/local/uncategorized"):
        assert client.get(page).status_code == 200


def test_text_without_utf8_is_served(tmp_path: Path) -> None:
    """JSON can hold half a surrogate pair: what has such a name is read and shown like any other."""
    client = in_memory(tmp_path)
    ask(client, "UpsertBucket", name="r", displayName="half \ud800")
    row = json.dumps({"half \ud800": 1})
    files = {"wandb-history.jsonl": {"offset": 0, "content": [row]}}
    client.post("/files/local/uncategorized/r/file_stream", content=json.dumps({"files": files}), auth=KEY)
    history = ask(client, "RunParquetHistory", runName="r")["data"]["project"]["run"]["parquetHistory"]
    assert history["liveData"] == [{"half \ud800": 1}]
    assert client.get("/local/uncategorized/runs/r").text.count("half ?") >= 2


def test_a_silent_run_has_crashed() -> None:
    """A run that neither ended nor spoke for five minutes counts as crashed, until it speaks again."""
    run = Store().new_run("local", "p", "r")
    assert run.state(run.seen_at + timedelta(minutes=4)) == "running"
    later = now() + timedelta(minutes=6)
    assert run.state(later) == "crashed"
    run.receive({})
    run.receive({"complete": True, "exitcode": 0})
    assert run.state(later) == "finished"


def test_ids_are_printable(tmp_path: Path) -> None:
    """A run that is given no id gets one that fits an address."""
    client = in_memory(tmp_path)
    bucket = ask(client, "UpsertBucket", project="p")["data"]["upsertBucket"]["bucket"]
    assert set(bucket["name"]) <= set(string.hexdigits)
    assert client.get(f"/local/p/runs/{bucket['name']}").status_code == 200
