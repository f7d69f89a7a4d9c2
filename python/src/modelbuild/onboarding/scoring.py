"""Checks whether notify steps can have the live model score rows that it was not evaluated on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from modelbuild.aws.account import Account
from modelbuild.aws.identity import caller, session
from modelbuild.buildkite import agent
from modelbuild.contract import SCORE_DEFINITION
from modelbuild.errors import ConfigurationError, ModelbuildError
from modelbuild.onboarding.checks import Check, no_identity, run_check
from modelbuild.onboarding.interpolation import interpolated
from modelbuild.onboarding.pipeline import Step
from modelbuild.settings import AwsSettings
from modelbuild.settings.notify import NotifySettings


def examine(steps: Sequence[Step], environ: Mapping[str, str]) -> Iterator[Check]:
    """Lines about the identity of each step that may submit such a job, and about the job's definition."""
    for aws in _accounts(steps, environ):
        try:
            found = session(aws, agent.oidc_token)
            account = Account(found)
            yield Check(True, f"identity: {caller(found)} in {account.region}")
        except ModelbuildError as error:
            yield no_identity(error)
        else:
            yield run_check(f"job definition {SCORE_DEFINITION}", partial(_definition, account))


def _definition(account: Account) -> str:
    found = account.definition(SCORE_DEFINITION)
    if found is None:
        raise ConfigurationError(
            f"there is no active one in {account.region}, so where the data changed, notify compares only "
            "the rows that both models were evaluated on: deploy the stack infra/training.yaml, or set "
            "compare-with.score-live.timeout to 0"
        )
    return f"{found.arn} as {found.job_role}"


def _accounts(steps: Sequence[Step], environ: Mapping[str, str]) -> Iterator[AwsSettings]:
    """Where the notify steps that compare submit jobs, and as whom."""
    for step in steps:
        for plugin in step.plugins:
            if plugin.name != NotifySettings.plugin:
                continue
            try:
                settings = NotifySettings.from_options(interpolated(plugin.options, environ))
            except ConfigurationError:
                continue  # modelbuild check names a wrong option
            if settings.compare_with is not None and settings.compare_with.score_live.timeout:
                yield settings.aws
