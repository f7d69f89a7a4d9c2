from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from model_servers import LABELS, RightServer, running
from modelbuild.errors import ConfigurationError
from modelbuild.image_check import command, server_checks
from modelbuild.image_check.model import CheckedModel, read_model
from modelbuild.image_check.server import Server
from modelbuild.image_check.session import Session
from models import Published
from server_outcomes import examine
from waiting import SECONDS


class _ForgetsId(RightServer):
    """Its predictions name no model."""

    def document(self, outputs: list[dict[str, Any]]) -> dict[str, Any]:
        return {**super().document(outputs), "predictions": outputs}


class _ForgetsHeader(RightServer):
    """No header names the model."""

    def headers(self) -> dict[str, str]:
        return {}


class _WrongIdInOne(RightServer):
    """One of many predictions of a batch is of another model."""

    def document(self, outputs: list[dict[str, Any]]) -> dict[str, Any]:
        document = super().document(outputs)
        if len(outputs) > 4:
            document["predictions"][4]["model_id"] = "11"
        return document


class _EarlyPing(RightServer):
    """Its /ping is 200 before the model is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.loading = iter(range(3))

    def invoke(self, content_type: str, body: bytes) -> tuple[int, bytes]:
        if next(self.loading, None) is not None:
            return 503, b"The model is not loaded yet."
        return super().invoke(content_type, body)


class _GuessesEarly(RightServer):
    """Before its model is loaded it answers with a guess."""

    def __init__(self) -> None:
        super().__init__()
        self.loading = iter(range(1))

    def predict(self, text: str) -> dict[str, Any]:
        if next(self.loading, None) is not None:
            return {"label": "neutral", "scores": dict.fromkeys(LABELS, 1 / 3)}
        return super().predict(text)


class _LoadsAtFirstRequest(RightServer):
    """Its first request waits until the model is loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.loading = iter(range(1))

    def predict(self, text: str) -> dict[str, Any]:
        if next(self.loading, None) is not None:
            threading.Event().wait(2.0)
        return super().predict(text)


class _Random(RightServer):
    """Its scores change with each request."""

    def predict(self, text: str) -> dict[str, Any]:
        scores = dict.fromkeys(super().predict(text)["scores"], 0.001 * self.answered)
        return {"label": "positive", "scores": scores}


class _MixesBatch(RightServer):
    """The answers of a batch are in another order."""

    def document(self, outputs: list[dict[str, Any]]) -> dict[str, Any]:
        return super().document(outputs[::-1])


class _Traceback(RightServer):
    """A bad request gets the stack of the server."""

    def refuse(self) -> tuple[int, bytes]:
        return 500, b"_Traceback (most recent call last):\n  File ...\nKeyError: 'instances'"


class _SilentRefusal(RightServer):
    """A bad request gets no sentence."""

    def refuse(self) -> tuple[int, bytes]:
        return 400, b""


class _AnyType(RightServer):
    """It reads everything as JSON."""

    def invoke(self, _: str, body: bytes) -> tuple[int, bytes]:
        return super().invoke("application/json", body)


class _OtherLabels(RightServer):
    """Its labels are not those of model.json."""

    def predict(self, _: str) -> dict[str, Any]:
        return {"label": "good", "scores": {"good": 1.0}}


class _HugeNumber(RightServer):
    """It answers with a whole number beyond every float."""

    def predict(self, text: str) -> dict[str, Any]:
        output = super().predict(text)
        return {**output, "scores": {**output["scores"], "neutral": 10**400}}


class _NoLargeBody(RightServer):
    """It fails with a large body."""

    def invoke(self, content_type: str, body: bytes) -> tuple[int, bytes]:
        return (500, b"memory") if len(body) > 1_000_000 else super().invoke(content_type, body)


class _RefusesLargeBody(RightServer):
    """It refuses a large body, which is right."""

    def invoke(self, content_type: str, body: bytes) -> tuple[int, bytes]:
        return (413, b"too large") if len(body) > 1_000_000 else super().invoke(content_type, body)


class _FewInstances(RightServer):
    """It takes at most ten instances a request, which is right."""

    def invoke(self, content_type: str, body: bytes) -> tuple[int, bytes]:
        status, answer = super().invoke(content_type, body)
        return (400, b"too many") if status == 200 and answer.count(b"label") > 10 else (status, answer)


@pytest.mark.parametrize("behaviour", [RightServer, _RefusesLargeBody, _FewInstances])
def test_a_right_server_passes_every_check(behaviour: type[RightServer], model: CheckedModel) -> None:
    """A server that does what docs/serving.md asks fails no check, and none is left out."""
    outcomes = examine(behaviour(), model)
    assert {outcome.status for outcome in outcomes.values()} == {"ok"}, [*map(str, outcomes.values())]
    assert outcomes["golden predictions"].text == "3 golden predictions, all within the tolerance"


@pytest.mark.parametrize(
    ("behaviour", "failed", "message"),
    [
        (_ForgetsId, {"model id"}, "predictions.0.model: Field required"),
        (_ForgetsHeader, {"model id"}, "custom attributes ''"),
        (_WrongIdInOne, {"model id"}, "prediction: tone 11"),
        (_EarlyPing, {"first request"}, "status 503 and 'The model is not loaded yet.'"),
        (_GuessesEarly, {"first request"}, "it answered {"),
        (_Random, {"first request", "golden predictions", "repetition", "batch"}, "differs by"),
        (_MixesBatch, {"batch"}, "in a batch of 7"),
        (_Traceback, {"bad body", "empty body"}, 'status 500 and "_Traceback'),
        (_SilentRefusal, {"bad body", "empty body"}, "say in a sentence"),
        (_AnyType, {"wrong content type"}, "status 200"),
        (
            _OtherLabels,
            {"first request", "golden predictions", "declared output"},
            "labels are not those of model.json",
        ),
        (
            _HugeNumber,
            {"first request", "golden predictions", "declared output"},
            "beyond the range of float64",
        ),
        (_NoLargeBody, {"largest body"}, "status 500 and 'memory'"),
    ],
)
def test_a_fault_is_found_where_it_is(
    behaviour: type[RightServer], failed: set[str], message: str, model: CheckedModel
) -> None:
    """Each fault fails the checks that it concerns and no other, and the sentence shows what was answered."""
    outcomes = examine(behaviour(), model)
    wrong = {subject for subject, outcome in outcomes.items() if outcome.status != "ok"}
    assert wrong == failed, [*map(str, outcomes.values())]
    assert any(message in outcomes[subject].text for subject in failed), [*map(str, outcomes.values())]


def test_a_model_that_is_loaded_by_the_first_request_is_found(
    model: CheckedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first request that takes far longer than the second shows that /ping was 200 too early."""
    monkeypatch.setattr(server_checks, "_SLOW_SECONDS", 0.4)
    outcome = examine(_LoadsAtFirstRequest(), model)["first request"]
    assert outcome.status == "failed"
    assert "answer /ping with 503 until the model is loaded" in outcome.text


def test_a_server_that_never_predicts_is_not_checked_further(model: CheckedModel) -> None:
    """Checks that need a prediction are not made, and the line of each says so."""

    class NeverLoads(RightServer):
        def invoke(self, *_: Any) -> tuple[int, bytes]:
            return 503, b"The model is not loaded yet."

    outcomes = examine(NeverLoads(), model, seconds=0.3)
    assert outcomes.pop("first request").status == "failed"
    assert {outcome.status for outcome in outcomes.values()} == {"not checked"}
    assert "model id" in outcomes


def test_a_server_that_refuses_a_valid_instance_is_not_waited_for(model: CheckedModel) -> None:
    """It is not loading: what is wrong is said at once, and not when the time for loading is over."""

    class Refuses(RightServer):
        def invoke(self, *_: Any) -> tuple[int, bytes]:
            self.answered += 1
            return self.refuse()

    behaviour = Refuses()
    outcomes = examine(behaviour, model, seconds=SECONDS)
    assert "with status 400" in outcomes["first request"].text
    assert outcomes["batch"].text == "the server does not predict; correct that first"
    assert behaviour.answered == 2


def test_a_server_that_dies_of_a_bad_body_is_found(model: CheckedModel) -> None:
    """The check during which it dies says so, and the later ones are not blamed."""
    behaviour = RightServer()
    with running(behaviour) as running_server:

        def die() -> tuple[int, bytes]:
            running_server.shutdown()
            running_server.server_close()
            return 400, b"This was the last request."

        behaviour.refuse = die  # type: ignore[method-assign]
        session = Session(Server("127.0.0.1", running_server.server_port), model, model.identity)
        outcomes = {outcome.subject: outcome for outcome in server_checks.examine(session, 5.0)}
    assert outcomes["bad body"].status == "failed"
    assert "after a body of text that is not JSON a valid request fails" in outcomes["bad body"].text
    assert [outcomes[subject].status for subject in ("empty body", "wrong content type", "largest body")] == [
        "not checked"
    ] * 3


def test_without_instances_only_bad_requests_are_checked(tmp_path: Path) -> None:
    """Of a model.json in another format only the checks that need no instance are made."""
    (tmp_path / "model.json").write_text('{"format": "mine"}')
    model = read_model(tmp_path, None, [])
    outcomes = examine(RightServer(), model)
    assert {subject for subject, outcome in outcomes.items() if outcome.status == "ok"} == {
        "bad body",
        "empty body",
        "wrong content type",
    }
    rest = [outcome for outcome in outcomes.values() if outcome.status != "ok"]
    assert {outcome.status for outcome in rest} == {"not checked"}
    assert "model.json is not in modelbuild's format" in outcomes["batch"].text
    assert "--instance JSON" in outcomes["batch"].text


def test_an_instance_of_the_user_makes_up_for_an_unknown_format(tmp_path: Path) -> None:
    """With one instance everything but the declared output is checked."""
    (tmp_path / "weights.bin").write_bytes(b"\0\1")
    model = read_model(tmp_path, None, command.read_instances(['"It works."']))
    behaviour = RightServer()
    behaviour.names, behaviour.pipeline = {"model": "checked-model", "model_id": "1"}, "check-image"
    outcomes = examine(behaviour, model)
    unchecked = {subject for subject, outcome in outcomes.items() if outcome.status != "ok"}
    assert unchecked == {"golden predictions", "declared output"}
    assert "MODEL_DIR has no model.json" in outcomes["declared output"].text
    assert "their order was not seen" in outcomes["batch"].text


def test_a_manifest_of_another_model_is_refused(published: Published, manifest: Path) -> None:
    """Golden predictions of another model would blame the image."""
    (published.directory / "model.json").write_bytes(
        json.dumps(json.loads((published.directory / "model.json").read_text())).encode()
    )
    with pytest.raises(ConfigurationError, match=r"is of another model: model\.json"):
        read_model(published.directory, manifest, [])
