"""The commands that run a training in its Batch job, and that answer for one that died."""

from __future__ import annotations

import os
import signal
import sys

import click

from modelbuild.cli.options import artifacts_option


@click.command()
def head() -> None:
    """Run a training inside its Batch job.

    However it ends, the result is delivered to Buildkite.
    """
    # A SIGTERM during the imports, which take a second, would end the job without a result: it is blocked.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    from modelbuild.train.head import command as head

    sys.exit(head.run(os.environ))


@click.command()
def sweep_worker() -> None:
    """Train a share of a sweep's candidates inside a Batch job, which the head of the sweep submits."""
    from modelbuild.train.head import worker

    sys.exit(worker.run(os.environ))


@click.command()
def ended() -> None:
    """Run as the Lambda function of the stack.

    It delivers the result of a head that died.
    """
    from modelbuild.aws import function
    from modelbuild.train.recovery.ended import handler

    function.serve(handler)


@click.command()
@artifacts_option
@click.option("--queue", default="modelbuild-head", show_default=True, help="Batch queue of the heads.")
@click.option(
    "--secret",
    "secret_name",
    default="modelbuild/buildkite",
    show_default=True,
    envvar="BUILDKITE_SECRET_ARN",
    show_envvar=True,
    help="Secret with Buildkite's token, read where BUILDKITE_API_TOKEN is not set.",
)
def reconcile(artifacts: str, queue: str, secret_name: str) -> None:
    """Unblock builds that no other signal reached.

    For a pipeline on a schedule. It looks for builds that wait for a training which has ended, or which
    Batch does not know any more, and ends heads that have waited for a machine for too long.
    """
    from modelbuild.train.recovery import reconcile as reconciliation

    reconciliation.run(artifacts, queue, secret_name)
