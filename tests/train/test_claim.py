from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

import samples
from modelbuild.buildkite import trainings
from modelbuild.buildkite.trainings import follow
from modelbuild.errors import ConfigurationError
from modelbuild.settings.train import TrainSettings
from modelbuild.train.submit import claim

JOB = samples.job_environment()


class MetaData:
    """The meta-data of one build, in memory; ``before_set`` runs before each write."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.before_set: Any = lambda: None

    def meta_data_keys(self) -> list[str]:
        """The keys."""
        return list(self.values)

    def get_meta_data(self, key: str) -> str | None:
        """One value."""
        return self.values.get(key)

    def get_all_meta_data(self, keys: Iterable[str]) -> dict[str, str | None]:
        """Several values."""
        return {key: self.values.get(key) for key in keys}

    def set_meta_data(self, values: dict[str, str]) -> None:
        """Write values."""
        self.before_set()
        self.values |= values


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> MetaData:
    """The build that all steps belong to."""
    made = MetaData()
    monkeypatch.setattr(claim, "agent", made)
    monkeypatch.setattr(trainings, "agent", made)
    return made


def step(**changes: str) -> TrainSettings:
    """The options of a step that trains."""
    options = {
        "flow": "flows/shop/flow.py",
        "artifacts": "s3://bucket/models",
        "unblock": "training_finished",
    }
    images = {"default": "a", "train-gpu": "b", "serve": "c"}
    return TrainSettings.model_validate({**options, **changes, "image": images})


COLLISIONS = [
    ({}, {"flow": "flows/mail/flow.py"}, "trains model shop, and their meta-data would have the same keys"),
    ({}, {"artifacts": "s3://other/models"}, "trains model shop too"),
    ({}, {"unblock": "other"}, "trains model shop too"),
    ({}, {"model": "mail", "unblock": "other"}, "give each training of a build option model"),
    ({"model": "mail", "unblock": "other"}, {}, "give each training of a build option model"),
    ({"model": "my-model"}, {"model": "my_model", "unblock": "b"}, "same variables MY_MODEL_PARAM_…"),
    ({"model": "mail"}, {"model": "mail-param", "unblock": "b"}, "same variables MAIL_PARAM_PARAM_…"),
    ({"model": "mail-param"}, {"model": "Mail", "unblock": "b"}, "same variables MAIL_PARAM_PARAM_…"),
    ({"model": "a"}, {"model": "b"}, "training of model a unblocks the same step"),
    ({"model": "a"}, {"model": "a", "unblock": "other"}, "trains model a too"),
    ({"model": "a"}, {"model": "a", "flow": "flows/mail/flow.py"}, "trains model a too"),
]


@pytest.mark.parametrize(("first", "second", "message"), COLLISIONS)
def test_training_that_collides_is_refused(
    first: dict[str, str], second: dict[str, str], message: str, build: MetaData
) -> None:
    """A step whose keys, model or block step another training of the build has finds the claim, and leaves
    none.
    """
    claim.hold(step(**first), JOB, build.meta_data_keys())
    before = dict(build.values)
    for refuse in (claim.hold, claim.require_free):
        with pytest.raises(ConfigurationError, match=rf"{message}.*, and start a new build"):
            refuse(step(**second), JOB, build.meta_data_keys())
    assert build.values == before


def test_models_of_one_build_are_followed_by_name(build: MetaData) -> None:
    """Any number of trainings with names fit into a build; each has its own keys, and a step says which it
    follows.
    """
    for name in ("sentiment", "topics"):
        claim.hold(step(model=name, unblock=f"{name}_finished"), JOB, build.meta_data_keys())
    for name in ("sentiment", "topics"):
        assert follow(name).prefix == f"{name}/"
    follow("topics").set({"training/status": "failed"})
    assert build.values["topics/training/status"] == "failed"
    assert follow("sentiment").get("training/status") is None
    with pytest.raises(
        ConfigurationError, match="this build trains sentiment, topics: say with option model"
    ):
        follow(None)
    with pytest.raises(
        ConfigurationError, match="option model is mail, but this build trains sentiment, topics"
    ):
        follow("mail")


@pytest.mark.parametrize(("options", "prefix"), [({}, ""), ({"model": "tone"}, "tone/")])
def test_the_only_training_needs_no_name(options: dict[str, str], prefix: str, build: MetaData) -> None:
    """A step follows the build's only training without option model, and with its name: the flow's folder."""
    claim.hold(step(**options), JOB, build.meta_data_keys())
    assert follow(None).prefix == prefix
    assert follow(options.get("model", "shop")).prefix == prefix


def test_a_build_without_a_training(build: MetaData) -> None:
    """Keys are the plain ones, and the caller says which of them is missing; a name is refused."""
    assert build.values == {}
    assert follow(None).prefix == ""
    with pytest.raises(ConfigurationError, match="option model is shop, but this build has no training yet"):
        follow("shop")


@pytest.mark.parametrize(
    ("flow", "name"),
    [
        ("flows/shop/flow.py", "shop"),
        ("shop.py", "shop"),
        ("a/my_shop/train.py", "my_shop"),
        ("2nd/f.py", "2nd"),
    ],
)
def test_a_model_is_named_after_its_flow(flow: str, name: str) -> None:
    """The name is that of the flow's folder, or of a flow in the root its own."""
    assert step(flow=flow).model_name == name
    assert step(flow=flow, model="other").model_name == "other"


@pytest.mark.parametrize("flow", ["flows/2024/flow.py", "a b/flow.py", "flows/\u00e9t\u00e9/flow.py"])
def test_a_folder_that_is_no_name_needs_one(flow: str) -> None:
    """A name of digits would be a model id, and other letters are refused by AWS."""
    with pytest.raises(ConfigurationError, match=r"no name for a model.*: set option model"):
        _ = step(flow=flow).model_name


def test_retried_step_holds_its_build(build: MetaData) -> None:
    """The step goes on when it is run again, whatever other steps have tried since; it writes once."""
    claim.hold(step(), JOB, build.meta_data_keys())
    build.values[claim.claim_from_settings(step(flow="flows/mail/flow.py")).key] = "asked"
    before = dict(build.values)
    claim.hold(step(), JOB, build.meta_data_keys())
    claim.require_free(step(), JOB, build.meta_data_keys())
    assert build.values == before


def test_step_that_was_lost_while_it_asked_goes_on(build: MetaData) -> None:
    """A claim of which only the first half was written is completed by a retry."""
    (key,) = _interrupted_claim(build)
    claim.hold(step(), JOB, build.meta_data_keys())
    assert build.values == {key: "held"}


def _interrupted_claim(build: MetaData) -> list[str]:
    def lost() -> None:
        if build.values:
            raise KeyboardInterrupt

    build.before_set = lost
    with pytest.raises(KeyboardInterrupt):
        claim.hold(step(), JOB, build.meta_data_keys())
    build.before_set = lambda: None
    return list(build.values)


def test_steps_that_ask_at_once_never_both_train(build: MetaData) -> None:
    """Two steps that look before either has written see each other in their second look, at every overlap."""
    other = step(flow="flows/mail/flow.py")
    refused = []

    def meanwhile() -> None:
        build.before_set = lambda: None
        try:
            claim.hold(other, JOB, build.meta_data_keys())
        except ConfigurationError as error:
            refused.append(error)

    # The other step runs as a whole between this one's first look and its first write.
    build.before_set = meanwhile
    with pytest.raises(ConfigurationError, match="another step of this build trains model mail"):
        claim.hold(step(), JOB, build.meta_data_keys())
    assert refused == []
    with pytest.raises(ConfigurationError):
        claim.hold(step(), JOB, build.meta_data_keys())
    claim.hold(other, JOB, build.meta_data_keys())


@pytest.mark.parametrize(("count", "refused"), [("2", True), ("10", True), ("1", False), ("", False)])
def test_parallel_jobs_are_refused(count: str, refused: bool, build: MetaData) -> None:
    """A step with several jobs is refused before it claims the build."""
    job = samples.job_environment(BUILDKITE_PARALLEL_JOB_COUNT=count)
    if not refused:
        claim.hold(step(), job, build.meta_data_keys())
        return
    with pytest.raises(ConfigurationError, match=rf"parallelism {count}, and a train step has one training"):
        claim.hold(step(), job, build.meta_data_keys())
    assert build.values == {}
