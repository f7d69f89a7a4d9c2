"""Errors in the parameter file, which Metaflow's command line prints without a traceback."""

from __future__ import annotations

from metaflow.exception import MetaflowException

from modelbuild.errors import ConfigurationError


class ParameterError(ConfigurationError, MetaflowException):
    """A parameter file is wrong; Metaflow prints the message alone."""

    headline = "Wrong parameters"

    def __init__(self, message: str) -> None:
        super().__init__(message)  # type: ignore[no-untyped-call]
