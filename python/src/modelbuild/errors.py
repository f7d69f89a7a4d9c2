"""The errors a user can meet: one sentence with what failed, the value, and the fix.

::

    ModelbuildError            1   anything below; ``str(error)`` is the message for the user
    ├── ConfigurationError    10   an option, a parameter or a file the user wrote is wrong
    ├── AwsError              11   AWS refused a call or could not be reached
    ├── BuildkiteError        12   Buildkite refused a call or could not be reached
    ├── TrainingFailed        13   the training that this build waits for did not succeed
    ├── VerificationFailed    14   bytes or predictions are not the ones that were approved, or an image
    │                              cannot serve a model
    ├── EndpointFailed        15   SageMaker did not bring the endpoint to the requested configuration
    ├── GateFailed            16   the model does not meet a rule of the pipeline
    ├── Rejected              17   a person decided that the model is not deployed
    └── GitHubError           18   GitHub refused a call or could not be reached

The number is the exit code of the command that met the error. Click itself exits with 2 for a
command line it cannot parse; a job that is cancelled exits with 143 (128 + SIGTERM).

Any other exception is a defect. Its text is never shown or stored, because it may hold a header, an address
with a password, or a whole environment; :func:`describe` returns its type and code location.
"""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

_PACKAGE = Path(__file__).parent


class ModelbuildError(Exception):
    """The base of every error that is a message to the user and not a defect in modelbuild."""

    exit_code = 1


class ConfigurationError(ModelbuildError):
    """An option, a parameter or a file that the user wrote is wrong."""

    exit_code = 10


class AwsError(ModelbuildError):
    """AWS refused a call or could not be reached."""

    exit_code = 11


class BuildkiteError(ModelbuildError):
    """Buildkite refused a call or could not be reached."""

    exit_code = 12


class TrainingFailed(ModelbuildError):
    """The training that this build waits for did not succeed."""

    exit_code = 13


class VerificationFailed(ModelbuildError):
    """The bytes or predictions at hand are not the ones that were approved."""

    exit_code = 14


class EndpointFailed(ModelbuildError):
    """SageMaker did not bring the endpoint to the requested configuration."""

    exit_code = 15


class GateFailed(ModelbuildError):
    """The model does not meet a rule of the pipeline (option ``gates`` of notify)."""

    exit_code = 16


class Rejected(ModelbuildError):
    """A person decided that the model is not deployed."""

    exit_code = 17


class GitHubError(ModelbuildError):
    """GitHub refused a call or could not be reached."""

    exit_code = 18


def variable_error(error: ValidationError, fix: str) -> ConfigurationError:
    """The error for the first variable that was refused, without its value, which may be secret.

    Args:
        error: what reading the variables raised; the place of each of its errors is the variable's name.
        fix: where the variable has to be set.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    name = first["loc"][0]
    problem = "is not set" if first["type"] == "missing" else f"is wrong ({first['msg']})"
    return ConfigurationError(f"{name} {problem}: {fix}")


def describe(error: BaseException) -> str:
    """A text that may be shown: the message of an error, or the type and code location of a defect."""
    if isinstance(error, ModelbuildError):
        return str(error)
    kind = type(error).__name__
    # The operating system's text for the number, because the exception's own text may hold a secret.
    number = error.errno if isinstance(error, OSError) and type(error).__module__ == "builtins" else None
    summary = f"{kind} ({os.strerror(number)})" if number is not None else kind
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return f"a defect of modelbuild: {summary}"
    last = frames[-1]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
    locations = [_location(frame) for frame in ([own[-1]] if own and own[-1] is not last else []) + [last]]
    return f"a defect of modelbuild: {summary} at {', in '.join(reversed(locations))}"


def _location(frame: traceback.FrameSummary) -> str:
    return f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.lineno}"
