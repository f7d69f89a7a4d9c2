"""``modelbuild local up``: starts the services, sets up the accounts, and stops everything at the end."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from modelbuild import git
from modelbuild.errors import ConfigurationError, ModelbuildError
from modelbuild_local import clone, laptop
from modelbuild_local.aws import process
from modelbuild_local.laptop import ORGANIZATION, State
from modelbuild_local.up import services
from modelbuild_local.up.environment import agent_environment
from modelbuild_local.up.seed import data_lake, seed

_START_SECONDS = 60.0
_WATCH_SECONDS = 0.5


def run(repository: Path, data: Path | None, teams: Sequence[str] = ()) -> None:
    """Serve for ``repository`` until Ctrl-C or SIGTERM.

    Args:
        repository: root of the git repository whose builds will run.
        data: folder for logs, artifacts and checkouts; by default one in the cache, emptied first.
        teams: slugs of the Buildkite teams of this user; by default all teams.

    Raises:
        ConfigurationError: it already runs for this repository.
        ModelbuildError: a service did not start, or ended by itself.
    """
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    with (
        _exclusive_lock(repository),
        _started(repository, _data(repository, data), teams) as (state, started),
    ):
        print(_description(state), flush=True)
        while not stop.wait(_WATCH_SECONDS):
            for service in started:
                if service.process.poll() is not None:
                    raise ModelbuildError(f"the local {service.name} ended: see {service.log}")
        print("Stopping", file=sys.stderr, flush=True)


@contextmanager
def _exclusive_lock(repository: Path) -> Iterator[None]:
    """Hold the repository's lock, which the system releases when this process ends."""
    with laptop.lock_file(repository).open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            state = laptop.running(repository)
            where = f"Buildkite at {state.buildkite_url}, process {state.pid}" if state else "it is starting"
            raise ConfigurationError(f"modelbuild local up already runs for {repository}: {where}") from None
        # A process that was killed leaves its state.
        laptop.state_file(repository).unlink(missing_ok=True)
        yield


def _data(repository: Path, data: Path | None) -> Path:
    if data is None:
        data = laptop.state_folder(repository) / "data"
        shutil.rmtree(data, ignore_errors=True)
    data = data.resolve()
    if re.search(r"\s", str(data)):
        raise ConfigurationError(
            f"{data} has white space in its path, and Metaflow's steps cannot run there: name another folder "
            "with --data, or set XDG_CACHE_HOME"
        )
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"cannot make {data} ({error.strerror}): name another folder with --data"
        ) from error
    return data


@contextmanager
def _started(
    repository: Path, data: Path, teams: Sequence[str]
) -> Iterator[tuple[State, list[services.Service]]]:
    agent_token, api_token, bot_token, wandb_key = (secrets.token_hex(20) for _ in range(4))
    key_id, secret = f"LAPTOP{secrets.token_hex(7).upper()}", secrets.token_hex(20)
    page_key, web_identity_key = secrets.token_urlsafe(18), secrets.token_hex(32)
    commands = {
        "buildkite": [
            *("--organization", ORGANIZATION, "--user", _person(repository)),
            *("--data", str(data / "buildkite")),
            *(word for team in teams for word in ("--team", team)),
        ],
        "aws": [
            *("--scratch", str(data / "aws"), "--bin", str(Path(sys.executable).parent)),
            # A folder of the repository replaces no image of modelbuild.
            *("--images", str(clone.require("docker")), "--images", str(repository / "docker")),
        ],
        "wandb": ["--data", str(data / "wandb")],
    }
    secrets_of: dict[str, dict[str, str]] = {
        "buildkite": {
            "agent_token": agent_token,
            "api_token": api_token,
            "bot_token": bot_token,
            "page_key": page_key,
            "web_identity_key": web_identity_key,
        },
        "aws": {"key_id": key_id, "secret": secret, "web_identity_key": web_identity_key},
        "wandb": {"api_key": wandb_key, "page_key": page_key},
    }
    started: list[services.Service] = []
    with ExitStack() as stack:
        # Undone in reverse order: remove the state, ask all services to end, wait for them, and kill the jobs
        # and endpoints of an AWS stand-in that was killed.
        stack.callback(process.kill_left, data / "aws")
        stack.callback(_call_each, started, services.Service.wait)
        stack.callback(_call_each, started, services.Service.end)
        for name, arguments in commands.items():
            (data / name).mkdir(exist_ok=True)
            module = f"modelbuild_local.{name}"
            started.append(services.start(name, module, ["--port", "0", *arguments], data, secrets_of[name]))
        urls = {service.name: service.url(_START_SECONDS) for service in started}
        console = services.start(
            "console",
            "modelbuild_local.console",
            ["--port", "0", "--aws", urls["aws"]],
            data,
            {"key_id": key_id, "secret": secret, "page_key": page_key},
        )
        started.append(console)
        secrets_of_jobs = {
            "modelbuild/buildkite": {"BUILDKITE_API_TOKEN": bot_token},
            "modelbuild/wandb": {"WANDB_API_KEY": wandb_key},
        }
        seed(
            urls["aws"], data_lake(key_id, secret), f"{urls['buildkite']}/v2", urls["wandb"], secrets_of_jobs
        )
        urls["console"] = console.url(_START_SECONDS)
        state = State(
            pid=os.getpid(),
            services={service.name: service.process.pid for service in started},
            repository=repository,
            data=data,
            buildkite_url=urls["buildkite"],
            aws_url=urls["aws"],
            console_url=urls["console"],
            wandb_url=urls["wandb"],
            agent_token=agent_token,
            api_token=api_token,
            wandb_key=wandb_key,
            aws_key_id=key_id,
            aws_secret=secret,
            page_key=page_key,
        )
        stack.callback(laptop.state_file(repository).unlink, missing_ok=True)
        laptop.write_state(state)
        yield state, started


def _person(repository: Path) -> str:
    """This machine's user, from git's configuration, who creates builds and unblocks steps."""
    name, address = (
        re.sub(r"[<>\x00-\x1f\x7f]", "", git.setting(repository, key)).strip()
        for key in ("user.name", "user.email")
    )
    return f"{name or 'Local user'} <{''.join(address.split()) or 'user@localhost'}>"


def _call_each(started: list[services.Service], action: Callable[[services.Service], None]) -> None:
    for service in started:
        action(service)


def _description(state: State) -> str:
    """The addresses of the pages, and the variables for a shell; the tokens are valid only for these
    services.
    """
    variables = {
        **agent_environment(state),
        "BUILDKITE_API_TOKEN": state.api_token,
        "WANDB_API_KEY": state.wandb_key,
    }
    return "\n".join(
        [
            f"Buildkite         {state.page(f'{state.buildkite_url}/{ORGANIZATION}')}",
            f"AWS               {state.aws_url}",
            f"AWS console       {state.page(f'{state.console_url}/')}",
            f"Weights & Biases  {state.page(f'{state.wandb_url}/')}",
            f"Logs and data     {state.data}",
            "",
            "# For a shell of your own; the tokens open only these services of this machine.",
            *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
            "",
            "Ready: modelbuild local run builds the current commit. Ctrl-C stops everything.",
        ]
    )
