"""The requests to one server, and what its answers say of the model that made them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from pydantic import JsonValue, ValidationError
from pydantic_core import from_json

from modelbuild.answers import Identity, difference, read_predictions, shortened, shortened_bytes
from modelbuild.contract import CUSTOM_ATTRIBUTES_HEADER, Predictions
from modelbuild.errors import VerificationFailed
from modelbuild.image_check.model import CheckedModel
from modelbuild.image_check.outcome import NotChecked
from modelbuild.image_check.server import Answer, Server, instances_body

TOLERANCE = 1e-4
"""How far two answers to one instance may be apart where no golden prediction says it."""

Output = dict[str, JsonValue]


class Session:
    """Sends instances to a server and checks that each of its answers names the model.

    A wrong name is kept and not raised, so that a server without names is still checked in other respects.

    Attributes:
        server: the server.
        model: what it serves.
        identity: the names that its answers must have, or None where they are not known.
        tolerance: how far two answers to one instance may be apart.
    """

    def __init__(self, server: Server, model: CheckedModel, identity: Identity | None) -> None:
        self.server = server
        self.model = model
        self.identity = identity
        self.tolerance = max((golden.tolerance for golden in model.golden), default=TOLERANCE)
        self._lock = threading.Lock()
        self._answers = self._predictions = 0
        self._wrong_identity = ""

    def predict(self, instances: Sequence[JsonValue]) -> list[Output]:
        """The output for each instance.

        Raises:
            VerificationFailed: there is no answer with as many predictions.
        """
        return self.read(self.server.invoke(instances_body(instances)), len(instances))

    def read(self, answer: Answer, instances: int) -> list[Output]:
        """The outputs in an answer.

        Raises:
            VerificationFailed: it is no answer with as many predictions.
        """
        if answer.status != 200:
            raise VerificationFailed(
                f"the server answers {instances} valid instance{'s' * (instances != 1)} with status "
                f"{answer.status} and {shortened_bytes(answer.body)}; answer with 200 and predictions"
            )
        self._note_identity(answer, instances)
        predictions = _predictions(answer.body)
        if predictions is None or len(predictions) != instances:
            raise VerificationFailed(
                f"the server answers {instances} instance{'s' * (instances != 1)} with "
                f"{shortened_bytes(answer.body)}; answer with a JSON object in which predictions is a list "
                f"of {instances} object{'s' * (instances != 1)}"
            )
        return [{key: one[key] for key in one if key not in ("model", "model_id")} for one in predictions]

    def require_same(self, expected: Sequence[Output], found: Sequence[Output], when: str) -> None:
        """Require the same outputs.

        Raises:
            VerificationFailed: one differs by more than the tolerance.
        """
        for number, (one, other) in enumerate(zip(expected, found, strict=True), 1):
            if wrong := difference(one, other, self.tolerance):
                raise VerificationFailed(
                    f"instance {number} is answered with {shortened(one)}, and {when} with "
                    f"{shortened(other)} ({wrong})"
                )

    def describe_identity(self) -> str:
        """Which model all answers so far named.

        Raises:
            VerificationFailed: one did not name it, or another one.
        """
        if self._wrong_identity:
            raise VerificationFailed(
                f"{self._wrong_identity}; take MODEL_NAME, MODEL_ID and MODEL_PIPELINE from the environment "
                f"and put them into the body, into each prediction and into header {CUSTOM_ATTRIBUTES_HEADER}"
            )
        return f"{self._answers:,} answers with {self._predictions:,} predictions name {self.identity}"

    def _note_identity(self, answer: Answer, instances: int) -> None:
        attributes = answer.headers.get(CUSTOM_ATTRIBUTES_HEADER.lower(), "")
        with self._lock:
            self._answers += 1
            self._predictions += instances
        try:
            if self.identity is None:
                self.identity = _named_by(answer.body)
            read_predictions(answer.body, attributes, self.identity, instances)
        except VerificationFailed as error:
            self._wrong_identity = self._wrong_identity or str(error)


def _named_by(body: bytes) -> Identity:
    try:
        read = Predictions.model_validate_json(body)
    except ValidationError as error:
        raise VerificationFailed(
            f"the server answers {shortened_bytes(body)}, which does not name its model"
        ) from error
    return Identity(model=read.model, model_id=read.model_id, pipeline=read.pipeline)


def _predictions(body: bytes) -> list[dict[str, Any]] | None:
    try:
        # Unlike json, it refuses what is nested too often to be shown.
        document = from_json(body)
    except ValueError:
        return None
    predictions = document.get("predictions") if isinstance(document, dict) else None
    if not isinstance(predictions, list) or not all(isinstance(one, dict) for one in predictions):
        return None
    return predictions


def instances_of(model: CheckedModel) -> tuple[JsonValue, ...]:
    """The instances that the checks send.

    Raises:
        NotChecked: there are none.
    """
    if not model.instances:
        raise NotChecked(
            f"{model.unknown}, so no instance is known: give --manifest FILE with golden predictions, "
            "or --instance JSON"
        )
    return model.instances
