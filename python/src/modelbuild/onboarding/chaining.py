"""Checks role chaining: AWS limits a role that is assumed from another role to one hour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel

from modelbuild.aws.identity import caller, session
from modelbuild.errors import ConfigurationError, ModelbuildError
from modelbuild.onboarding.checks import Check
from modelbuild.onboarding.interpolation import interpolated
from modelbuild.onboarding.pipeline import Step
from modelbuild.settings import AwsSettings
from modelbuild.settings.deploy import DeploySettings
from modelbuild.settings.notify import NotifySettings
from modelbuild.settings.options import PluginOptions
from modelbuild.settings.train import TrainSettings

LONGEST_SECONDS = 3600

_PLUGINS: dict[str, type[PluginOptions]] = {
    kind.plugin: kind for kind in (TrainSettings, NotifySettings, DeploySettings)
}


def examine(steps: Sequence[Step], environ: Mapping[str, str]) -> Iterator[Check]:
    """A line for each role whose option asks for a longer session than AWS allows this agent's identity.

    If no step asks for more than an hour, AWS is not called.
    """
    for step in steps:
        for option, aws in _identities(step, environ):
            seconds = aws.role_session_duration or 0
            if seconds <= LONGEST_SECONDS or aws.oidc:
                continue
            subject = f"{option}.role-session-duration of {step.shown()}"
            try:
                agent = caller(session(AwsSettings(region=aws.region)))
            except ModelbuildError as error:
                yield Check(False, f"{subject}: {error}")
                continue
            if ":assumed-role/" in agent:
                yield Check(
                    False,
                    f"{subject}: it is {seconds}, and this agent is {agent}, a role itself: AWS refuses more "
                    f"than {LONGEST_SECONDS} seconds to a role that is assumed from another one. Remove the "
                    "option, as the credentials are renewed, or set oidc: true",
                )


def _identities(step: Step, environ: Mapping[str, str]) -> Iterator[tuple[str, AwsSettings]]:
    """The roles that the plugins of a step assume, with the options that name them."""
    for plugin in step.plugins:
        kind = _PLUGINS.get(plugin.name)
        if kind is None:
            continue
        try:
            options = kind.from_options(interpolated(plugin.options, environ))
        except ConfigurationError:
            continue  # modelbuild check names a wrong option
        yield from _within(options)


def _within(options: BaseModel, prefix: str = "") -> Iterator[tuple[str, AwsSettings]]:
    """The identities among options, at any depth, by the dotted names of their options."""
    for name, field in type(options).model_fields.items():
        option, value = f"{prefix}{field.alias or name}", getattr(options, name)
        if isinstance(value, AwsSettings):
            yield option, value
        elif isinstance(value, BaseModel):
            yield from _within(value, f"{option}.")
