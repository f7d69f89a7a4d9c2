"""The base of all options: closed models that are read from one variable."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, JsonValue, StringConstraints, ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import Self

from modelbuild.errors import ConfigurationError
from modelbuild.text import storable

CONFIGURATION = "BUILDKITE_PLUGIN_CONFIGURATION"

_OF_TEXT = ("string_pattern_mismatch", "string_too_long", "value_error")
"""The errors in a text that may go away when its variables are interpolated."""

RoleArn = Annotated[str, StringConstraints(pattern=r"^arn:[a-z-]+:iam::[0-9]{12}:role/.+$")]
Text = Annotated[str, StringConstraints(min_length=1)]
EndpointName = Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}$", max_length=63)]
"""The name of a SageMaker endpoint; hyphens count as characters, and the pattern does not count them."""


class Options(BaseModel):
    """A closed map of options."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, validate_by_name=True)


class PluginOptions(Options):
    """The options of one plugin."""

    plugin: ClassVar[str]

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Self:
        """Read the options of this plugin from the agent's environment.

        Raises:
            ConfigurationError: the variable is not set, or an option is wrong.
        """
        text = environ.get(CONFIGURATION)
        if text is None:
            raise ConfigurationError(
                f"{CONFIGURATION} is not set: run this as the command hook of the {cls.plugin} plugin on "
                "agent 3.108 or newer, and give no option the value null"
            )
        try:
            options = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(
                f"{CONFIGURATION} is not JSON ({' '.join(str(error).split())}): the agent sets it"
            ) from error
        return cls.from_options(options)

    @classmethod
    def from_options(cls, options: JsonValue) -> Self:
        """Read the options of this plugin from a step; null says that there are none.

        Raises:
            ConfigurationError: one of them is wrong.
        """
        try:
            path = _unstorable(options)
        except RecursionError as error:
            raise ConfigurationError(
                f"the options of the {cls.plugin} plugin are nested too often: nest them less"
            ) from error
        if path is not None:
            raise ConfigurationError(
                f"option {path} of the {cls.plugin} plugin holds bytes that are no text in UTF-8, or a NUL: "
                "remove them"
            )
        try:
            return cls.model_validate({} if options is None else options, by_alias=True, by_name=False)
        except ValidationError as error:
            raise ConfigurationError(_sentence(cls, error.errors(include_url=False))) from error

    @classmethod
    def wrong(cls, options: JsonValue, unknown: Callable[[object], bool]) -> str | None:
        """The first error in the options of a step in a pipeline file, or None. Text for which ``unknown`` is
        true is interpolated later, so it may have any form.
        """
        try:
            cls.model_validate({} if options is None else options, by_alias=True, by_name=False)
        except ValidationError as error:
            judged = [
                item
                for item in error.errors(include_url=False)
                if not (item["type"] in _OF_TEXT and unknown(item["input"]))
            ]
            return _sentence(cls, judged) if judged else None
        return None


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it has {name} where a number must be")


def _unstorable(value: JsonValue, path: str = "") -> str | None:
    """The dotted path of the first value with text that no document can hold."""
    if isinstance(value, str):
        return None if storable(value) == value else path or "(all)"
    if isinstance(value, dict):
        inner = [(storable(str(key)), [key, item]) for key, item in value.items()]
    elif isinstance(value, list):
        inner = [(str(number), [item]) for number, item in enumerate(value)]
    else:
        return None
    places = (
        _unstorable(item, f"{path}.{name}" if path else name) for name, items in inner for item in items
    )
    return next((found for found in places if found is not None), None)


def _sentence(model: type[PluginOptions], errors: Sequence[ErrorDetails]) -> str:
    # Imported here: most hooks have no wrong option, and start faster without this module.
    from modelbuild.settings.validation import sentence

    return sentence(model, model.plugin, errors)
