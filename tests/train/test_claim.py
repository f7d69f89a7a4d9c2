from __future__ import annotations

from typing import Any

import pytest

from modelbuild.errors import ConfigurationError
from modelbuild.settings.train import TrainSettings
from modelbuild.train.submit import claim


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

    def set_meta_data(self, values: dict[str, str]) -> None:
        """Write values."""
        self.before_set()
        self.values |= values


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> MetaData:
    """The build that all steps belong to."""
    made = MetaData()
    monkeypatch.setattr(claim, "agent", made)
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


OTHERS = [{"flow": "flows/mail/flow.py"}, {"artifacts": "s3://other/models"}, {"unblock": "other"}]


@pytest.mark.parametrize("changes", OTHERS)
def test_second_training_of_a_build_is_refused(changes: dict[str, str], build: MetaData) -> None:
    """A step with another flow, other artifacts or another block finds the claim, and leaves none."""
    claim.hold(step(), {}, build.meta_data_keys())
    before = dict(build.values)
    with pytest.raises(ConfigurationError, match=r"another step of this build trains flows/shop/flow\.py"):
        claim.hold(step(**changes), {}, build.meta_data_keys())
    with pytest.raises(ConfigurationError, match="another step of this build trains"):
        claim.require_free(step(**changes), {}, build.meta_data_keys())
    assert build.values == before


def test_retried_step_holds_its_build(build: MetaData) -> None:
    """The step goes on when it is run again, whatever other steps have tried since; it writes once."""
    claim.hold(step(), {}, build.meta_data_keys())
    build.values[f"{claim.META_DATA}other"] = "asked flows/mail/flow.py"
    before = dict(build.values)
    claim.hold(step(), {}, build.meta_data_keys())
    claim.require_free(step(), {}, build.meta_data_keys())
    assert build.values == before


def test_step_that_was_lost_while_it_asked_goes_on(build: MetaData) -> None:
    """A claim of which only the first half was written is completed by a retry."""
    (key,) = _asked(build)
    claim.hold(step(), {}, build.meta_data_keys())
    assert build.values == {key: "held flows/shop/flow.py"}


def _asked(build: MetaData) -> list[str]:
    def lost() -> None:
        if build.values:
            raise KeyboardInterrupt

    build.before_set = lost
    with pytest.raises(KeyboardInterrupt):
        claim.hold(step(), {}, build.meta_data_keys())
    build.before_set = lambda: None
    return list(build.values)


def test_steps_that_ask_at_once_never_both_train(build: MetaData) -> None:
    """Two steps that look before either has written see each other in their second look, at every overlap."""
    other = step(flow="flows/mail/flow.py")
    refused = []

    def meanwhile() -> None:
        build.before_set = lambda: None
        try:
            claim.hold(other, {}, build.meta_data_keys())
        except ConfigurationError as error:
            refused.append(error)

    # The other step runs as a whole between this one's first look and its first write.
    build.before_set = meanwhile
    with pytest.raises(ConfigurationError, match="another step of this build trains flows/mail"):
        claim.hold(step(), {}, build.meta_data_keys())
    assert refused == []
    with pytest.raises(ConfigurationError):
        claim.hold(step(), {}, build.meta_data_keys())
    claim.hold(other, {}, build.meta_data_keys())


@pytest.mark.parametrize(("count", "refused"), [("2", True), ("10", True), ("1", False), ("", False)])
def test_parallel_jobs_are_refused(count: str, refused: bool, build: MetaData) -> None:
    """A step with several jobs is refused before it claims the build."""
    environ = {"BUILDKITE_PARALLEL_JOB_COUNT": count}
    if not refused:
        claim.hold(step(), environ, build.meta_data_keys())
        return
    with pytest.raises(ConfigurationError, match=rf"parallelism {count}, and a build has one training"):
        claim.hold(step(), environ, build.meta_data_keys())
    assert build.values == {}
