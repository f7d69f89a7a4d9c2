"""The unmodified SDK, online."""

from __future__ import annotations

import math
import re
from typing import Any

WRITE = """
import json, math, wandb
with wandb.init(
    project="comments", id="run-1", name="First run", group="12", job_type="train", tags=["demo", "b"],
    config={"rate": 0.1, "parameters": {"seed": [1, 2]}},
) as run:
    for step in range(20):
        run.log({"loss": 1 / (step + 1), "hole": math.nan if step % 2 else 1.0})
    run.summary["class/positive/f1"] = 0.25
    with open("notes.txt", "w") as file:
        file.write("a note")
    run.save("notes.txt", policy="now")
    print("printed by the program")
    print(json.dumps(run.url))
"""

READ = """
import json, wandb
api = wandb.Api()
run = api.run("local/comments/run-1")
print(json.dumps({
    "url": run.url, "state": run.state, "name": run.name, "group": run.group, "job": run.job_type,
    "tags": run.tags, "config": dict(run.config),
    "summary": {name: value for name, value in run.summary.items() if name[0] != "_"},
    "history": run.history(keys=["loss"], pandas=False), "scanned": len(list(run.scan_history())),
    "note": run.file("notes.txt").download(replace=True).read(), "last": run.lastHistoryStep,
    "runs": [(item.id, item.state) for item in api.runs("local/comments", order="-created_at")],
}))
"""


def test_a_run_is_read_back_as_it_was_written(wandb_server: Any) -> None:
    """Everything that a program gave its run is at the run's address and in the SDK's own reading."""
    url = wandb_server.answer(WRITE)
    assert url == f"{wandb_server.url}/local/comments/runs/run-1"
    read = wandb_server.answer(READ)
    assert read["url"] == url
    assert (read["state"], read["name"], read["group"], read["job"]) == (
        "finished",
        "First run",
        "12",
        "train",
    )
    assert read["tags"] == ["demo", "b"]
    assert read["config"] == {"rate": 0.1, "parameters": {"seed": [1, 2]}}
    assert read["summary"] == {"loss": 0.05, "hole": "NaN", "class/positive/f1": 0.25}
    assert [row["_step"] for row in read["history"]] == list(range(20))
    assert math.isclose(read["history"][3]["loss"], 0.25)
    assert (read["scanned"], read["last"], read["note"]) == (20, 19, "a note")
    assert read["runs"] == [["run-1", "finished"]]
    page = wandb_server.page("/local/comments/runs/run-1")
    for part in (
        "First run",
        "finished",
        "parameters.seed",
        "[1, 2]",
        "notes.txt",
        "<polyline",
        "printed by",
    ):
        assert part in page
    assert "/local/comments/runs/run-1" in wandb_server.page("/local/comments")
    assert "/local/comments" in wandb_server.page("/")
    assert wandb_server.unknown() == []


def test_a_run_is_resumed_or_begun_anew(wandb_server: Any) -> None:
    """With resume="allow" the same id goes on where it stopped; without, it begins again."""
    program = """
import json, wandb
def session(loss, resume):
    run = wandb.init(project="resumed", id="same", config={f"by-{loss}": True}, resume=resume)
    run.log({"loss": loss})
    run.log({"loss": loss})
    run.finish()
    read = wandb.Api().run("local/resumed/same")
    rows = [(row["_step"], row["loss"]) for row in read.history(pandas=False)]
    return [run.resumed, sorted(read.config), rows]
print(json.dumps([session(1, "allow"), session(2, "allow"), session(3, None)]))
"""
    first, second, third = wandb_server.answer(program)
    assert first == [False, ["by-1"], [[0, 1], [1, 1]]]
    assert second == [True, ["by-1", "by-2"], [[0, 1], [1, 1], [2, 2], [3, 2]]]
    assert third == [False, ["by-3"], [[0, 3], [1, 3]]]
    assert wandb_server.unknown() == []


def test_a_run_that_fails_says_so(wandb_server: Any) -> None:
    """A run is running until its program ends it, and failed when that was with an error."""
    result = wandb_server.run("""
import sys, wandb
run = wandb.init(project="failing", id="code", settings=wandb.Settings(console="off"))
print(wandb.Api().run(run.path).state)
run.finish(exit_code=2)
wandb.init(project="failing", id="raised", settings=wandb.Settings(console="off"))
raise ValueError("no more")
""")
    assert (result.returncode, result.stdout) == (1, "running\n")
    found = wandb_server.graphql("Runs", entity="local", project="failing")["data"]["project"]["runs"]
    states = {edge["node"]["name"]: edge["node"]["state"] for edge in found["edges"]}
    assert states == {"code": "failed", "raised": "failed"}
    assert "exit code 2" in wandb_server.page("/local/failing/runs/code")
    assert wandb_server.unknown() == []


def test_artifacts_are_logged_and_used(wandb_server: Any) -> None:
    """Files and references come back as they were given, new versions take over the aliases."""
    program = """
import json, wandb
run = wandb.init(project="things", id="maker")
def log(text, *aliases):
    with open("weights.txt", "w") as file:
        file.write(text)
    artifact = wandb.Artifact("model", "model", metadata={"sha256": text})
    artifact.add_file("weights.txt")
    return run.log_artifact(artifact, aliases=["latest", *aliases]).wait().version
versions = [log("one", "best"), log("two"), log("two")]
data = wandb.Artifact("data", "dataset")
data.add_reference("s3://bucket/key", checksum=False)
run.log_artifact(data).wait()
folder = run.use_artifact("model:best").download(root="down")
run.finish()
api = wandb.Api()
print(json.dumps({
    "versions": versions,
    "best": open(folder + "/weights.txt").read(),
    "latest": api.artifact("local/things/model:latest").metadata,
    "aliases": api.artifact("local/things/model:v0").aliases,
    "ref": api.artifact("local/things/data:v0").manifest.entries["key"].ref,
    "logged": [item.name for item in api.run("local/things/maker").logged_artifacts()],
    "used": [item.name for item in api.run("local/things/maker").used_artifacts()],
    "by": api.artifact("local/things/model:v1").logged_by().id,
}))
"""
    found = wandb_server.answer(program)
    assert found == {
        "versions": ["v0", "v1", "v1"],
        "best": "one",
        "latest": {"sha256": "two"},
        "aliases": ["best"],
        "ref": "s3://bucket/key",
        "logged": ["model:v0", "model:v1", "data:v0"],
        "used": ["model:v0"],
        "by": "maker",
    }
    assert "model:v1" in wandb_server.page("/local/things/runs/maker")
    assert wandb_server.unknown() == []


def test_tables_and_charts_are_shown(wandb_server: Any) -> None:
    """A table is a table on the run's page, a confusion matrix is a matrix, and curves are lines."""
    program = """
import json, wandb
run = wandb.init(project="media", id="tables")
run.log({
    "mistakes": wandb.Table(columns=["input", "score"], data=[[f"text {n}", n / 200] for n in range(150)]),
    "confusion": wandb.plot.confusion_matrix(
        y_true=[0, 0, 0, 1], preds=[0, 0, 1, 1], class_names=["bad", "good"], title="The matrix"),
    "curve": wandb.plot_table(
        "wandb/area-under-curve/v0",
        wandb.Table(columns=["class", "precision", "recall"], data=[["bad", 1.0, 0.0], ["bad", 0.5, 1.0]]),
        {"x": "recall", "y": "precision", "class": "class"}, {"title": "The curve"}),
})
run.finish()
names = wandb.Api().run("local/media/tables").summary.keys()
print(json.dumps(sorted(name for name in names if name[0] != "_")))
"""
    assert wandb_server.answer(program) == ["confusion_table", "curve_table", "mistakes"]
    page = wandb_server.page("/local/media/runs/tables")
    assert "The first 100 of 150 rows" in page
    assert ("text 99" in page, "text 100" in page) == (True, False)
    rows = re.findall(r"<tr><th>(\w+)</th>(.*?)</tr>", page.split("The matrix", 1)[1])
    assert [(name, re.findall(r">(\d+)</td>", cells)) for name, cells in rows[:2]] == [
        ("bad", ["2", "1"]),
        ("good", ["0", "1"]),
    ]
    assert '<polyline class="line0" points="6.0,6.0 294.0,55.0"/>' in page.split("The curve", 1)[1]
    assert "table-file" not in page
    assert wandb_server.unknown() == []


def test_an_alert_is_on_the_page(wandb_server: Any) -> None:
    """W&B would send an alert to people; here the run's page has it, and a new session of the id has not."""
    program = """
import json, wandb
run = wandb.init(project="alerts", id="one")
run.alert("It failed", "because of that", level="ERROR")
run.finish(exit_code=1)
print(json.dumps(wandb.Api().run("local/alerts/one").state))
"""
    assert wandb_server.answer(program) == "failed"
    page = wandb_server.page("/local/alerts/runs/one")
    assert "ERROR: It failed" in page
    assert "because of that" in page
    assert wandb_server.unknown() == []


def test_runs_are_found_by_what_they_were_made_with(wandb_server: Any) -> None:
    """The SDK's filters and orders find runs by configuration, summary, tags and job type; a typo is an
    error, and a deleted run is gone for good.
    """
    program = """
import json, wandb
for number, (kind, rate) in enumerate([("training", 0.1), ("experiment", 0.1), ("experiment", 0.5)]):
    with wandb.init(
        project="many", id=f"r{number}", job_type=kind, tags=[kind, "all"], group=f"g{number}",
        config={"parameters": {"training": {"rate": rate}}, "sha": str(rate)},
    ) as run:
        run.summary["macro_f1"] = number / 10
api = wandb.Api()
def found(filters, order="+created_at"):
    return [run.id for run in api.runs("local/many", filters=filters, order=order, lazy=False)]
answer = [
    found({"config.sha": "0.1", "jobType": "experiment"}),
    found({"config.parameters.training.rate": {"$lt": 0.2}}, "-created_at"),
    found({"config.parameters.value.training.rate": {"$gte": 0.1}}, "-summary_metrics.macro_f1"),
    found({"$or": [{"group": "g0"}, {"tags": "experiment"}], "summary_metrics.macro_f1": {"$gt": 0}}),
    found({"display_name": {"$regex": "^r[01]$"}, "state": {"$ne": "running"}}, "+config.sha.value"),
]
try:
    found({"job_type": "training"})
except Exception as error:
    answer.append(str(error).strip())
api.run("local/many/r1").delete()
try:
    wandb.init(project="many", id="r1")
except wandb.Error as error:
    answer.append("deleted before" in str(error))
print(json.dumps([*answer, found({})]))
"""
    assert wandb_server.answer(program) == [
        ["r1"],
        ["r1", "r0"],
        ["r2", "r1", "r0"],
        ["r1", "r2"],
        ["r0", "r1"],
        "input: Unknown column 'job_type'",
        True,
        ["r0", "r2"],
    ]
    assert wandb_server.unknown() == []
