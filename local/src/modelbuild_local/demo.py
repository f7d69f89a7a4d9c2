"""``make demo``: builds this commit, calls its endpoint, and traces one of the answers. After the set-up it
uses only commands and APIs that a user has too.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from modelbuild.contract import Predictions
from modelbuild.errors import ModelbuildError
from modelbuild_local import laptop
from modelbuild_local.laptop import DATA_LAKE_ACCOUNT, State
from modelbuild_local.run import blocks
from modelbuild_local.run.client import Client
from modelbuild_local.run.command import own_pipeline
from modelbuild_local.up.environment import process_environment
from modelbuild_local.up.seed import DEPLOY_ROLE, data_lake, production

ENDPOINT = "sentiment"
COMMENTS = (
    "What a wonderful little film, I laughed the whole way through.",
    "The battery died after two days and nobody answers my emails.",
    "The parcel arrived on Tuesday.",
)
_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.2


def main() -> None:
    """Run the demonstration; exit with 0 if all of it worked."""
    try:
        demo(laptop.repository(Path.cwd()))
    except ModelbuildError as error:
        click.echo(f"demo: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def demo(repository: Path) -> None:
    """Build the repository's current commit, call its endpoint and trace an answer.

    Raises:
        ModelbuildError: a phase failed.
    """
    asks = blocks.interactive()
    began = time.monotonic()
    with _services(repository) as state:
        _timed("services", began)
        began = build_began = time.monotonic()
        _command(state, "local", "run", *([] if asks else ["--yes"]))
        _timed("build", began)

        began = time.monotonic()
        predictions = _ask(state)
        for comment, prediction in zip(COMMENTS, predictions.predictions, strict=True):
            label, scores = prediction.output["label"], prediction.output["scores"]
            assert isinstance(label, str)
            assert isinstance(scores, dict)
            model = f"{prediction.model} {prediction.model_id}"
            click.echo(f"{label:<9} {scores[label]:.3f}  {model:<16} {comment}")
        _timed("predictions", began)

        began = time.monotonic()
        answer = state.data / "prediction.json"
        answer.write_text(predictions.predictions[0].to_json(), encoding="utf-8")
        models = f"s3://modelbuild-{DATA_LAKE_ACCOUNT}/models/{_slug(state)}"
        role = ("--production-role", DEPLOY_ROLE)
        _command(state, "trace", "--artifacts", models, "--prediction", str(answer), *role)
        _timed("trace", began)
        _timed("from commit to trace", build_began, ", your decision included" if asks else "")


def _timed(phase: str, began: float, remark: str = "") -> None:
    click.secho(f"demo: {phase:<21} {time.monotonic() - began:6.1f} s{remark}", bold=True)


@contextmanager
def _services(repository: Path) -> Iterator[State]:
    """The running laptop mode, or one that is started here and stopped at the end."""
    state = laptop.running(repository)
    if state is not None:
        yield state
        return
    log = laptop.state_folder(repository) / "up.log"
    # The services also end when this process ends in any way.
    command = [
        sys.executable,
        "-m",
        "modelbuild_local.up.supervisor",
        sys.executable,
        "-m",
        "modelbuild",
        "local",
        "up",
    ]
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            cwd=repository,
            start_new_session=True,
        )
    try:
        yield _ready(repository, process, log)
        click.echo(
            "Buildkite and W&B stop now. To look around: .venv/bin/modelbuild local up, then make demo."
        )
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(_STOP_SECONDS)


def _ready(repository: Path, process: subprocess.Popen[bytes], log: Path) -> State:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        state = laptop.running(repository)
        if state is not None:
            return state
        if process.poll() is not None:
            raise ModelbuildError(
                f"the services did not start: {log.read_text(encoding='utf-8', errors='replace').strip()}"
            )
        time.sleep(_POLL_SECONDS)
    raise ModelbuildError(f"the services did not start within {_START_SECONDS:.0f} s: see {log}")


def _command(state: State, *arguments: str) -> None:
    """Run ``modelbuild`` with these arguments, as a person would.

    Raises:
        ModelbuildError: it failed.
        KeyboardInterrupt: Ctrl-C ended it.
    """
    # The command handles Ctrl-C and cleans up.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        done = subprocess.Popen(
            [sys.executable, "-m", "modelbuild", *arguments],
            cwd=state.repository,
            env=process_environment(state),
        ).wait()
    finally:
        signal.signal(signal.SIGINT, before)
    if done == 130:
        raise KeyboardInterrupt
    if done:
        raise ModelbuildError(f"modelbuild {' '.join(arguments)} failed with exit code {done}")


def _ask(state: State) -> Predictions:
    """The endpoint's answers to the comments, through SageMaker's API."""
    try:
        lake = data_lake(state.aws_key_id, state.aws_secret)
        client: Any = production(state.aws_url, lake).client("sagemaker-runtime", endpoint_url=state.aws_url)
        answer = client.invoke_endpoint(
            EndpointName=ENDPOINT,
            ContentType="application/json",
            Body=json.dumps({"instances": list(COMMENTS)}),
        )
        return Predictions.model_validate_json(answer["Body"].read())
    except (BotoCoreError, ClientError, ValueError) as error:
        raise ModelbuildError(f"endpoint {ENDPOINT} did not answer as it should: {error}") from error


def _slug(state: State) -> str:
    """The slug of the repository's pipeline."""
    pipeline = own_pipeline(Client(state), state.repository)
    if pipeline is None:
        raise ModelbuildError(f"the local Buildkite has no pipeline of {state.repository}")
    return str(pipeline["slug"])


if __name__ == "__main__":
    main()
