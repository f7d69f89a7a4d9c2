"""What a report leaves out where a file cannot be read, or was changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import pytest

import trained
from compiled_reports import TRUTH, World, live_of
from memory import MemoryObjects
from modelbuild.errors import AwsError
from modelbuild.store.deployments import DeploymentHistory
from modelbuild.store.model import ModelStore


def test_the_live_model_is_compared_by_its_figures_without_its_predictions(world: World) -> None:
    """Predictions that were deleted or changed cost the interval, and the page says why."""
    live = world.deployed(1, 0.7)
    world.lake.write(live.predictions.path, b"changed")
    report = world.report(world.trained(2, 0.9))
    difference = live_of(report).metrics["macro_f1"]
    assert difference.interval is None
    assert difference.gain > 0
    assert (report.verdict.outcome, report.verdict.style) == ("not known", "warning")
    assert report.verdict.sentence.startswith(
        "Not known whether better or worse than the live model sentiment 1"
    )
    assert report.verdict.sentence.endswith("the predictions cannot be read, so there is no interval.")
    assert live_of(report).slices["class"]["neutral"].gain > 0
    assert any("has SHA-256" in problem for problem in report.unavailable)


def test_predictions_of_other_rows_than_the_evaluation_says_are_not_compared(world: World) -> None:
    """A flow may record the hash of rows that its predictions are not of: they have no common order."""
    live = world.deployed(1, 0.7)
    other = trained.evaluated(TRUTH[:900], trained.guesses(TRUTH[:900], 0.9, 1), first=5_000)
    digest = hashlib.sha256(other.predictions).hexdigest()
    claimed = live.predictions.model_copy(update={"sha256": digest, "bytes": len(other.predictions)})
    manifest = live.model_copy(update={"predictions": claimed})
    for uri in (f"{live.request.artifacts}/manifest.json", live.predictions.path):
        world.lake.delete(uri)
    ModelStore(world.lake, live.request.artifacts).write_predictions(other.predictions)
    ModelStore(world.lake, live.request.artifacts).write_manifest_once(manifest)
    trained.deploy(world.lake, world.production, manifest)
    report = world.report(world.trained(2, 0.9))
    assert live_of(report).reason == "its predictions are of other rows than its evaluation says"
    assert report.examples is not None
    assert report.examples.differences == ()


def test_the_manifest_of_a_live_model_is_read_in_production_where_the_lake_lacks_it(world: World) -> None:
    """Retention in one account must not end comparisons in the other."""
    live = world.deployed(1, 0.7)
    world.lake.delete(f"{live.request.artifacts}/manifest.json")
    assert live_of(world.report(world.trained(2, 0.9))).outcome == "better"


def test_a_manifest_that_was_changed_is_read_in_production(world: World) -> None:
    """What was deployed is known by its hash: a flow may write its own manifest, and none in production."""
    live = world.deployed(1, 0.7)
    uri = f"{live.request.artifacts}/manifest.json"
    changed = world.lake.read(uri).replace(b'"rows": 1500', b'"rows": 1501')
    world.lake.write(uri, changed)
    report = world.report(world.trained(2, 0.9))
    assert report.verdict.outcome == "better"
    assert any(f"copy in production, because {uri} has" in problem for problem in report.unavailable)

    current = DeploymentHistory(world.production, trained.PRODUCTION, "sentiment").current()
    assert current is not None
    world.production.write(current.manifest, changed)
    report = world.report(world.trained(3, 0.9))
    assert report.verdict.outcome == "not comparable"
    assert any("was deployed" in problem for problem in report.unavailable)


class Refusing(MemoryObjects):
    """S3 that refuses what a test names, and nothing else."""

    def __init__(self, objects: MemoryObjects) -> None:
        super().__init__()
        self.objects = objects.objects
        self._written = objects._written
        self.refused: Callable[[str], bool] = lambda _: False

    def _check(self, uri: str) -> None:
        if self.refused(uri):
            raise AwsError(f"could not read {uri} (AccessDenied)")

    def read(self, uri: str) -> bytes:
        """Refuse the object, or read it."""
        self._check(uri)
        return super().read(uri)

    def age(self, uri: str) -> float | None:
        """Refuse the object, or look at it."""
        self._check(uri)
        return super().age(uri)

    def list(self, prefix_uri: str) -> list[tuple[str, int]]:
        """Refuse the prefix, or list it."""
        self._check(prefix_uri)
        return super().list(prefix_uri)

    def folders(self, folder_uri: str) -> Sequence[str]:
        """Refuse the folder, or list it."""
        self._check(folder_uri)
        return super().folders(folder_uri)


@pytest.mark.parametrize(
    ("refused", "sentence", "trend", "best"),
    [
        ("/sentiment/", "The earlier models cannot be listed: could not read", 1, True),
        ("/2/manifest.json", "1 earlier model cannot be read: could not read", 2, False),
        ("/2/deployment.json", "1 earlier model cannot be read: could not read", 2, True),
        ("/macro_f1/", "The best earlier model cannot be read: could not read", 3, False),
        ("/1/manifest.json", "The live model is known by its copy in production", 2, True),
    ],
)
def test_what_s3_refuses_costs_a_sentence(
    world: World, refused: str, sentence: str, trend: int, best: bool
) -> None:
    """The page is what a person waits for: each part that cannot be read is left out by itself."""
    world.deployed(1, 0.7)
    world.trained(2, 0.95)
    manifest = world.trained(3, 0.8)
    world.lake = refusing = Refusing(world.lake)
    refusing.refused = lambda uri: uri.endswith(refused)
    report = world.report(manifest)
    assert any(problem.startswith(sentence) for problem in report.unavailable)
    assert report.verdict.outcome == "better"
    assert len(report.trend) == trend
    assert (report.compared_with("best") is not None) is best


def test_the_manifest_of_another_model_is_no_earlier_one(world: World) -> None:
    """A flow writes the manifest of its model, and must not be able to show the figures of another one."""
    first, second = (
        f"{world.trained(number, right).request.artifacts}/manifest.json"
        for number, right in ((1, 0.95), (2, 0.7))
    )
    world.lake.write(second, world.lake.read(first))
    report = world.report(world.trained(3, 0.8))
    assert [point.model_id for point in report.trend] == ["1", "3"]
    assert any("1 earlier model" in problem for problem in report.unavailable)


def test_the_live_model_is_the_newest_of_the_history(world: World) -> None:
    """A deploy step that was killed between its two writes has a record that ``current.json`` does not name,
    and the endpoint serves that model.
    """
    current = f"{trained.PRODUCTION}/_endpoints/sentiment/current.json"
    world.deployed(1, 0.7)
    before = world.production.read(current)
    world.deployed(2, 0.9)
    world.production.write(current, before)
    assert live_of(world.report(world.trained(3, 0.8))).model_id == "2"


def test_a_history_that_cannot_be_read_is_no_first_model(world: World) -> None:
    """An unreadable history must not look like an endpoint without a model."""
    world.deployed(1, 0.7)
    world.production.write(f"{trained.PRODUCTION}/_endpoints/sentiment/current.json", b"{}")
    report = world.report(world.trained(2, 0.9))
    assert report.verdict.outcome == "not comparable"
    assert "the deployments of endpoint sentiment cannot be read" in report.verdict.sentence
