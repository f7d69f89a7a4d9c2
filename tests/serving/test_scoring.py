from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

import onnxruntime
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

import graphs
import onnx_models
from memory import MemoryObjects
from modelbuild.contract import Scoring, ScoringEnvironment
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.flow.packaging import package
from modelbuild.flow.publish import archive
from modelbuild.serving.inputs import TensorInput
from modelbuild.serving.kinds.hashed_ngrams import HashedNgramsModel
from modelbuild.serving.model import Model, load
from modelbuild.serving.outputs import NumberOutput, Output, VectorOutput
from modelbuild.serving.scoring import program
from modelbuild.serving.scoring.signature import Keys, sign
from models import Published

MODEL, ROWS, SCORES = (f"s3://bucket/{name}" for name in ("model.tar.gz", "rows.jsonl", "scores.json"))
TEXTS = [f"text number {number} of {number % 7}" for number in range(2_500)]


def lines(values: list[Any]) -> bytes:
    """The rows of a job."""
    return "".join(f"{json.dumps(one)}\n" for one in values).encode()


def files(published: Published) -> dict[str, bytes]:
    """The files of a model, by name."""
    return {path.name: path.read_bytes() for path in published.directory.iterdir()}


def stored(model: bytes, rows: bytes, **changes: str) -> tuple[MemoryObjects, dict[str, str]]:
    """S3 with a model and rows, and the variables of a job that scores them."""
    objects = MemoryObjects()
    objects.write(MODEL, model)
    objects.write(ROWS, rows)
    asked = ScoringEnvironment(
        model=MODEL,
        model_sha256=hashlib.sha256(model).hexdigest(),
        rows=ROWS,
        rows_sha256=hashlib.sha256(rows).hexdigest(),
        scores=SCORES,
    )
    return objects, {**asked.to_env(), **changes}


def test_rows_are_scored_as_the_server_answers_them(published: Published) -> None:
    """Each row gets the label of the model that the server would load, in the order of the rows."""
    objects, environ = stored(archive(files(published)), lines(TEXTS))
    program.run(environ, objects)
    scores = Scoring.model_validate_json(objects.read(SCORES))
    expected = [answer["label"] for answer in load(files(published)).predict_json(TEXTS)]
    assert scores.predictions == tuple(expected)
    assert len(set(expected)) > 1
    assert (scores.problem, scores.rows_sha256) == ("", environ["SCORE_ROWS_SHA256"])


def test_a_batch_is_as_large_as_the_servers(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    """The instances that are in memory at once do not grow with the rows."""
    batches = []
    predict = Model.predict

    def count(model: Any, instances: Any) -> Any:
        batches.append((len(instances), sum(map(len, instances))))
        return predict(model, instances)

    monkeypatch.setattr(Model, "predict", count)
    objects, environ = stored(archive(files(published)), lines(["x", *TEXTS, *["y" * 9_000 + " z"] * 9]))
    program.run(environ, objects)
    assert sum(rows for rows, _ in batches) == len(TEXTS) + 10
    assert all(rows <= 1_000 and size < 32_768 + 9_100 for rows, size in batches)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"area": 1}, "the model does not take row 2, which must be a text, not an object"),
        ("", "the model does not take row 2, which is empty: it has no word and no sign; send at least one"),
    ],
)
def test_rows_that_the_model_does_not_take_are_a_sentence(
    published: Published, row: Any, problem: str
) -> None:
    """The answer says which row, without what is in it, and the job ends well: another would end the same."""
    objects, environ = stored(archive(files(published)), lines(["good", row]))
    program.run(environ, objects)
    scores = Scoring.model_validate_json(objects.read(SCORES))
    assert (scores.problem, scores.predictions) == (problem, ())


def test_a_model_that_cannot_be_loaded_is_a_sentence() -> None:
    """Also bytes that are no model are an answer that the job has."""
    objects, environ = stored(b"no archive", lines(["good"]))
    program.run(environ, objects)
    assert Scoring.model_validate_json(objects.read(SCORES)).problem == "model.tar.gz is no archive of files"


def test_the_text_of_an_unknown_error_is_not_shown(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kind's own error may quote a row."""

    def fail(_: Any, instances: Any) -> Any:
        raise ValueError(instances)

    objects, environ = stored(archive(files(published)), lines(["secret"]))
    monkeypatch.setattr(Model, "predict", fail)
    program.run(environ, objects)
    scores = Scoring.model_validate_json(objects.read(SCORES))
    assert scores.problem == "the model failed at some rows with ValueError"


def test_another_number_of_answers_is_a_sentence(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with the kind is said, as the server says it."""
    predict = HashedNgramsModel.predict
    monkeypatch.setattr(HashedNgramsModel, "predict", lambda self, texts: predict(self, texts[:1]))
    objects, environ = stored(archive(files(published)), lines(["good", "bad"]))
    program.run(environ, objects)
    scores = Scoring.model_validate_json(objects.read(SCORES))
    assert scores.problem == "the model gives 1 answers to 2 instances"


@pytest.mark.parametrize("error", [MemoryError(), OSError("no space is left")])
def test_what_another_job_may_not_meet_is_no_answer(
    published: Published, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """A job without enough memory, or with a broken machine, fails: scores are written for good."""

    def fail(*_: Any) -> Any:
        raise error

    objects, environ = stored(archive(files(published)), lines(["good"]))
    monkeypatch.setattr(Model, "predict", fail)
    with pytest.raises(program.ScoringFailed, match=f"failed with {type(error).__name__}: give"):
        program.run(environ, objects)
    assert not objects.exists(SCORES)


@pytest.mark.parametrize("rows", [1, 3], ids=["example", "rows"])
def test_a_graph_that_gets_no_memory_is_no_answer(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also kind onnx, whose library raises errors of its own, fails the job: scores are written for good."""
    model = onnx_models.files(graphs.linear(outputs=1), answers=NumberOutput())
    objects, environ = stored(archive(model), lines([[1, 2, 3]] * 3))
    run = onnxruntime.InferenceSession.run

    def fail(self: Any, names: Any, feed: dict[str, Any]) -> Any:
        if len(feed["x"]) == rows:
            raise RuntimeException("Status Message: Failed to allocate memory for requested buffer of size 9")
        return run(self, names, feed)

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", fail)
    with pytest.raises(program.ScoringFailed, match="failed with MemoryError: give"):
        program.run(environ, objects)
    assert not objects.exists(SCORES)


@pytest.mark.parametrize("row", [b"{", b"[" * 100_000, b"\xff"])
def test_a_row_that_is_not_json_is_a_sentence(published: Published, row: bytes) -> None:
    """It is the row's, and not a defect of the server."""
    objects, environ = stored(archive(files(published)), lines(["good"]) + row)
    program.run(environ, objects)
    assert Scoring.model_validate_json(objects.read(SCORES)).problem == "row 2 is not JSON"


@pytest.mark.parametrize("other", [b"5\n", b"{\n"])
def test_rows_that_were_changed_are_no_answer(published: Published, other: bytes) -> None:
    """Also rows that the model does not take: what is written would be an answer to the rows asked for."""
    asked = lines(["good"])
    objects, environ = stored(
        archive(files(published)), other, SCORE_ROWS_SHA256=hashlib.sha256(asked).hexdigest()
    )
    with pytest.raises(VerificationFailed, match="but this job was asked for"):
        program.run(environ, objects)
    assert not objects.exists(SCORES)


@pytest.mark.parametrize("name", ["SCORE_MODEL_SHA256", "SCORE_ROWS_SHA256"])
def test_other_bytes_than_those_asked_for_are_no_answer(published: Published, name: str) -> None:
    """Nothing is written for a model or for rows that were changed."""
    objects, environ = stored(archive(files(published)), lines(["good"]), **{name: "0" * 64})
    with pytest.raises(VerificationFailed, match=f"but this job was asked for {'0' * 64}"):
        program.run(environ, objects)
    assert not objects.exists(SCORES)


def test_scores_are_written_once(published: Published) -> None:
    """Of two jobs with the same rows, the first one's scores stay."""
    objects, environ = stored(archive(files(published)), lines(["good"]))
    objects.write(SCORES, b"earlier")
    program.run(environ, objects)
    assert objects.read(SCORES) == b"earlier"


def test_a_variable_that_is_missing_is_named(published: Published) -> None:
    """A person who starts the program by hand learns what it wants."""
    objects, environ = stored(archive(files(published)), lines(["good"]))
    del environ["SCORE_ROWS"]
    with pytest.raises(ConfigurationError, match="SCORE_ROWS is not set: notify sets it"):
        program.run(environ, objects)


def of_vectors(answers: Output, columns: int) -> dict[str, bytes]:
    """The files of a model of three numbers, ``y = x · w`` with weights 0, 1, 2, …"""
    return package(
        kind="onnx",
        takes=TensorInput(shape=(3,)),
        answers=answers,
        options={"output": "y"},
        files={"model.onnx": graphs.linear(outputs=columns).SerializeToString()},
        parameters={},
    )


def test_numbers_are_scored() -> None:
    """The predictions of a regression are its numbers."""
    objects, environ = stored(archive(of_vectors(NumberOutput(), 1)), lines([[1, 2, 3], [0, 0, 1]]))
    program.run(environ, objects)
    assert Scoring.model_validate_json(objects.read(SCORES)).predictions == (8.0, 2.0)


def test_vectors_do_not_compare() -> None:
    """A model that answers neither a label nor a number says so."""
    objects, environ = stored(archive(of_vectors(VectorOutput(length=2), 2)), lines([[1, 2, 3]]))
    program.run(environ, objects)
    scores = Scoring.model_validate_json(objects.read(SCORES))
    assert scores.problem == "the model answers a vector, and only labels and numbers compare"


@given(
    key=st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    body=st.binary(max_size=20),
)
def test_signatures_are_those_of_botocore(key: str, body: bytes) -> None:
    """S3 accepts a request under any key: the signature is the one that botocore makes."""
    digest = hashlib.sha256(body).hexdigest()
    url = f"https://s3.us-east-1.amazonaws.com/bucket/{quote(key, safe='/-_.~')}"
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    given_headers = {"content-type": "application/json", "if-none-match": "*"}
    keys = Keys("AKIA", "very secret", "token")
    made = sign("PUT", url, given_headers, digest, keys=keys, region="us-east-1", now=now)
    authorization = made.pop("authorization")
    request = AWSRequest("PUT", url, {**made, "host": "s3.us-east-1.amazonaws.com"}, body)
    request.context["timestamp"] = made["x-amz-date"]
    auth = S3SigV4Auth(Credentials(keys.key_id, keys.secret), "s3", "us-east-1")
    expected = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    assert authorization.endswith(f"Signature={expected}")
    assert "secret" not in repr(keys)
