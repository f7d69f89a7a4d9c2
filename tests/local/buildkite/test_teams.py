from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

import standins
from modelbuild_local.buildkite.engine import Engine
from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.identity import User
from modelbuild_local.buildkite.pages.rows import job_row
from modelbuild_local.buildkite.pages.training import training_status
from modelbuild_local.buildkite.state import Job

ADA = User("1", "Ada", "ada@example.org")


def blocked(tmp_path: Path, block: dict[str, Any]) -> tuple[Engine, Job]:
    """An engine with a build that waits at a block step, and the step's job."""
    engine = Engine("local", ADA, tmp_path)
    steps = [{"block": "deploy?", **block}]
    pipeline = engine.create_pipeline("demo", "/repository", json.dumps({"steps": steps}))
    build = engine.create_build(pipeline, commit="HEAD", branch="main")
    return engine, build.steps[0].job


@pytest.mark.parametrize("teams", ["approvers", ["approvers", "admins"]])
def test_step_for_a_team_is_unblocked_by_its_members_alone(tmp_path: Path, teams: Any) -> None:
    """Every other user gets 403, also the bot, who belongs to no team, and the step stays blocked."""
    engine, job = blocked(tmp_path, {"allowed_teams": teams})
    for outsider in (engine.bot, replace(ADA, teams=("everyone",)), replace(ADA, teams=())):
        with pytest.raises(Refused) as refused:
            engine.unblock(job, {}, outsider)
        assert (refused.value.status, refused.value.message) == (403, "Forbidden")
    assert job.state == "blocked"
    engine.unblock(job, {}, replace(ADA, teams=("everyone", "approvers")))
    assert engine.jobs[job.id].state == "unblocked"


def test_step_without_teams_is_for_everybody(tmp_path: Path) -> None:
    """Only the bot opens the block of a training; the user of the machine belongs to every team."""
    engine, job = blocked(tmp_path, {})
    engine.unblock(job, {}, engine.bot)
    engine, job = blocked(tmp_path, {"allowed_teams": "approvers"})
    engine.unblock(job, {}, engine.user)


@pytest.mark.parametrize(
    ("status", "shown"), [("succeeded", "succeeded"), ("failed", "failed"), ("cancelled", "canceled")]
)
def test_block_of_a_training_looks_as_the_training_ended(tmp_path: Path, status: str, shown: str) -> None:
    """A failed training is no green step, and no person stands beside it."""
    fields = [{"text": "Status", "key": "training/status", "required": False}]
    engine, job = blocked(tmp_path, {"fields": fields, "blocked_state": "running"})
    assert (job_row(job, engine.clock.now()).state, training_status(job)) == ("in training", "")
    engine.unblock(job, {"training/status": status}, engine.bot)
    row = job_row(job, engine.clock.now())
    assert (row.state, training_status(job)) == (shown, status)
    assert row.job.unblocked_by is not None
    assert row.job.unblocked_by.name == "Training (API)"


def test_bots_token_opens_the_trainings_block_and_no_teams(tmp_path: Path) -> None:
    """Through the API: the bot is a user of its own, and does not get further by naming a member."""
    options = ("--user", "Ada <ada@example.org>", "--team", "approvers", "--data", tmp_path)
    secrets = {"api_token": "b", "bot_token": "c"}
    with (
        standins.started("buildkite", *options, secrets=secrets) as running,
        httpx.Client(base_url=f"{running.url}/v2/organizations/local") as rest,
    ):
        ada, bot = ({"Authorization": f"Bearer {token}"} for token in "bc")
        users = [rest.get(f"{running.url}/v2/user", headers=who).json() for who in (ada, bot)]
        assert [user["name"] for user in users] == ["Ada", "Training (API)"]
        steps = [{"block": "training"}, {"block": "deploy?", "allowed_teams": ["approvers"]}]
        pipeline = {"name": "demo", "repository": "/r", "configuration": json.dumps({"steps": steps})}
        assert rest.post("/pipelines", json=pipeline, headers=ada).status_code == 201
        about = {"commit": "HEAD", "branch": "main"}
        build = rest.post("/pipelines/demo/builds", json=about, headers=ada).json()
        training, deploy = (job["id"] for job in build["jobs"])
        assert rest.put(f"/jobs/{training}/unblock", json={}, headers=bot).status_code == 200
        for body in ({}, {"unblocker": users[0]["id"]}):
            refused = rest.put(f"/jobs/{deploy}/unblock", json=body, headers=bot)
            assert (refused.status_code, refused.json()) == (403, {"message": "Forbidden"})
        named = rest.put(f"/jobs/{deploy}/unblock", json={"unblocker": users[1]["id"]}, headers=ada)
        assert named.status_code == 403
        opened = rest.put(f"/jobs/{deploy}/unblock", json={}, headers=ada).json()
        assert opened["unblocked_by"]["name"] == "Ada"
