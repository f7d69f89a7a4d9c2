"""The GraphQL endpoint: finds the operation of a query."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from modelbuild_local.wandb.answers import Answer
from modelbuild_local.wandb.errors import MALFORMED, Refused
from modelbuild_local.wandb.runs import Operation


class GraphQL:
    """Calls operations by their names; ``unknown`` counts the unknown ones."""

    def __init__(self, operations: Mapping[str, Operation]) -> None:
        self._operations = operations
        self.unknown: Counter[str] = Counter()

    def answer(self, body: bytes) -> Answer:
        """The answer to a request's body.

        A failed operation has an error in the answer: after a status of 500 the SDK would retry for minutes.
        """
        try:
            request = json.loads(body)
            name = request.get("operationName") or _name(request["query"])
            variables: dict[str, Any] = request.get("variables") or {}
        except MALFORMED:
            return _error("The body is not a GraphQL request")
        operation = self._operations.get(name)
        if operation is None:
            self.unknown[name] += 1
            return _error(f"This server knows no operation '{name}'")
        operation_input = variables.get("input")
        try:
            return {"data": operation(operation_input if isinstance(operation_input, dict) else variables)}
        except Refused as refused:
            return _error(refused.message)
        except MALFORMED as error:
            return _error(f"'{name}' came with variables that do not fit ({type(error).__name__}: {error})")


def _name(query: str) -> str:
    match = re.search(r"\b(?:query|mutation)\s+(\w+)", query)
    return match[1] if match else "(unnamed)"


def _error(message: str) -> Answer:
    return {"data": None, "errors": [{"message": message}]}
