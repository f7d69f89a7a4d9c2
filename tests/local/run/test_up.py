"""``modelbuild local up``: what it starts, prints and leaves behind."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from botocore.utils import should_bypass_proxies

from modelbuild_local.aws import process
from modelbuild_local.laptop import running, state_file
from modelbuild_local.run.client import Client
from modelbuild_local.up.environment import process_environment, without_proxy
from modelbuild_local.up.seed import data_lake, production
from waiting import SECONDS


def test_accounts_are_as_their_owner_set_them_up(laptop: Any) -> None:
    """Before any build there are the two secrets, and production's bucket and roles from its template."""
    state = running(laptop.repository)
    assert state is not None
    lake = data_lake(state.aws_key_id, state.aws_secret)
    vault = lake.client("secretsmanager", endpoint_url=state.aws_url)
    secrets = {
        name: json.loads(vault.get_secret_value(SecretId=f"modelbuild/{name}")["SecretString"])
        for name in ("buildkite", "wandb")
    }
    assert secrets["wandb"] == {"WANDB_API_KEY": state.wandb_key}
    # Trainings have a bot's token and not the person's.
    assert set(secrets["buildkite"]) == {"BUILDKITE_API_TOKEN"}
    assert secrets["buildkite"]["BUILDKITE_API_TOKEN"] != state.api_token
    elsewhere = production(state.aws_url, lake)
    buckets = elsewhere.client("s3", endpoint_url=state.aws_url).list_buckets()["Buckets"]
    assert [bucket["Name"] for bucket in buckets] == ["modelbuild-222222222222"]
    roles = elsewhere.client("iam", endpoint_url=state.aws_url).list_roles()["Roles"]
    assert {"modelbuild-deploy", "modelbuild-sagemaker"} <= {role["RoleName"] for role in roles}


def test_state_is_for_the_users_eyes_only(laptop: Any) -> None:
    """The file with the tokens, and its folder, are readable for their owner only."""
    file = state_file(laptop.repository)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_second_local_up_names_the_first(laptop: Any) -> None:
    """For one repository it runs once; a second start fails and names the first."""
    state = running(laptop.repository)
    assert state is not None
    code, output = laptop.run("up")
    assert code == 10
    assert f"already runs for {laptop.repository}: Buildkite at {state.buildkite_url}" in output


def test_nothing_is_left(new_laptop: Any, tmp_path: Path) -> None:
    """However it ends, killed or stopped, no process is left, and it can be started again.

    Data lies where one says, and stays there.
    """
    data = tmp_path / "data"
    for number, code in [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 0)]:
        laptop_process, state = new_laptop.up("--data", str(data))
        services = list(state.services.values())
        assert len(services) == 4
        assert all(new_laptop.alive(pid) for pid in services)
        os.kill(laptop_process.pid, number)
        assert laptop_process.wait(SECONDS) == code
        for pid in services:
            new_laptop.until(lambda pid=pid: not new_laptop.alive(pid), f"process {pid} to end")
        assert running(new_laptop.repository) is None
    assert {"aws.log", "buildkite.log", "console.log", "wandb.log"} <= {path.name for path in data.iterdir()}
    assert not state_file(new_laptop.repository).exists()


def test_stand_ins_are_called_without_the_users_proxies(
    new_laptop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that does not answer takes no call to this machine, neither of laptop mode nor of agents."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    process, state = new_laptop.up()
    try:
        monkeypatch.setattr(os, "environ", process_environment(state))
        assert should_bypass_proxies(state.aws_url)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"PATH": "/bin"}, None),
        ({"NO_PROXY": "a.example"}, None),
        ({"HTTPS_PROXY": "http://proxy:1"}, "127.0.0.1,localhost"),
        ({"all_proxy": "http://proxy:1", "NO_PROXY": "a.example, .b.example"}, "a.example,.b.example"),
        ({"http_proxy": "x", "NO_PROXY": "upper", "no_proxy": "lower,localhost"}, "lower,localhost"),
        ({"HTTP_PROXY": "x", "no_proxy": "*"}, "*"),
    ],
)
def test_hosts_without_proxy(environ: dict[str, str], expected: str | None) -> None:
    """The user's own hosts stay, and without a proxy there is nothing to set."""
    found = without_proxy(environ)
    if expected is None:
        assert found == {}
    else:
        assert found["NO_PROXY"] == found["no_proxy"]
        assert found["no_proxy"].startswith(expected)
        assert expected == "*" or {"127.0.0.1", "localhost"} <= set(found["no_proxy"].split(","))


def test_jobs_of_a_killed_stand_in_end(new_laptop: Any, tmp_path: Path) -> None:
    """When the AWS stand-in is killed, laptop mode ends, and so do the jobs and endpoints of the stand-in."""
    laptop_process, state = new_laptop.up("--data", str(tmp_path))
    command = ["sleep", str(10 * SECONDS)]
    job = process.start(command, tmp_path, {"PATH": os.environ["PATH"]}, tmp_path / "aws")
    try:
        os.kill(state.services["aws"], signal.SIGKILL)
        assert laptop_process.wait(SECONDS) == 1
        assert job.poll() == -signal.SIGKILL
    finally:
        process.sweep(job)


def test_the_person_is_whom_git_knows(new_laptop: Any) -> None:
    """The creator and unblocker is the user of the repository's git settings, whatever is in their name."""
    name = 'Ada "the <first>" Lovelace'
    for key, value in [("user.name", name), ("user.email", "ada@example.org")]:
        subprocess.run(["git", "-C", new_laptop.repository, "config", key, value], check=True)
    process, state = new_laptop.up()
    try:
        client = Client(state)
        body = {"name": "p", "repository": "/r", "configuration": "steps: [{command: 'true'}]"}
        slug = client.post("pipelines", body)["slug"]
        build = client.post(f"pipelines/{slug}/builds", {"commit": "HEAD", "branch": "main"})
        creator = build["creator"]
        assert (creator["name"], creator["email"]) == ('Ada "the first" Lovelace', "ada@example.org")
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def test_outside_a_repository(new_laptop: Any) -> None:
    """Where there is no git repository, one sentence says so."""
    new_laptop.repository = new_laptop.repository.parent
    for command in ("up", "run"):
        code, output = new_laptop.run(command)
        assert code == 10
        assert "is not in a git repository" in output
        assert "Traceback" not in output
