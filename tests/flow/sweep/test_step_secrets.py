"""The secrets of a flow's steps, which its candidates have, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from metaflow import secrets, step  # type: ignore[attr-defined]

import standins
from modelbuild.contract import Sweep, TrainingRequest, Work
from modelbuild.errors import ConfigurationError
from modelbuild.flow.base import ModelFlow
from modelbuild.flow.batch import on_batch
from modelbuild.flow.sweep import step_secrets
from modelbuild.store.model import ModelStore
from modelbuild.store.sweep import SweepStore

Keep = Callable[..., str]


@pytest.fixture
def keep(on_stand_in: str, monkeypatch: pytest.MonkeyPatch) -> Keep:
    """Keeps values as a secret, whose ARN it returns; the variables are those of a worker's job."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setenv("MODEL_ID", "12")

    def made(**values: object) -> str:
        vault = standins.client(on_stand_in, "secretsmanager")
        return str(vault.create_secret(Name=uuid.uuid4().hex, SecretString=json.dumps(values))["ARN"])

    return made


def flow_with(first: str, second: str) -> type[ModelFlow]:
    """A flow whose steps ask for secrets by the variable of the first, and by the ARN of the second."""

    class MailFlow(ModelFlow):
        """Two steps on Batch, and one in Metaflow's own words."""

        @on_batch(cpu=1, memory=512, secrets=[first])
        @step
        def start(self) -> None:
            """Has the first."""

        @on_batch(cpu=1, memory=512, secrets=[first, "BUILDKITE_SECRET_ARN"])
        @step
        def train(self) -> None:
            """Has the first, and Buildkite's token."""

        @secrets(sources=[f"aws-secrets-manager.{second}"])  # type: ignore[untyped-decorator]
        @step
        def end(self) -> None:
            """Has the second."""

    return MailFlow


def test_candidates_have_the_secrets_of_all_steps(keep: Keep, monkeypatch: pytest.MonkeyPatch) -> None:
    """As variables with the names in the secrets; but for those that are left out, as Buildkite's token."""
    token = keep(BUILDKITE_API_TOKEN="bkua_of-a-person")
    monkeypatch.setenv("HF_SECRET_ARN", keep(HF_TOKEN="hf_of-the-team", HF_PORT=8080))
    monkeypatch.setenv("BUILDKITE_SECRET_ARN", token)
    flow = flow_with("HF_SECRET_ARN", keep(LAKE_PASSWORD="of-the-lake"))
    step_secrets.set_variables(flow, {token})
    found = {name: os.environ.get(name) for name in ("HF_TOKEN", "HF_PORT", "LAKE_PASSWORD")}
    assert found == {"HF_TOKEN": "hf_of-the-team", "HF_PORT": "8080", "LAKE_PASSWORD": "of-the-lake"}
    assert "BUILDKITE_API_TOKEN" not in os.environ


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"HF_TOKEN": "of another"}, "will inject 'HF_TOKEN' as env var, and it is also added by"),
        ({"PATH": "/of-a-secret"}, "will inject 'PATH' as env var, but it already exists in env"),
        (None, "Failed to retrieve secret 'no-such-secret'"),
    ],
)
def test_secrets_that_cannot_be_had_are_named(
    keep: Keep, monkeypatch: pytest.MonkeyPatch, others: dict[str, str] | None, message: str
) -> None:
    """By the secret and the variable, without a value; no variable is set then."""
    monkeypatch.setenv("HF_SECRET_ARN", keep(HF_TOKEN="hf_of-the-team"))
    monkeypatch.setenv("BUILDKITE_SECRET_ARN", "known")
    flow = flow_with("HF_SECRET_ARN", "no-such-secret" if others is None else keep(**others))
    with pytest.raises(ConfigurationError, match=message) as caught:
        step_secrets.set_variables(flow, {"known"})
    assert "of-the-team" not in str(caught.value)
    assert "HF_TOKEN" not in os.environ


FLOW = """
import os
from metaflow import step
from modelbuild.flow.base import ModelFlow
from modelbuild.flow.batch import on_batch

class MailFlow(ModelFlow):
    @on_batch(cpu=1, memory=512, secrets=["HF_SECRET_ARN"])
    @step
    def start(self):
        self.keep_rows([os.environ["HF_TOKEN"]], "rows")
        self.next(self.end)

    @step
    def end(self):
        pass
"""


def test_a_worker_sets_them_before_a_step_begins(
    keep: Keep, store: ModelStore, asked: TrainingRequest, tmp_path: Path
) -> None:
    """The job that takes the snapshot has them already: its step may need a secret to read rows."""
    sweep = Sweep.model_validate({"method": "grid", "space": {"seed": [1, 2]}})
    store.write_request_once(asked.model_copy(update={"sweep": sweep}))
    work = SweepStore(store.objects, store.prefix).write_work(Work(workers=1, processes=1, tasks=()))
    (tmp_path / "flow.py").write_text(FLOW)
    done = subprocess.run(
        [sys.executable, "-m", "modelbuild.flow.sweep.worker", "flow.py"],
        cwd=tmp_path,
        env={
            **os.environ,
            "ARTIFACTS": store.prefix,
            "SWEEP_WORK": work,
            "HF_SECRET_ARN": keep(HF_TOKEN="hf_of-the-team"),
        },
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(store.objects.read(f"{store.prefix}/data/rows.json")) == ["hf_of-the-team"]
