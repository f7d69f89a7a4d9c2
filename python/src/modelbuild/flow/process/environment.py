"""The variables of the head that this process was started with, or none for a flow on its own."""

from __future__ import annotations

import os

from pydantic import ValidationError

from modelbuild.contract import StepEnvironment
from modelbuild.errors import variable_error


def read() -> StepEnvironment:
    """The variables of this process.

    Metaflow starts a process for each step, and reads the flow's file in it, so there is no earlier moment to
    read them than when a decorator or a method of the flow needs them.

    Raises:
        ConfigurationError: one has a wrong value.
    """
    try:
        return StepEnvironment.read(os.environ)
    except ValidationError as error:
        raise variable_error(error, "leave it to the head, or unset it for a flow on its own") from error
