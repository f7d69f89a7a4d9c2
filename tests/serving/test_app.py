from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelbuild.contract import Predictions
from modelbuild.serving.answers import AnswerWriter
from modelbuild.serving.app import Service
from modelbuild.serving.inputs import TensorInput
from modelbuild.serving.limits import MAX_ANSWER_BYTES, MAX_BODY_BYTES, SMALL_BODY_BYTES
from modelbuild.serving.model import Model, load_directory
from modelbuild.serving.outputs import VectorOutput

JSON = {"Content-Type": "application/json"}

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


class Client:
    """A client of an application in this process."""

    def __init__(self, service: Service):
        self._loop = asyncio.new_event_loop()
        self._http = httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://serving")

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer to one request."""
        return self._loop.run_until_complete(self._http.request(method, path, **options))

    def get(self, path: str) -> httpx.Response:
        """The answer to a GET."""
        return self.request("GET", path)

    def post(self, path: str, **options: Any) -> httpx.Response:
        """The answer to a POST."""
        return self.request("POST", path, **options)

    def post_together(self, count: int, document: Any) -> list[httpx.Response]:
        """The answers to so many requests for predictions at the same time."""

        async def post() -> list[httpx.Response]:
            requests = [self._http.post("/invocations", json=document) for _ in range(count)]
            return await asyncio.gather(*requests)

        return self._loop.run_until_complete(post())

    def predictions(self, texts: list[str]) -> Any:
        """The predictions for some texts."""
        answer = self.post("/invocations", json={"instances": texts})
        assert answer.status_code == 200, answer.text
        return answer.json()["predictions"]

    def close(self) -> None:
        """Leave nothing open."""
        self._loop.run_until_complete(self._http.aclose())
        self._loop.close()


@pytest.fixture
def client(published: Any) -> Iterator[Client]:
    """A client of an application that has its model."""
    service = Service(published.environment)
    service.serve(load_directory(published.directory, published.environment.description_sha256))
    client = Client(service)
    yield client
    client.close()


def test_every_answer_names_its_model(client: Client) -> None:
    """The id is in the body, in each prediction, in its own header and in SageMaker's."""
    answer = client.post("/invocations", json={"instances": ["good", "bad day"]})
    assert answer.status_code == 200
    predictions = Predictions.model_validate_json(answer.content)
    assert [one.model_id for one in predictions.predictions] == ["12.3", "12.3"]
    named = (predictions.model, predictions.model_id, predictions.pipeline)
    assert named == ("tone", "12.3", "comments")
    assert answer.headers["X-Model-Id"] == "12.3"
    assert answer.headers["X-Amzn-SageMaker-Custom-Attributes"] == (
        "MODEL_ID=12.3;MODEL=tone;PIPELINE=comments"
    )


def test_answers_keep_their_order_however_large_the_request(client: Client) -> None:
    """1,000 long texts get the answers that each gets alone, in order."""
    texts = [f"{'fine ' * (index % 7)}number {index}" + " and" * 40 for index in range(1_000)]
    together = client.post("/invocations", json={"instances": texts}).json()["predictions"]
    for index in (0, 1, 500, 999):
        assert (
            together[index]
            == client.post("/invocations", json={"instances": [texts[index]]}).json()["predictions"][0]
        )


def test_ping_waits_for_the_model(published: Any) -> None:
    """Until the model is verified /ping and /invocations answer 503; after that /ping answers 200."""
    service = Service(published.environment)
    client = Client(service)
    assert client.get("/ping").status_code == 503
    assert client.post("/invocations", json={"instances": ["a"]}).status_code == 503
    service.serve(load_directory(published.directory, published.environment.description_sha256))
    assert client.get("/ping").status_code == 200
    client.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b"[" * 100_000, "more values than 1,000 instances of input text can have"),
        (
            b'{"instances": [' + b"[]," * 50_000 + b"[]]}",
            "more values than 1,000 instances of input text can have",
        ),
        (
            b'{"instances": ["' + rb"\\" * 50_000 + b'"' + b",{}" * 50_000 + b"]}",
            "more values than 1,000 instances",
        ),
        ('{"instances": ["a"]}'.encode("utf-16"), "not JSON in UTF-8"),
        ('{"instances": ["\u200b\u201c\u2026\u201d\ufeff"]}'.encode(), r"instances\[0\] is empty"),
        (b'{"instances": ["\'""]}'.replace(b'""', b'\\""'), r"instances\[0\] is empty"),
        (b'{"instances": ' + b"1" * 5_000 + b"}", "not JSON"),
        (b"[]", "one key"),
        (b'{"instances": ["a"], "more": 1}', "one key"),
        (b'{"instances": "a"}', "not a text"),
        (b'{"instances": []}', "not a list of 0"),
        (b'{"instances": ["a", 1]}', r"instances\[1\] must be a text, not a number"),
        (b'{"instances": [null]}', "not null"),
        (b'{"instances": ["a", " "]}', r"instances\[1\] is empty"),
        (json.dumps({"instances": ["a"] * 1_001}).encode(), "1 to 1,000, not a list of 1,001"),
        (json.dumps({"instances": ["a" * 10_001]}).encode(), "10,001 characters; send at most 10,000"),
    ],
)
def test_a_bad_body_gets_one_sentence(client: Client, body: bytes, message: str) -> None:
    """What is wrong with a body is said in one sentence with status 400."""
    answer = client.post("/invocations", content=body, headers=JSON)
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert re.search(message, answer.json()["error"])


def test_limits_are_inclusive(client: Client) -> None:
    """The largest text and the largest number of texts are accepted."""
    assert client.post("/invocations", json={"instances": ["a" * 10_000]}).status_code == 200
    assert client.post("/invocations", json={"instances": ["a"] * 1_000}).status_code == 200


def test_the_description_names_what_is_accepted(client: Client) -> None:
    """``GET /`` has an example that is answered as it stands, and all content types that are read."""
    described = client.get("/").json()
    assert (described["model_id"], described["kind"]) == ("12.3", "hashed-ngrams-linear")
    assert client.post("/invocations", json=described["example"]).status_code == 200
    bodies = {"application/json": "{}", "application/jsonlines": "1", "text/csv": "a,b"}
    for content_type in described["content_types"]:
        answer = client.post(
            "/invocations", headers={"Content-Type": content_type}, content=bodies[content_type]
        )
        assert answer.status_code == 400, "the body is read, and not its type refused"
    assert described["content_types"] == list(bodies)


def test_the_description_of_a_large_tensor_is_made_once(
    published: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of an image has 150,000 numbers, which would keep /ping waiting if each GET wrote them."""
    takes = TensorInput(shape=(3, 224, 224))
    description = published.description.model_copy(update={"input": takes})
    service = Service(published.environment)
    service.serve(Model(description, Vectors(), 0.0, 0.001))
    monkeypatch.setattr(AnswerWriter, "describe", None)
    client = Client(service)
    answer = client.get("/")
    client.close()
    assert np.shape(answer.json()["example"]["instances"]) == (1, 3, 224, 224)
    assert len(answer.text.splitlines()) < 50


def test_refuses_a_body_beyond_sagemakers_limit(client: Client) -> None:
    """More bytes than SageMaker forwards get 413, before they are parsed."""
    answer = client.post("/invocations", content=b" " * (MAX_BODY_BYTES + 1), headers=JSON)
    assert answer.status_code == 413


class Vectors:
    """Answers a text with a vector of 768 numbers, or, where it says so, with an error that quotes it."""

    def predict(self, instances: Sequence[str]) -> list[dict[str, Any]]:
        """The vectors."""
        if "fail" in instances:
            raise ValueError(f"cannot read {instances}")
        if "stop" in instances:
            raise StopIteration(instances)
        return [{"vector": [0.1] * 767 + [float(len(text))]} for text in instances]


def client_of_vectors(published: Any, predictor: Any) -> Client:
    """A client of an application whose model answers vectors of 768 numbers."""
    service = Service(published.environment)
    description = published.description.model_copy(update={"output": VectorOutput(length=768)})
    service.serve(Model(description, predictor, 0.0, 0.00001))
    return Client(service)


@pytest.fixture
def vectors(published: Any) -> Iterator[Client]:
    """A client of an application whose model answers long vectors."""
    client = client_of_vectors(published, Vectors())
    yield client
    client.close()


@pytest.mark.parametrize("padding", [0, SMALL_BODY_BYTES])
def test_an_answer_beyond_sagemakers_limit_is_refused(vectors: Client, padding: int) -> None:
    """A small body can ask for an answer of many megabytes: it is refused before it is computed."""
    body = json.dumps({"instances": ["a"] * 400}).encode() + b" " * padding
    answer = vectors.post("/invocations", content=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"] == (
        "The answer to 400 instances is larger than 6,291,456 bytes; send at most 372 in a request."
    )


def test_an_answer_of_the_largest_size_is_written(vectors: Client) -> None:
    """In whichever thread it is written, an answer has every prediction, in order."""
    texts = ["a" * (1 + index % 50) for index in range(372)]
    answer = vectors.post("/invocations", json={"instances": texts})
    assert answer.status_code == 200
    assert len(answer.content) < MAX_ANSWER_BYTES
    predictions = Predictions.model_validate_json(answer.content).predictions
    assert [one.output["vector"][-1] for one in predictions] == [len(text) for text in texts]  # type: ignore[index]
    lines = vectors.post(
        "/invocations", json={"instances": texts}, headers={"Accept": "application/jsonlines"}
    )
    assert [json.loads(line) for line in lines.text.splitlines()] == answer.json()["predictions"]


def test_large_answers_do_not_fill_the_memory(published: Any) -> None:
    """Of 40 requests at the same time, each with an answer of 6 MB, at most 16 are predicted together."""
    together: list[int] = []

    class Counts:
        def predict(self, instances: Sequence[str]) -> list[dict[str, Any]]:
            together.append(len(instances))
            return [{"vector": [0.1]}] * len(instances)

    client = client_of_vectors(published, Counts())
    answers = client.post_together(40, {"instances": ["a"] * 372})
    client.close()
    assert [one.status_code for one in answers] == [200] * 40
    assert sum(together) == 40 * 372
    assert max(together) <= 16 * 372


@pytest.mark.parametrize(("count", "on_the_loop"), [(10, True), (372, False)])
def test_only_small_answers_are_written_on_the_event_loop(
    vectors: Client, monkeypatch: pytest.MonkeyPatch, count: int, on_the_loop: bool
) -> None:
    """To write six megabytes takes longer than /ping should wait: another thread does it."""
    threads = []
    write = AnswerWriter.write

    def note(*arguments: Any) -> bytes:
        threads.append(threading.get_ident())
        return write(*arguments)

    monkeypatch.setattr(AnswerWriter, "write", note)
    assert vectors.post("/invocations", json={"instances": ["a"] * count}).status_code == 200
    assert (threads == [threading.get_ident()]) == on_the_loop


@pytest.mark.parametrize("padding", [0, SMALL_BODY_BYTES])
@pytest.mark.parametrize(
    ("text", "reason"), [("fail", "ValueError"), ("stop", "the kind raised StopIteration")]
)
def test_the_text_of_an_unknown_error_stays_in_the_server(
    vectors: Client, padding: int, text: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An error of a kind may quote instances, which are private: answer and log have its type and place."""
    body = json.dumps({"instances": ["secret", text]}).encode() + b" " * padding
    answer = vectors.post("/invocations", content=body, headers=JSON)
    assert (answer.status_code, answer.json()) == (500, {"error": f"The model cannot answer: {reason}."})
    logged = capsys.readouterr().err
    assert re.search(rf"The model cannot answer: {reason} \(at .*test_app\.py:\d+\)", logged)
    assert "secret" not in logged


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-npy"])
def test_refuses_other_content_types(client: Client, content_type: str | None) -> None:
    """What the server does not read is refused with what it reads."""
    headers = {"Content-Type": content_type} if content_type else {}
    answer = client.post("/invocations", content=b'{"instances": ["a"]}', headers=headers)
    assert answer.status_code == 415
    assert answer.json()["error"].endswith("send application/json or application/jsonlines or text/csv.")


def test_accepts_a_charset_beside_the_content_type(client: Client) -> None:
    """Parameters of the content type do not matter."""
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert client.post("/invocations", content=b'{"instances": ["a"]}', headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/invocations", 405),
        ("POST", "/ping", 405),
        ("GET", "/docs", 404),
        ("DELETE", "/invocations", 405),
    ],
)
def test_other_methods_and_paths_get_a_sentence(client: Client, method: str, path: str, status: int) -> None:
    """Even what no route takes is answered as {"error": …}."""
    answer = client.request(method, path)
    assert (answer.status_code, set(answer.json())) == (status, {"error"})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200) | DOCUMENTS.map(lambda value: json.dumps(value).encode()))
def test_no_body_is_answered_with_a_server_error(client: Client, body: bytes) -> None:
    """Whatever the body, the status is below 500."""
    assert client.post("/invocations", content=body, headers=JSON).status_code < 500


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(DOCUMENTS, max_size=4))
def test_no_instances_are_answered_with_a_server_error(client: Client, instances: list[object]) -> None:
    """Whatever the instances, lone surrogates and NaN too, the answer is predictions or a sentence."""
    body = json.dumps({"instances": instances}).encode()
    answer = client.post("/invocations", content=body, headers=JSON)
    assert answer.status_code in (200, 400)
    assert ("predictions" in answer.json()) == (answer.status_code == 200)
