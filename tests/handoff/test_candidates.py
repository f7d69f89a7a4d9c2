"""What is between a sweep and a deployment: the candidate that a person chose, and attacks on it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import samples
import sweeps
from memory import MemoryObjects
from modelbuild.buildkite import job
from modelbuild.buildkite.trainings import TrainingMetaData
from modelbuild.contract import Leaderboard, Manifest, TrainingResult
from modelbuild.contract.record import FIELD_CHARACTERS
from modelbuild.errors import ConfigurationError, VerificationFailed
from modelbuild.handoff import pins
from modelbuild.handoff.candidates import Candidates, read_approved, read_candidates
from modelbuild.handoff.fields import read_fields
from modelbuild.handoff.manifest import Handoff, read_request
from modelbuild.handoff.result import read_result
from modelbuild.store.model import ModelStore
from modelbuild.store.sweep import SweepStore

DATA = Path(__file__).parents[1] / "data" / "model-12"
MANIFEST = Manifest.model_validate_json((DATA / "manifest.json").read_bytes())
PREFIX = MANIFEST.request.artifacts
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
    """Build 12 whose sweep offers ten candidates."""

    objects: MemoryObjects = field(default_factory=MemoryObjects)
    meta_data: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sweep = sweeps.store_sweep(self.objects, MANIFEST, offered=10)
        fields = self.sweep.result.to_fields()
        self.meta_data |= {**fields, **samples.train_step_meta_data(self.sweep.request), "train/attempt": "1"}

    @property
    def ids(self) -> list[str]:
        """The ids of the candidates, the best first."""
        return [row.model_id for row in self.sweep.leaderboard.offered]

    def notify(self) -> Candidates:
        """What notify reads and pins."""
        here, meta_data = job.read(ENVIRON), TrainingMetaData()
        result = read_result(meta_data, self.objects, here)
        found = read_candidates(read_request(meta_data, self.objects, here), result)
        pins.pin(found, meta_data)
        return found

    def deploy(self, rank: str = "") -> Handoff:
        """What deploy reads for the rank that a person chose."""
        here, meta_data = job.read(ENVIRON), TrainingMetaData()
        self.meta_data["deploy/candidate"] = rank
        result = read_result(meta_data, self.objects, here)
        fields = read_fields(meta_data, "sentiment")
        return read_approved(read_request(meta_data, self.objects, here), result, meta_data, fields)

    def rank(self, **changes: Any) -> None:
        """Write the leaderboard over."""
        board = Leaderboard.model_validate({**self.sweep.leaderboard.model_dump(by_alias=True), **changes})
        SweepStore(self.objects, PREFIX).write_leaderboard(board, b"")

    def row(self, place: int, **changes: Any) -> None:
        """Write another row at a place of the leaderboard."""
        rows = [row.model_dump() for row in self.sweep.leaderboard.rows]
        rows[place] |= changes
        self.rank(rows=rows)

    def publish(self, place: int, **changes: Any) -> None:
        """Have the flow write another manifest of the candidate at a place."""
        forged = self.sweep.manifests[place].model_copy(update=changes)
        uri = f"{PREFIX}.{self.ids[place].partition('.')[2]}/manifest.json"
        self.objects.write(uri, forged.to_json().encode())

    def ask(self, place: int, **changes: Any) -> None:
        """Have the flow write another request into the manifest of the candidate at a place."""
        self.publish(place, request=self.sweep.manifests[place].request.model_copy(update=changes))


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Build:
    """A build whose agent keeps meta-data in memory."""
    build = Build()
    monkeypatch.setattr("modelbuild.buildkite.agent.get_meta_data", build.meta_data.get)
    monkeypatch.setattr("modelbuild.buildkite.agent.set_meta_data", build.meta_data.update)
    monkeypatch.setattr("modelbuild.buildkite.agent.meta_data_keys", lambda: [*build.meta_data])
    return build


def test_each_candidate_that_was_offered_can_be_deployed(build: Build) -> None:
    """The rank that a person chose leads to that candidate, as it was trained; none is the best."""
    assert build.notify().best.manifest == build.sweep.manifests[0]
    for rank, manifest in enumerate(build.sweep.manifests, 1):
        approved = build.deploy(str(rank))
        assert approved.manifest == manifest
        assert approved.result.env["MODEL_ID"] == build.ids[rank - 1]
        assert approved.result.model_path == f"{manifest.request.artifacts}/model.tar.gz"
        assert approved.result.model_sha256 == manifest.artifact.sha256
        assert approved.store.prefix == manifest.request.artifacts
    assert build.deploy("").manifest == build.deploy(" 1 ").manifest == build.sweep.manifests[0]


def test_ten_candidates_fit_into_one_value_of_meta_data(build: Build) -> None:
    """The pin is short enough for a field."""
    build.notify()
    assert len(build.meta_data["notify/candidates"]) <= FIELD_CHARACTERS


def test_a_leaderboard_that_changed_later_changes_no_rank(build: Build) -> None:
    """A rank means what notify showed, whatever the leaderboard says when a person chooses."""
    build.notify()
    rows = [row.model_dump() for row in build.sweep.leaderboard.rows]
    rows[0], rows[1] = {**rows[1], "rank": 1}, {**rows[0], "rank": 2}
    build.rank(rows=rows)
    assert build.deploy("2").manifest == build.sweep.manifests[1]
    with pytest.raises(VerificationFailed, match=r"model/manifest is .*start a new build"):
        build.notify()


@pytest.mark.parametrize("rank", ["0", "11", "-1", "01", "1.0", "12.3", "best", "1\n2", "\uff11"])
def test_a_rank_that_was_not_offered_is_refused(build: Build, rank: str) -> None:
    """Nothing but a rank from 1 to the number of offered candidates names one."""
    build.notify()
    with pytest.raises(
        ConfigurationError,
        match=r"deploy/candidate is .*notify offered 10 candidates: nothing .* a rank from 1 to 10",
    ):
        build.deploy(rank)


def test_one_offered_candidate_has_rank_1_only(build: Build) -> None:
    """The sentence about a number of candidates is right for one."""
    build.notify()
    offer = json.loads(build.meta_data["notify/candidates"])
    build.meta_data["notify/candidates"] = json.dumps({"candidates": offer["candidates"][:1]})
    with pytest.raises(ConfigurationError, match=r"but notify offered 1 candidate: .*and choose rank 1$"):
        build.deploy("2")


def test_candidates_that_were_not_shown_are_refused(build: Build) -> None:
    """Without notify's page no person has chosen; a value that no notify wrote is no offer."""
    with pytest.raises(ConfigurationError, match=r"notify/candidates is not set, so no person has been"):
        build.deploy("1")
    build.meta_data["notify/candidates"] = '{"candidates": []}'
    with pytest.raises(VerificationFailed, match=r"notify/candidates is .*which no notify step writes"):
        build.deploy("1")


def other_weights(build: Build) -> None:
    """The flow writes another model over a candidate."""
    artifact = build.sweep.manifests[1].artifact
    build.publish(1, artifact=artifact.model_copy(update={"sha256": "0" * 64}))


def better_scores(build: Build) -> None:
    """The flow writes better figures over those that were pinned."""
    evaluation = build.sweep.manifests[1].evaluation
    overall = evaluation.overall.model_copy(update={"metrics": {"macro_f1": 0.99}})
    build.publish(1, evaluation=evaluation.model_copy(update={"overall": overall}))


@pytest.mark.parametrize("attack", [other_weights, better_scores])
def test_a_candidate_that_changed_after_it_was_shown_is_refused(
    build: Build, attack: Callable[[Build], None]
) -> None:
    """Deploy requires the pin of the one that is chosen; the others can still be."""
    build.notify()
    attack(build)
    with pytest.raises(VerificationFailed, match=r"was changed after notify showed it.*nothing was deployed"):
        build.deploy("2")
    assert build.deploy("3").manifest == build.sweep.manifests[2]
    with pytest.raises(VerificationFailed, match=r"was changed after this build showed it"):
        build.notify()


def other_parameters(build: Build) -> None:
    """A candidate was trained with other values than its row says."""
    build.ask(1, parameters={"seed": 1})


def other_image(build: Build) -> None:
    """A candidate is to be served by another image."""
    images = MANIFEST.request.images.model_copy(update={"serve": "evil/serve:1"})
    build.ask(1, images=images)


def other_commit(build: Build) -> None:
    """A candidate is of a commit without a build."""
    about = MANIFEST.request.build.model_copy(update={"commit": "d" * 40})
    build.ask(0, build=about)


def model_elsewhere(build: Build) -> None:
    """A candidate's model lies under another prefix."""
    artifact = build.sweep.manifests[1].artifact.model_copy(update={"path": f"{PREFIX}/model.tar.gz"})
    build.publish(1, artifact=artifact)


def no_description(build: Build) -> None:
    """A candidate's archive has no description, by whose hash the server knows it."""
    artifact = build.sweep.manifests[1].artifact.model_copy(update={"files": {}})
    build.publish(1, artifact=artifact)


def another_builds_candidate(build: Build) -> None:
    """The leaderboard names a model of another build."""
    build.row(0, model_id="11.3")


def no_candidate(build: Build) -> None:
    """The leaderboard names a model that is no candidate."""
    build.row(0, model_id="12")


def parameter_of_no_sweep(build: Build) -> None:
    """A row sets a parameter that the sweep of the request does not."""
    build.row(0, values={"seed": 2})


def another_sweep(build: Build) -> None:
    """The leaderboard is of another sweep than the one that was requested."""
    build.rank(sweep=sweeps.sweep(seed=9))


def another_model(build: Build) -> None:
    """The leaderboard is of another model."""
    build.rank(model="topics")


def nothing_offered(build: Build) -> None:
    """The training says that it succeeded, and offers no candidate."""
    build.rank(rows=[])


def gap(build: Build) -> None:
    """A rank is left out, so that the second best would be taken for the best."""
    build.row(0, offered=False)


def other_best(build: Build) -> None:
    """A field leads to a candidate that is not the best."""
    build.meta_data["model/manifest"] = f"{PREFIX}.{build.ids[1].partition('.')[2]}/manifest.json"


def other_run(build: Build) -> None:
    """A field leads to a W&B run that is not the best candidate's."""
    build.meta_data["wandb/run/url"] = "https://wandb.example/acme/comments/runs/better"


def no_leaderboard(build: Build) -> None:
    """The leaderboard was deleted."""
    build.objects.delete(f"{PREFIX}/leaderboard.json")


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (other_parameters, r"/12\.\d+/manifest\.json is not the one of this build \(parameters\)"),
        (other_image, r"/12\.\d+/manifest\.json is not the one of this build \(images\)"),
        (other_commit, r"/12\.\d+/manifest\.json is not the one of this build \(build\)"),
        (model_elsewhere, r"names the model .*/12/model\.tar\.gz, which does not lie beside it"),
        (no_description, r"describes no model that can be served"),
        (another_builds_candidate, r"11\.3 is no candidate of the sweep of build 12"),
        (no_candidate, r"12 is no candidate of the sweep of build 12"),
        (parameter_of_no_sweep, r"has a value for seed, which the sweep of build 12 does not set"),
        (another_sweep, r"the sweep in .*/12/leaderboard\.json is not that of this build"),
        (another_model, r"the model in .*/12/leaderboard\.json is not that of this build"),
        (nothing_offered, r"offers candidates of the ranks \[\], which must be 1, 2"),
        (gap, r"offers candidates of the ranks \[2, 3, 4, 5, 6, 7, 8, 9, 10\], which must be 1, 2"),
        (other_best, r"model/manifest is .*, but the manifest of this build is "),
        (other_run, r"wandb/run/url is .*/runs/better"),
        (no_leaderboard, r"there is no .*/12/leaderboard\.json"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_forged_sweep_is_refused(build: Build, attack: Callable[[Build], None], message: str) -> None:
    """What a flow, or the owner of a token, wrote leads to no other model than the sweep's candidates."""
    attack(build)
    with pytest.raises(VerificationFailed, match=message):
        build.notify()


@pytest.mark.parametrize("attack", [other_parameters, other_image, model_elsewhere, no_description])
def test_a_pin_alone_does_not_let_a_forged_candidate_through(
    build: Build, attack: Callable[[Build], None]
) -> None:
    """Deploy checks a candidate as notify does, also one whose hashes are pinned."""
    build.notify()
    attack(build)
    content = build.objects.read(f"{PREFIX}.{build.ids[1].partition('.')[2]}/manifest.json")
    offer = json.loads(build.meta_data["notify/candidates"])
    offer["candidates"][1]["manifest_sha256"] = hashlib.sha256(content).hexdigest()
    build.meta_data["notify/candidates"] = json.dumps(offer)
    with pytest.raises(VerificationFailed):
        build.deploy("2")


def test_a_model_of_no_sweep_has_rank_1_only(build: Build) -> None:
    """The block step may have the field where the build has no sweep, and no person chooses another model."""
    result = TrainingResult.model_validate_json((DATA / "result.json").read_bytes())
    build.objects.write(f"{PREFIX}/request.json", MANIFEST.request.to_json().encode())
    build.objects.write(f"{PREFIX}/manifest.json", MANIFEST.to_json().encode())
    build.meta_data |= {**result.to_fields(), **samples.train_step_meta_data(MANIFEST.request)}
    store = ModelStore(build.objects, PREFIX)
    pins.pin(Handoff(store, result, MANIFEST, store.manifest_bytes()), TrainingMetaData())
    assert build.deploy("1").manifest == build.deploy("").manifest == MANIFEST
    with pytest.raises(ConfigurationError, match=r"this build has no sweep, .*and choose rank 1"):
        build.deploy("2")
