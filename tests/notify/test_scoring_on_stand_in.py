"""Rows scored by the real serving program, as a job of the AWS stand-in with the role of the stack."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import policies
import standins
import trained
from modelbuild.aws.batch.jobs import Batch
from modelbuild.aws.identity import session
from modelbuild.aws.logs import Logs
from modelbuild.aws.storage import Storage
from modelbuild.comparison.models import Scored
from modelbuild.contract import Manifest
from modelbuild.flow.publish import archive
from modelbuild.notify import scoring
from modelbuild.notify.models import read_model
from modelbuild.notify.scoring import Scorer
from modelbuild.serving.model import load
from modelbuild.settings import AwsSettings
from modelbuild.settings.notify import ScoreSettings
from modelbuild.store.model import ModelStore
from models import publish

OLD, ROWS = 300, 500
POLICY = json.loads((standins.ROOT / "docs" / "iam" / "notify.json").read_text())


@dataclass(frozen=True)
class Models:
    """A live model of real weights, and one that was evaluated on more rows."""

    live: Manifest
    ours: Manifest
    answers: list[str]

    def score(self) -> Scored:
        """What notify's step finds with the identity of this process."""
        aws = session(AwsSettings())
        storage = Storage(aws)
        scorer = Scorer(ScoreSettings(timeout=120), storage, lambda: Batch(aws))
        scored = scorer(read_model(self.ours, storage)[0], read_model(self.live, storage, self.ours)[0])
        assert scored is not None
        return scored


@pytest.fixture
def models(
    storage: Storage, on_stand_in: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Models]:
    """Both, in S3; afterwards policies are ignored again."""
    monkeypatch.setattr(scoring, "LOOK_SECONDS", 0.2)
    truth = trained.truth_of(ROWS)
    published = publish(tmp_path)
    files = {path.name: path.read_bytes() for path in published.directory.iterdir() if path.is_file()}
    answers = load(files).predict_json([f"text of row-{number:06}" for number in range(ROWS)])
    labels = [answer["label"] for answer in answers]
    model = archive(files)
    artifact = {
        "path": ModelStore(storage, f"{trained.LAKE}/comments/sentiment/1").model_uri,
        "bytes": len(model),
        "sha256": hashlib.sha256(model).hexdigest(),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    recorded = trained.evaluated(truth[:OLD], labels[:OLD])
    live = trained.store_model(storage, 1, recorded, artifact=artifact)
    storage.write(live.artifact.path, model)
    more = trained.evaluated(truth, trained.guesses(truth, 0.9, 2))
    yield Models(live, trained.store_model(storage, 2, more), labels)
    standins.enforce_policies(on_stand_in, False)


def test_the_server_of_the_live_model_scores_the_rows(models: Models, storage: Storage) -> None:
    """Its answers are those of the model, and neither its log nor what Batch shows of it has a secret."""
    scored = models.score()
    assert scored.problem == ""
    assert scored.predictions is not None
    assert scored.predictions.column("prediction").to_pylist() == models.answers
    aws = session(AwsSettings())
    [job_id] = Batch(aws).find("modelbuild-default", scored.job)
    job = Batch(aws).describe(job_id)
    assert job.environment.keys() == {
        "AWS_DEFAULT_REGION",
        "SCORE_MODEL",
        "SCORE_MODEL_SHA256",
        "SCORE_ROWS",
        "SCORE_ROWS_SHA256",
        "SCORES",
    }
    assert list(Logs(aws).new(job.log_stream)) == [
        "700 rows are scored",
        job.environment["SCORES"],
    ]
    assert models.score() == scored
    assert Batch(aws).find("modelbuild-default", scored.job) == [job_id]
    assert storage.exists(job.environment["SCORES"])


@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        (None, ""),
        ("RowsToScore", "could not write s3://"),
        ("Scores", "could not read s3://"),
        ("Look", "could not look for job"),
        ("DefinitionWithTheImageOfTheModel", "could not register job definition modelbuild-score-"),
        ("Score", "could not submit job score-comments-sentiment-1-"),
    ],
)
def test_policy_is_enough_and_each_statement_is_needed(
    models: Models, on_stand_in: str, monkeypatch: pytest.MonkeyPatch, missing: str | None, problem: str
) -> None:
    """With the documented policy notify has the rows scored; without a statement it says what was refused."""
    deregister(on_stand_in)
    policy = policies.without(POLICY, missing) if missing else POLICY
    policies.become(on_stand_in, monkeypatch, policies.as_moto_reads(policy))
    scored = models.score()
    assert scored.problem.startswith(problem)
    assert (scored.problem == "") is (missing is None), scored.problem


@pytest.mark.parametrize("missing", ["ModelAndRows", "Scores"])
def test_the_job_needs_each_statement_of_its_role(
    models: Models, on_stand_in: str, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    """Without one of them the job fails, and says in its log what was refused."""
    iam = standins.client(on_stand_in, "iam")
    names = {"RoleName": "modelbuild-score", "PolicyName": "score"}
    whole = iam.get_role_policy(**names)["PolicyDocument"]
    iam.put_role_policy(**names, PolicyDocument=json.dumps(policies.without(whole, missing)))
    try:
        policies.become(on_stand_in, monkeypatch, policies.as_moto_reads(POLICY))
        scored = models.score()
    finally:
        standins.use(monkeypatch, on_stand_in)
        standins.enforce_policies(on_stand_in, False)
        iam.put_role_policy(**names, PolicyDocument=json.dumps(whole))
    assert "failed (Essential container in task exited); see its log" in scored.problem
    aws = session(AwsSettings())
    name = scored.problem.split()[1]
    job_id = Batch(aws).find("modelbuild-default", name)[0]
    [line] = Logs(aws).new(Batch(aws).describe(job_id).log_stream)
    verb = "write" if missing == "Scores" else "read"
    assert f"could not {verb} s3://" in line
    assert "(AccessDenied)" in line


def deregister(url: str) -> None:
    """Forget the copies of the definition that earlier tests registered."""
    batch: Any = standins.client(url, "batch")
    for found in batch.describe_job_definitions(status="ACTIVE")["jobDefinitions"]:
        if found["jobDefinitionName"].startswith("modelbuild-score-"):
            batch.deregister_job_definition(jobDefinition=found["jobDefinitionArn"])
