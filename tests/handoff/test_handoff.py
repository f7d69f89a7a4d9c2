"""Attacks on what is between training and deployment: each is refused in a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import samples
from memory import MemoryObjects
from modelbuild.buildkite import job
from modelbuild.buildkite.trainings import TrainingMetaData
from modelbuild.contract import Manifest, TrainingResult
from modelbuild.errors import ConfigurationError, ModelbuildError, VerificationFailed
from modelbuild.handoff import approval, pins
from modelbuild.handoff.manifest import Handoff, read_manifest, read_request
from modelbuild.handoff.result import read_result

DATA = Path(__file__).parents[1] / "data" / "model-12"
MANIFEST = Manifest.model_validate_json((DATA / "manifest.json").read_bytes())
RESULT = TrainingResult.model_validate_json((DATA / "result.json").read_bytes())
REQUEST = MANIFEST.request
PREFIX = REQUEST.artifacts
ENVIRON = {
    "BUILDKITE_ORGANIZATION_SLUG": "acme",
    "BUILDKITE_PIPELINE_SLUG": "comments",
    "BUILDKITE_BUILD_NUMBER": "12",
    "BUILDKITE_BUILD_ID": "0198",
    "BUILDKITE_BUILD_URL": "https://buildkite.example/acme/comments/builds/12",
    "BUILDKITE_COMMIT": "c" * 40,
    "BUILDKITE_BRANCH": "main",
}


@dataclass
class Build:
    """Build 12 whose training succeeded: its meta-data, its variables, and what lies in S3."""

    meta_data: dict[str, str] = field(
        default_factory=lambda: {
            **RESULT.to_fields(),
            **samples.train_step_meta_data(REQUEST),
            "train/attempt": "1",
        }
    )
    environ: dict[str, str] = field(default_factory=lambda: dict(ENVIRON))
    objects: dict[str, bytes] = field(
        default_factory=lambda: {
            f"{PREFIX}/request.json": REQUEST.to_json().encode(),
            f"{PREFIX}/manifest.json": MANIFEST.to_json().encode(),
        }
    )

    def handed_over(self) -> Handoff:
        """What notify and deploy read."""
        objects = MemoryObjects()
        objects.objects = self.objects
        here = job.read(self.environ)
        result = read_result(TrainingMetaData(), objects, here)
        return read_manifest(read_request(TrainingMetaData(), objects, here), result)

    def notify(self) -> None:
        """What notify does with it."""
        pins.pin(self.handed_over(), TrainingMetaData())
        approval.pin_callback_user(TrainingMetaData(), self._unblocked_by("bot"))

    def deploy(self, *approvers: str, by: str = "grace", email: str = "grace@example.org") -> None:
        """What deploy does before it copies anything, in a job that a user unblocked."""
        pins.require_pinned(self.handed_over(), TrainingMetaData())
        approval.require(approvers, self._unblocked_by(by, email) if by else job.read(self.environ))

    def _unblocked_by(self, user: str, email: str = "") -> job.JobEnvironment:
        unblocker = {"": "A name", "_ID": user, "_EMAIL": email}
        return job.read(
            {**self.environ, **{f"BUILDKITE_UNBLOCKER{part}": value for part, value in unblocker.items()}}
        )

    def publish(self, **changes: Any) -> None:
        """Have the flow write another manifest, and fields that agree with it."""
        manifest = MANIFEST.model_copy(update=changes)
        self.objects[f"{PREFIX}/manifest.json"] = manifest.to_json().encode()
        self.meta_data |= {
            "model/data/path": manifest.artifact.path,
            "model/data/sha256": manifest.artifact.sha256,
        }


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Build:
    """A build whose agent keeps meta-data in memory."""
    build = Build()
    monkeypatch.setattr("modelbuild.buildkite.agent.get_meta_data", build.meta_data.get)
    monkeypatch.setattr("modelbuild.buildkite.agent.set_meta_data", build.meta_data.update)
    monkeypatch.setattr("modelbuild.buildkite.agent.meta_data_keys", lambda: [*build.meta_data])
    return build


def test_what_was_trained_and_shown_is_deployed(build: Build) -> None:
    """In an honest build, notify pins what deploy requires, also when either is run again."""
    for _ in range(2):
        build.notify()
    for _ in range(2):
        build.deploy()
        build.deploy("GRACE@example.org")


def elsewhere(build: Build) -> None:
    """The field leads to a manifest under another prefix, which is complete and agrees with itself."""
    forged = f"{PREFIX.rpartition('/')[0]}/13/manifest.json"
    build.objects[forged] = build.objects[f"{PREFIX}/manifest.json"]
    build.meta_data["model/manifest"] = forged


def model_elsewhere(build: Build) -> None:
    """The manifest names a model that lies under another prefix."""
    path = "s3://modelbuild-123456789012/models/comments/sentiment/13/model.tar.gz"
    build.publish(artifact=MANIFEST.artifact.model_copy(update={"path": path}))


def invented_commit(build: Build) -> None:
    """The flow publishes a request with a commit and an author that it invented."""
    about = REQUEST.build.model_copy(update={"commit": "d" * 40, "creator": "Someone Else"})
    build.publish(request=REQUEST.model_copy(update={"build": about}))


def invented_request(build: Build) -> None:
    """The flow writes over request.json too, so that the manifest agrees with it."""
    about = REQUEST.build.model_copy(update={"commit": "d" * 40})
    request = REQUEST.model_copy(update={"build": about})
    build.objects[f"{PREFIX}/request.json"] = request.to_json().encode()
    build.publish(request=request)


def other_image(build: Build) -> None:
    """The flow has another image serve its model."""
    images = REQUEST.images.model_copy(update={"serve": "evil/serve:1"})
    build.publish(request=REQUEST.model_copy(update={"images": images}))
    build.meta_data["model/image"] = "evil/serve:1"


def other_run(build: Build) -> None:
    """A field leads to a W&B run that is not this model's."""
    build.meta_data["wandb/run/url"] = "https://wandb.example/acme/comments/runs/better"


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (elsewhere, r"model/manifest is '.*/13/manifest\.json', but the manifest of this build is .*/12/"),
        (model_elsewhere, r"model/data/path is .*/13/model\.tar\.gz.* by .*/12/manifest\.json"),
        (invented_commit, r"the request in .*/12/manifest\.json is not the one of this build \(build\)"),
        (invented_request, r"/12/request\.json has SHA-256 .* but the train step stored .* was changed"),
        (other_image, r"the request in .* is not the one of this build \(images\)"),
        (other_run, r"wandb/run/url is .*/runs/better"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_forged_handover_is_refused(build: Build, attack: Callable[[Build], None], message: str) -> None:
    """What a flow, or the owner of a token, wrote leads nowhere but to the build's own model."""
    attack(build)
    with pytest.raises(VerificationFailed, match=message):
        build.notify()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("BUILDKITE_BUILD_ID", "0199", "the id of this build is '0199', but '0198' in"),
        ("BUILDKITE_COMMIT", "d" * 40, f"the commit of this build is '{'d' * 40}'"),
        ("BUILDKITE_ORGANIZATION_SLUG", "other", "the organization of this build is 'other'"),
        ("BUILDKITE_PIPELINE_SLUG", "reviews", "no prefix of build 12 of pipeline reviews"),
        ("BUILDKITE_BUILD_NUMBER", "13", "no prefix of build 13 of pipeline comments"),
        # /112 ends as /12 does only where letters are compared.
        ("BUILDKITE_BUILD_NUMBER", "2", "no prefix of build 2 of pipeline comments"),
    ],
)
def test_another_builds_training_is_refused(build: Build, variable: str, value: str, message: str) -> None:
    """Request and manifest that agree with each other must also be those of this job's build."""
    build.environ[variable] = value
    with pytest.raises(ModelbuildError, match=re.escape(message)):
        build.notify()


@pytest.mark.parametrize("message", ["HEAD", "main", "c" * 7])
def test_commit_that_buildkite_has_not_resolved_is_the_one_that_was_stored(
    build: Build, message: str
) -> None:
    """A branch may have moved on: which commit was trained is what the train step noted."""
    build.environ["BUILDKITE_COMMIT"] = message
    build.notify()
    build.deploy()


@pytest.mark.parametrize(
    "artifacts", ["models/comments/sentiment/12", "s3://b/12", "s3://bucket/models/comments/sentiment/12/x"]
)
def test_prefix_of_another_build_is_refused(build: Build, artifacts: str) -> None:
    """Without the place that the train step of this build noted, nothing is read."""
    build.meta_data["train/artifacts"] = artifacts
    with pytest.raises(VerificationFailed, match="which is no prefix of build 12 of pipeline comments"):
        build.notify()


def test_build_without_a_noted_request_is_refused(build: Build) -> None:
    """What nothing vouches for is not deployed."""
    artifacts = build.meta_data.pop("train/artifacts")
    with pytest.raises(ConfigurationError, match="train/artifacts is not set"):
        build.notify()
    build.meta_data["train/artifacts"] = artifacts
    del build.meta_data["train/request/sha256"]
    with pytest.raises(ConfigurationError, match=r"train/request/sha256 is not set.*start a new build"):
        build.notify()


def test_deployment_that_was_not_shown_is_refused(build: Build) -> None:
    """Without notify's page there is no approval, also of a later attempt."""
    with pytest.raises(ConfigurationError, match="retry that step now that the training has ended"):
        build.deploy()
    build.meta_data["train/attempt"] = "2"
    build.objects[f"{PREFIX}/attempts/2/result.json"] = RESULT.to_json().encode()
    with pytest.raises(ConfigurationError, match="notify/manifest/sha256 is not set"):
        build.deploy()
    build.notify()
    build.deploy()


def test_result_that_was_changed_after_it_was_shown_is_refused(build: Build) -> None:
    """Attempt 2 was shown and approved; then model, manifest and result are written over."""
    build.meta_data["train/attempt"] = "2"
    build.objects[f"{PREFIX}/attempts/2/result.json"] = RESULT.to_json().encode()
    build.notify()
    zeros = "0" * 64
    build.publish(artifact=MANIFEST.artifact.model_copy(update={"sha256": zeros}))
    forged = RESULT.model_copy(update={"model_sha256": zeros})
    build.objects[f"{PREFIX}/attempts/2/result.json"] = forged.to_json().encode()
    with pytest.raises(VerificationFailed, match=r"was changed after notify showed it.*nothing was deployed"):
        build.deploy()
    # Nor does showing it again help: the approval was of the other one.
    with pytest.raises(
        VerificationFailed, match=r"was changed after this build showed it.*start a new build"
    ):
        build.notify()


def test_scores_that_were_changed_after_they_were_shown_are_refused(build: Build) -> None:
    """The model is the same, and what a person read about it is not."""
    build.notify()
    better = MANIFEST.evaluation.overall.model_copy(update={"metrics": {"macro_f1": 0.99}})
    build.publish(evaluation=MANIFEST.evaluation.model_copy(update={"overall": better}))
    with pytest.raises(VerificationFailed, match=r"notify/manifest/sha256 was .* nothing was deployed"):
        build.deploy()


@pytest.mark.parametrize("approvers", [(), ("bot@example.org",)])
def test_owner_of_the_token_cannot_approve(build: Build, approvers: tuple[str, ...]) -> None:
    """The user who unblocked the training does not let it into production, whatever the option says."""
    build.notify()
    with pytest.raises(
        VerificationFailed,
        match=r"A name <bot@example\.org> unblocked this deployment, and the training",
    ):
        build.deploy(*approvers, by="bot", email="bot@example.org")


@pytest.mark.parametrize(
    ("by", "email", "message"),
    [
        ("eve", "eve@example.org", r"and A name <eve@example\.org> unblocked"),
        ("eve", "", "and A name <eve> unblocked"),
        ("", "", "and no user unblocked"),
    ],
)
def test_user_who_is_no_approver_cannot_approve(build: Build, by: str, email: str, message: str) -> None:
    """With option approvers, only those users let a deployment through."""
    build.notify()
    with pytest.raises(
        VerificationFailed, match=f"option approvers allows grace@example.org only, {message}"
    ):
        build.deploy("grace@example.org", by=by, email=email)


def test_approver_is_named_by_id_or_address(build: Build) -> None:
    """Either is enough; a name is not, because users choose their names."""
    build.notify()
    build.deploy("4735BA57-80d0-46e2-8fa0-b28223a86586", by="4735ba57-80d0-46e2-8fa0-b28223a86586", email="")


def test_first_notify_pins_the_owner_of_the_token(build: Build) -> None:
    """Notify that runs again behind an approval does not take the approver for the token's owner."""
    build.notify()
    again = samples.job_environment(BUILDKITE_UNBLOCKER_ID="grace")
    approval.pin_callback_user(TrainingMetaData(), again)
    build.deploy()
