"""Laptop mode as the end-to-end tests drive it: a person's commands, and the APIs behind them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import boto3

from modelbuild_local.laptop import PRODUCTION_ACCOUNT, REGION, State, running
from modelbuild_local.run.client import Client
from modelbuild_local.up.environment import process_environment
from pipeline_changes import for_endpoint, from_train_on, train_options
from running_build import Json, Running, eventually

PREPARED = "prepared.yml"
"""A pipeline of one model without the steps that prepare an account, for the builds after the first."""
QUICK = "quick.yml"
"""The same with the flow of ``SMALL`` and its own endpoint, for builds whose model is of no interest."""
SMALL = "small/sentiment"
"""The folder that has ``flows/sentiment`` of these tests in the clone."""
_ONE_MODEL = Path(__file__).parents[2] / "fixtures" / "pipeline.yml"
_SMALL = Path(__file__).parents[1] / "flows" / "sentiment"
_MODELS = Path(__file__).parents[1] / "models"


class Laptop:
    """A clone of this repository with its own running services."""

    def __init__(self, repository: Path, state: State) -> None:
        self.repository = repository
        self.state = state
        self.client = Client(state)
        self.environment = process_environment(state)
        self.data_lake = boto3.Session(state.aws_key_id, state.aws_secret, region_name=REGION)
        role = f"arn:aws:iam::{PRODUCTION_ACCOUNT}:role/modelbuild-deploy"
        sts = self.data_lake.client("sts", endpoint_url=state.aws_url)
        keys = sts.assume_role(RoleArn=role, RoleSessionName="end-to-end")["Credentials"]
        self.production = boto3.Session(
            keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], region_name=REGION
        )

    def aws(self, service: str, session: boto3.Session | None = None) -> Any:
        """A client of the AWS stand-in, in the data lake's account unless ``session`` says otherwise."""
        account: Any = session or self.data_lake
        return account.client(service, endpoint_url=self.state.aws_url)

    def modelbuild(self, *arguments: str) -> str:
        """What ``modelbuild`` prints."""
        command = [sys.executable, "-m", "modelbuild", *arguments]
        done = subprocess.run(
            command, cwd=self.repository, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def commit(self, message: str, files: dict[str, Callable[[str], str]]) -> str:
        """Commit changed files; each is what its function makes of the present content."""
        for name, change in files.items():
            path = self.repository / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(change(path.read_text() if path.exists() else ""))
        who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        git(self.repository, "add", "--all")
        git(self.repository, *who, "commit", "--quiet", "--message", message)
        return git(self.repository, "rev-parse", "HEAD")

    @contextmanager
    def changed(self, message: str, files: dict[str, Callable[[str], str]]) -> Iterator[None]:
        """Have changed files in the commit, and their earlier content again afterwards."""
        before = {name: (self.repository / name).read_text() for name in files}
        self.commit(message, files)
        try:
            yield
        finally:
            self.commit(f"Revert: {message}", {name: partial(_put, text) for name, text in before.items()})

    @contextmanager
    def model(self, name: str, files: dict[str, Callable[[str], str]] | None = None) -> Iterator[None]:
        """Have a file of ``models/`` in the place of the small flow's model, and ``files`` changed."""
        model = partial(_put, (_MODELS / f"{name}.py").read_text())
        with self.changed(f"The {name} model", {f"{SMALL}/model.py": model, **(files or {})}):
            yield

    def commit_prepared_pipelines(self) -> None:
        """Have ``PREPARED``, ``QUICK`` and the small flow in the commit."""
        if not (self.repository / PREPARED).exists():
            shutil.copytree(
                _SMALL, self.repository / SMALL, ignore=shutil.ignore_patterns(".*", "__pycache__")
            )
            pipeline = _ONE_MODEL.read_text()
            prepared = from_train_on(pipeline)
            quick = for_endpoint(train_options(prepared, flow=f"{SMALL}/flow.py"), "quick")
            self.commit(
                "Pipelines for prepared accounts",
                {
                    PREPARED: partial(_put, json.dumps(prepared)),
                    QUICK: partial(_put, json.dumps(quick)),
                },
            )

    @contextmanager
    def build(self, *arguments: str, model: str = "sentiment") -> Iterator[Running]:
        """A build of the current commit by ``modelbuild local run``, cancelled if it outlives the block.

        Args:
            arguments: of that command.
            model: the model that the build trains.
        """
        earlier = {build["id"] for build in self._builds()}
        log = self.state.data / f"run-{time.time_ns()}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "modelbuild", "local", "run", *arguments],
                cwd=self.repository,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            build = eventually(
                lambda: next((b for b in self._builds() if b["id"] not in earlier), None), "new build", 120
            )
            path = f"pipelines/{build['pipeline']['slug']}/builds/{build['number']}"
            yield Running(self, process, log, path, model)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            process.wait(120)

    def build_beside(self, other: Running, pipeline: str) -> Running:
        """A build of the current commit whose jobs the agents of another build run as well."""
        build = self.client.post(
            f"pipelines/{other.pipeline}/builds",
            {
                "commit": git(self.repository, "rev-parse", "HEAD"),
                "branch": "main",
                "message": "beside another build",
                "env": {"LOCAL_PIPELINE_FILE": pipeline},
            },
        )
        path = f"pipelines/{other.pipeline}/builds/{build['number']}"
        return Running(self, other.process, other.log, path, other.model)

    def _builds(self) -> list[Json]:
        pipelines = self.client.get("pipelines")
        return [build for one in pipelines for build in self.client.get(f"pipelines/{one['slug']}/builds")]


def git(repository: Path, *arguments: str) -> str:
    """What git prints."""
    done = subprocess.run(
        ["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _put(text: str, _: str) -> str:
    """A change of a file that gives it another content, whatever it has."""
    return text


@contextmanager
def running_laptop(folder: Path) -> Iterator[Laptop]:
    """A clone of this repository's commit with ``modelbuild local up`` running for it."""
    repository = folder / "comments"
    origin = git(Path(__file__).parent, "rev-parse", "--show-toplevel")
    git(folder, "clone", "--quiet", origin, str(repository))
    with laptop_of(repository, folder) as laptop:
        yield laptop


@contextmanager
def laptop_of(repository: Path, folder: Path) -> Iterator[Laptop]:
    """``modelbuild local up`` running for a repository, with its data in ``folder``."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    log = folder / "up.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            # Whatever ends these tests ends the services too.
            [
                *(sys.executable, "-m", "modelbuild_local.up.supervisor"),
                *(sys.executable, "-m", "modelbuild", "local", "up", "--data", str(folder / "data")),
            ],
            cwd=repository,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:

        def look() -> State | None:
            assert process.poll() is None, log.read_text()
            return running(repository.resolve())

        yield Laptop(repository, eventually(look, f"laptop mode; see {log}", 180))
    finally:
        process.terminate()
        process.wait(120)
