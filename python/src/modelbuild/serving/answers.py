"""The body of an answer of ``/invocations``, as one JSON document or as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from modelbuild.contract import ServingEnvironment
from modelbuild.serving.body import JSON, JSON_LINES, MEDIA_TYPES, accepted_types
from modelbuild.serving.description import ModelDescription
from modelbuild.serving.outputs import Answer

_PART = 32
"""How many predictions are written at once."""


class NotFinite(Exception):
    """The model answered with a number that JSON does not have."""


class AnswerWriter:
    """Writes answers that name the model, see :class:`modelbuild.contract.Predictions`.

    It makes none of those records: pydantic would take longer than a prediction.
    """

    def __init__(self, environment: ServingEnvironment):
        self._model = {"model": environment.model, "model_id": environment.model_id}
        self._pipeline = environment.pipeline
        self._encode = json.JSONEncoder(allow_nan=False).encode
        empty = self._encode({**self._model, "pipeline": self._pipeline, "predictions": []})
        self._head = empty.removesuffix("]}")

    def write(self, answers: Sequence[Answer], media_type: str) -> bytes:
        """The answers as JSON or JSON lines: the constants of :mod:`modelbuild.serving.body`.

        Raises:
            NotFinite: a number of an answer is infinite or NaN.
        """
        predictions = [{**answer, **self._model} for answer in answers]
        try:
            if media_type == JSON_LINES:
                return "".join(self._encode(one) + "\n" for one in predictions).encode()
            # No other thread runs while a part is written.
            starts = range(0, len(predictions), _PART)
            written = ", ".join([self._encode(predictions[at : at + _PART])[1:-1] for at in starts])
            return f"{self._head}{written}]}}".encode()
        except ValueError as error:
            raise NotFinite from error

    def describe(self, description: ModelDescription) -> bytes:
        """The answer of ``GET /``: which model this is, what it takes and what it answers."""
        document = {
            **self._model,
            "pipeline": self._pipeline,
            "kind": description.kind,
            "input": description.input.model_dump(mode="json"),
            "output": description.output.model_dump(mode="json"),
            "content_types": accepted_types(description.input),
        }
        # On one line, because a tensor would fill hundreds of thousands.
        example = json.dumps({"instances": [description.input.example()]})
        return f'{json.dumps(document, indent=2)[:-2]},\n  "example": {example}\n}}\n'.encode()


def answer_type(headers: Mapping[bytes, bytes], requested: str) -> str:
    """The media type of the answer to a request of media type ``requested``.

    It is the first of header Accept that the server writes. Without one, JSON is answered with JSON, and JSON
    lines and CSV with JSON lines.
    """
    accepted = headers.get(b"accept")
    if accepted is not None and accepted != b"*/*":
        for part in accepted.decode("latin-1").lower().split(","):
            found = MEDIA_TYPES.get(part.split(";")[0].strip())
            if found in (JSON, JSON_LINES):
                return found
    return JSON if requested == JSON else JSON_LINES
