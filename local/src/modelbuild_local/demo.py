"""``make demo``: builds this commit, calls the endpoint of each of its models, and traces an answer of each.
After the set-up it uses only commands and APIs that a user has too.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from botocore.exceptions import BotoCoreError, ClientError

from modelbuild import cache
from modelbuild.contract import Prediction, Predictions
from modelbuild.errors import ModelbuildError
from modelbuild_local import laptop
from modelbuild_local.laptop import DATA_LAKE_ACCOUNT, State
from modelbuild_local.run import blocks
from modelbuild_local.run.client import Client
from modelbuild_local.run.command import own_pipeline
from modelbuild_local.up.environment import process_environment, without_proxy
from modelbuild_local.up.seed import DEPLOY_ROLE, data_lake, production

TEXTS = {
    "sentiment": (
        "What a wonderful little film, I laughed the whole way through.",
        "The battery died after two days and nobody answers my emails.",
        "The parcel arrived on Tuesday.",
    ),
    "topics": (
        "The striker scored twice in the second half.",
        "Shares fell after the bank reported a loss.",
        "The new phone has a faster chip and a better camera.",
    ),
}
"""What the endpoint of each model is asked."""

_START_SECONDS = 90.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.2


def main() -> None:
    """Run the demonstration; exit with 0 if all of it worked."""
    os.environ.update(without_proxy(os.environ))
    try:
        with cache.errors_explained():
            demo(laptop.repository(Path.cwd()))
    except ModelbuildError as error:
        click.echo(f"demo: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)


def demo(repository: Path) -> None:
    """Build the repository's current commit, call the endpoint of each model and trace an answer of each.

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
        answers = {endpoint: _ask(state, endpoint, texts) for endpoint, texts in TEXTS.items()}
        for endpoint, answer in answers.items():
            for text, prediction in zip(TEXTS[endpoint], answer.predictions, strict=True):
                click.echo(_line(text, prediction))
        _timed("predictions", began)

        began = time.monotonic()
        for answer in answers.values():
            _trace(state, answer.predictions[0])
        _timed("traces", began)
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


def _ask(state: State, endpoint: str, texts: Sequence[str]) -> Predictions:
    """An endpoint's answers to texts, through SageMaker's API."""
    try:
        lake = data_lake(state.aws_key_id, state.aws_secret)
        client: Any = production(state.aws_url, lake).client("sagemaker-runtime", endpoint_url=state.aws_url)
        answer = client.invoke_endpoint(
            EndpointName=endpoint,
            ContentType="application/json",
            Body=json.dumps({"instances": list(texts)}),
        )
        return Predictions.model_validate_json(answer["Body"].read())
    except (BotoCoreError, ClientError, ValueError) as error:
        raise ModelbuildError(f"endpoint {endpoint} did not answer correctly: {error}") from error


def _line(text: str, prediction: Prediction) -> str:
    """A text with the label that an endpoint gave it, and the model that it runs."""
    label, scores = prediction.output["label"], prediction.output["scores"]
    assert isinstance(label, str)
    assert isinstance(scores, dict)
    return f"{label:<13} {scores[label]:.3f}  {prediction.model:<9} {prediction.model_id}  {text}"


def _trace(state: State, prediction: Prediction) -> None:
    """Print the way from a prediction back to its build, commit and data."""
    file = state.data / "prediction.json"
    file.write_text(prediction.to_json(), encoding="utf-8")
    models = f"s3://modelbuild-{DATA_LAKE_ACCOUNT}/models/{_slug(state)}"
    _command(
        state,
        *("trace", "--artifacts", models, "--prediction", str(file), "--production-role", DEPLOY_ROLE),
    )


def _slug(state: State) -> str:
    """The slug of the repository's pipeline."""
    pipeline = own_pipeline(Client(state), state.repository)
    if pipeline is None:
        raise ModelbuildError(f"the local Buildkite has no pipeline of {state.repository}")
    return str(pipeline["slug"])


if __name__ == "__main__":
    main()
