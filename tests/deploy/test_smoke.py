from __future__ import annotations

import io
import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.response import StreamingBody
from botocore.stub import Stubber

from modelbuild import answers
from modelbuild.aws.sagemaker import SageMaker
from modelbuild.clock import Clock
from modelbuild.contract import Manifest
from modelbuild.deploy import smoke
from modelbuild.errors import AwsError, VerificationFailed

# One session, whose clients share what botocore reads from its files.
SESSION = boto3.Session("testing", "testing", region_name="us-east-1")
MANIFEST = Manifest.model_validate_json(
    (Path(__file__).parents[1] / "data" / "model-12" / "manifest.json").read_bytes()
)
SCORES = {"negative": 0.1, "positive": 0.9}


def document(**changes: Any) -> dict[str, Any]:
    """The right answer to the one recorded input, with some parts otherwise."""
    model = {"model": "sentiment", "model_id": "12"}
    prediction = {"label": "positive", "scores": SCORES, **model} | changes.pop("prediction", {})
    return {**model, "pipeline": "comments", "predictions": [prediction]} | changes


def check(
    body: bytes,
    attributes: str = "MODEL_ID=12;MODEL=sentiment;PIPELINE=comments",
    manifest: Manifest = MANIFEST,
) -> None:
    """Compare with an endpoint that answers this."""
    sagemaker = SageMaker(SESSION)
    with Stubber(sagemaker._runtime) as stubber:
        stubber.add_response(
            "invoke_endpoint",
            {"Body": StreamingBody(io.BytesIO(body), len(body)), "CustomAttributes": attributes},
            {
                "EndpointName": "sentiment",
                "ContentType": "application/json",
                "Accept": "application/json",
                "Body": b'{"instances": ["good"]}',
            },
        )
        smoke.check(sagemaker, "sentiment", manifest)


@pytest.mark.parametrize("shift", [0.0, 0.00009, -0.00009])
def test_the_recorded_answer_passes(shift: float) -> None:
    """Scoring may differ by what another CPU rounds otherwise."""
    check(
        json.dumps(
            document(prediction={"scores": {"negative": 0.1 - shift, "positive": 0.9 + shift}})
        ).encode()
    )


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (document(model_id="11"), "answers as model sentiment 11 of comments"),
        (document(prediction={"model_id": "11"}), r"prediction: sentiment 11"),
        (document(model="topics"), "answers as model topics 12 of comments"),
        (document(prediction={"model": "topics"}), "prediction: topics 12"),
        (document(pipeline="reviews"), "of reviews"),
        (
            document(prediction={"label": "negative"}),
            r'"negative".*approved answered .*"positive".*another label',
        ),
        (
            document(prediction={"scores": {"negative": 0.1002, "positive": 0.8998}}),
            r"0\.8998.*0\.9.*scores\.negative differs by 0\.000200, and 0\.0001 is",
        ),
        (document(prediction={"scores": {"positive": 0.9}}), "scores has other fields: negative"),
        (document(predictions=[]), "with 0 predictions"),
        (["positive"], "is not the document"),
    ],
)
def test_another_answer_is_refused_with_both_shown(answer: Any, message: str) -> None:
    """The message has what came and what was to come."""
    with pytest.raises(VerificationFailed, match=message):
        check(json.dumps(answer).encode())


def test_a_score_that_is_no_number_is_refused() -> None:
    """NaN is within no distance of anything."""
    with pytest.raises(VerificationFailed):
        check(
            json.dumps(document(prediction={"scores": {"negative": float("nan"), "positive": 0.9}})).encode()
        )


@pytest.mark.parametrize(
    "attributes",
    [
        "",
        "MODEL_ID=11;MODEL=sentiment;PIPELINE=comments",
        "MODEL_ID=12;MODEL=topics;PIPELINE=comments",
        "MODEL_ID=12;MODEL=sentiment;PIPELINE=reviews",
        "MODEL_ID=12;PIPELINE=comments",
    ],
)
def test_the_headers_must_name_the_model_too(attributes: str) -> None:
    """The model id in the headers is that in the body."""
    with pytest.raises(VerificationFailed, match="custom attributes"):
        check(json.dumps(document()).encode(), attributes)


def test_a_manifest_without_recorded_answers_verifies_nothing() -> None:
    """Green by having compared nothing is not green."""
    with pytest.raises(VerificationFailed, match="records no predictions"):
        check(b"", manifest=MANIFEST.model_copy(update={"golden": ()}))


def test_a_container_that_refuses_an_input_is_not_the_approved_model() -> None:
    """A recorded input that ends in the server's error fails as another answer does."""
    sagemaker = SageMaker(SESSION)
    with Stubber(sagemaker._runtime) as stubber:
        stubber.add_client_error(
            "invoke_endpoint", "ModelError", "Received client error (400) from AllTraffic"
        )
        with pytest.raises(VerificationFailed, match=r"client error \(400\)"):
            smoke.check(sagemaker, "sentiment", MANIFEST)


@pytest.mark.parametrize("times", [1, 100])
def test_a_busy_container_is_asked_again_for_a_minute(times: int) -> None:
    """A server that answers 503 asks its clients to send the request again, and deploy is one of them: an
    update gives a new fleet the requests of all clients at once.
    """
    sagemaker, seconds = SageMaker(SESSION), [0.0]
    clock = Clock(lambda: seconds[0], lambda pause: seconds.append(seconds.pop() + pause))
    busy = {"OriginalStatusCode": 503}
    body = json.dumps(document()).encode()
    with Stubber(sagemaker._runtime) as stubber:
        for _ in range(times):
            stubber.add_client_error("invoke_endpoint", "ModelError", "busy", modeled_fields=busy)
        answer = {
            "Body": StreamingBody(io.BytesIO(body), len(body)),
            "CustomAttributes": "MODEL_ID=12;MODEL=sentiment;PIPELINE=comments",
        }
        stubber.add_response("invoke_endpoint", answer)
        with nullcontext() if times == 1 else pytest.raises(AwsError, match=r"sentiment answer \(busy\)"):
            smoke.check(sagemaker, "sentiment", MANIFEST, clock)
    assert seconds == [3.0 if times == 1 else 60.0]


def scored(label: str, **scores: float) -> dict[str, Any]:
    """An answer of a classifier."""
    return {"label": label, "scores": scores}


@pytest.mark.parametrize(
    ("expected", "found", "message"),
    [
        ({"value": 3.5}, {"value": 3.50009}, ""),
        ({"value": 35_000.0}, {"value": 35_001.0}, ""),
        ({"value": 35_000.0}, {"value": 35_004.0}, "value differs by 4.000000, and 3.5 is allowed"),
        ({"value": 3.5}, {"value": 10**400}, "value is beyond the range of float64"),
        ({"value": 1}, {"value": True}, "another value"),
        ({"item": 20_001}, {"item": 20_002}, "another item"),
        (
            {"vector": [1.0, 2.0]},
            {"vector": [1.0, 2.1]},
            "vector[1] differs by 0.100000, and 0.0002 is allowed",
        ),
        ({"vector": [1.0, 2.0]}, {"vector": [1.0]}, "vector has 1 elements, not 2"),
        ({"label": "a"}, {"label": "a", "more": 1}, "the answer has other fields: more"),
        ({"label": None}, {"label": "a"}, "another label"),
        (scored("a", a=0.50002, b=0.49998), scored("b", a=0.49998, b=0.50002), ""),
        (scored("a", a=0.6, b=0.4), scored("b", a=0.6, b=0.4), "another label"),
        (scored("a", a=0.5, b=0.5), scored("c", a=0.5, b=0.5), "another label"),
        (scored("a", a=10**400, b=0.5), scored("b", a=10**400, b=0.5), "another label"),
        ({"value": 10**400}, {"value": 0.5}, "value is beyond the range of float64"),
        (
            scored("a", a=0.5, b=0.5),
            scored("b", a=0.4, b=0.6),
            "scores.a differs by 0.100000, and 0.0001 is allowed",
        ),
    ],
)
def test_any_output_is_compared(expected: dict[str, Any], found: dict[str, Any], message: str) -> None:
    """Numbers, vectors and texts, wherever they stand in an answer: the first difference is named.

    Where two labels have the best score within the tolerance, rounding decides between them.
    """
    assert answers.difference(expected, found, 1e-4) == message
