"""The models of a pipeline, and which of them may be compared."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recorded
from leaderboards import OLD_ROWS, board, experiment, parameters, scene
from memory import MemoryObjects
from modelbuild.contract import Metric, Quality
from modelbuild.contract.report import Interval
from modelbuild.experiments.models import Answer
from modelbuild.leaderboard.intervals import measure
from modelbuild.leaderboard.ranking import differing, tables
from modelbuild.leaderboard.records import Board, Entry, EvaluationRows, Table
from modelbuild.leaderboard.table import COLUMNS, render


def names(table: Table) -> list[str]:
    """The entries of a table, the best first."""
    return [entry.name for entry in table.entries]


def test_each_evaluation_set_has_a_table_of_its_own() -> None:
    """Only models that were evaluated on the same rows are ranked together; the newest rows come first.

    An older model with a larger value on other rows is not above the newer ones.
    """
    found = board(*scene())
    assert [table.rows.sha256 for table in found.tables] == ["5" * 64, recorded.TEST_ROWS, OLD_ROWS]
    validation, test, old = found.tables
    assert names(validation) == ["sentiment 12.2", "sentiment 12.3", "sentiment 12.4"]
    assert names(test) == [
        "sentiment 12.2",
        "sentiment of-a-notebook",
        "sentiment 12.3",
        "sentiment 7",
        "sentiment 8",
    ]
    assert names(old) == ["sentiment 3"]
    assert [entry.rank for entry in test.entries] == [1, 2, 3, 4, 5]


def test_the_table_on_a_terminal(golden: Callable[[str, str], None]) -> None:
    """It fits 100 columns, where no word is longer."""
    text = render(board(*scene()))
    golden("board.txt", text + "\n")
    assert max(map(len, text.splitlines())) <= COLUMNS


def test_what_is_not_shown_is_said() -> None:
    """Candidates without a rank, experiments on rows of no model, and what W&B could not give."""
    found = board(*scene())
    assert (found.models, found.sweeps, found.experiments) == (5, 1, 2)
    assert found.notes == (
        "Experiment sentiment running is still running.",
        "Not shown: 1 experimental run on rows that no model was evaluated on.",
        "Not shown: 1 candidate that failed, stopped early, or did not meet a constraint.",
    )


def test_a_model_without_the_metric_of_its_table_is_counted() -> None:
    """So is a run that crashed before it was evaluated, which is on no rows at all."""
    objects, _ = scene()
    other = Metric(name="cost", title="cost", better="lower")
    newest = {"metrics": (other,), "primary": "cost", "overall": Quality(rows=9, metrics={"cost": 2.0})}
    newest |= {"slices": {}, "baselines": {}}
    made = recorded.manifest("20", parameters=parameters(1.0), created_at="2026-02-01T00:00:00+00:00")
    changed = made.evaluation.model_copy(update=newest)
    recorded.put(objects, made.model_copy(update={"evaluation": changed}))
    found = board(objects, Answer(experiments=(experiment("crashed", 0.5, rows=""),)))
    assert names(found.tables[0]) == ["sentiment 20"]
    assert found.notes[:2] == (
        "Not shown: 1 experimental run that was not evaluated.",
        "Not shown: 4 models or runs that lack the metric of the table of their rows.",
    )


def test_a_candidate_has_all_parameters() -> None:
    """Those of the sweep's file, with the values that were tried."""
    tried = board(*scene()).tables[0].entries[2]
    assert tried.parameters == {"seed": 1, "training.epochs": 3, "training.learning_rate": 2.0}
    assert (tried.branch, tried.creator) == ("grace/longer-n-grams-for-tweets", "Grace Hopper")


def test_a_deployed_model_is_marked() -> None:
    """By the newest deployment of the model."""
    deployed = {entry.name: entry.deployed_at for entry in board(*scene()).tables[1].entries}
    assert deployed.pop("sentiment 7") == "2026-01-02T12:00:00+00:00"
    assert set(deployed.values()) == {""}


def test_a_table_has_no_more_rows_than_were_asked_for() -> None:
    """The best are kept, their number is said, and what differs is found among them."""
    test = board(*scene(), limit=1).tables[1]
    assert (names(test), test.count) == (["sentiment 12.2"], 5)
    assert "The best 1 of 5 are shown." in " ".join(render(board(*scene(), limit=1)).split())
    assert differing(test.entries) == []


def test_one_name_of_models_can_be_chosen() -> None:
    """Of models and of experiments; another name has none."""
    objects, answer = scene()
    recorded.put(objects, recorded.manifest("9", model="topics", parameters=parameters(1.0)))
    every = {entry.model for table in board(objects, answer).tables for entry in table.entries}
    assert every == {"sentiment", "topics"}
    chosen = board(objects, answer, model="topics")
    assert [names(table) for table in chosen.tables] == [["topics 9"]]
    assert board(objects, answer, model="other").tables == ()


@pytest.mark.parametrize("answer", [Answer(), Answer(experiments=(experiment("alone", 0.5),))])
def test_a_pipeline_without_models_is_a_sentence(answer: Answer) -> None:
    """It says where was looked, and what to correct."""
    text = render(board(MemoryObjects(), answer))
    assert text.startswith(
        f"no model that was evaluated lies in {recorded.ROOT}: train one, or correct PIPELINE"
    )


class Counted(MemoryObjects):
    """S3 that counts what is read and listed."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def read(self, uri: str) -> bytes:
        """The bytes of an object."""
        self.counts[uri.rsplit("/", 1)[1]] += 1
        return super().read(uri)

    def folders(self, folder_uri: str) -> list[str]:
        """The names of folders."""
        self.counts["list"] += 1
        return [*super().folders(folder_uri)]


def test_s3_is_asked_for_a_manifest_of_each_model_and_little_else() -> None:
    """A listing of the names and one of each name; deployments only of what is shown."""
    objects = Counted()
    for number in range(1, 31):
        made = recorded.manifest(str(number), parameters=parameters(number / 10), metric=number / 100)
        recorded.put(objects, made)
    objects.counts.clear()
    found = board(objects, limit=5)
    assert found.models == 30
    assert objects.counts == {"list": 2, "manifest.json": 30, "deployment.json": 5}


def test_a_record_that_cannot_be_read_does_not_hide_the_others() -> None:
    """Of another version, or of another build: the note has the first, with its place."""
    objects, _ = scene()
    objects.write(f"{recorded.ROOT}/sentiment/14/manifest.json", b'{"version": 2}')
    moved = objects.read(f"{recorded.ROOT}/sentiment/7/manifest.json")
    objects.write(f"{recorded.ROOT}/sentiment/15/manifest.json", moved)
    found = board(objects)
    assert found.models == 5
    assert (
        "sentiment/15/manifest.json is the manifest of another build (its model id is 7)" in found.notes[-1]
    )
    assert "(and 1 more)" in found.notes[-1]


def test_the_interval_is_that_of_the_sweep_or_of_the_predictions() -> None:
    """Of a model that a sweep chose it is on record; of others it is computed if the value is the same."""
    objects, answer = scene()
    truth = ["good", "bad"] * 50
    table = pa.table(
        {"id": [f"{n:03}" for n in range(100)], "truth": truth, "prediction": ["good"] * 10 + truth[10:]}
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    content = buffer.getvalue()
    right = 0.949874686716792
    for model_id, metric in (("20", right), ("21", 0.9)):
        made = recorded.manifest(model_id, parameters=parameters(1.0), metric=metric)
        written = {"bytes": len(content), "rows": 100, "sha256": hashlib.sha256(content).hexdigest()}
        made = made.model_copy(update={"predictions": made.predictions.model_copy(update=written)})
        recorded.put(objects, made).write_predictions(content)
    entries = {entry.name: entry for entry in board(objects, answer, measure=measure()).tables[1].entries}
    computed = entries["sentiment 20"].interval
    assert computed is not None
    assert 0.88 < computed.low < right < computed.high < 1
    assert entries["sentiment 21"].interval is None
    assert entries["sentiment 12.2"].interval == Interval(low=0.62, high=0.66)
    assert entries["sentiment 7"].interval is None


def test_the_board_is_read_back_from_its_json() -> None:
    """Programs get what people see."""
    found = board(*scene())
    assert Board.model_validate_json(found.to_json()) == found
    assert json.loads(found.to_json())["tables"][1]["entries"][0]["model_id"] == "12.2"


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.floats(-1, 1), st.integers(1, 9)), max_size=12),
    st.sampled_from(["higher", "lower"]),
)
def test_a_better_one_is_never_below(tried: list[tuple[str, float, int]], better: str) -> None:
    """By the direction of the metric, in each table; everybody is in the one table of their rows."""
    metric = Metric.model_validate({"name": "m", "title": "m", "better": better})
    pairs = [
        (
            EvaluationRows(sha256=rows * 64, kind="test", metric=metric),
            Entry(
                kind="model",
                name=f"x {at}",
                model="x",
                created_at=f"2026-01-0{day}",
                parameters={},
                metrics={"m": value},
            ),
        )
        for at, (rows, value, day) in enumerate(tried)
    ]
    made = tables(pairs, 100)
    assert sorted(name for table in made for name in names(table)) == sorted(entry.name for _, entry in pairs)
    newest = [max(entry.created_at for entry in table.entries) for table in made]
    assert newest == sorted(newest, reverse=True)
    for table in made:
        gains = [metric.gain(table.value(entry), 0.0) for entry in table.entries]
        assert gains == sorted(gains, reverse=True)
