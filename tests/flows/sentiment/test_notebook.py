"""The notebook, whose cells are run as Jupyter runs them, in a process and a namespace of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import standins
from modelbuild.contract import Metric, sha256_of_json
from modelbuild.experiments.asking import asking
from modelbuild.experiments.models import Query
from modelbuild.formats import agent_yaml
from tables import Table, put

NOTEBOOK = standins.ROOT / "notebooks" / "sentiment.ipynb"
COLUMNS = {
    "id": "string",
    "text": "string",
    "rating": "double",
    "raters": "int",
    "domain": "string",
    "document": "string",
    "vader_compound": "double",
}
WORDS = {"good": 2.0, "great": 3.0, "bad": -2.0, "awful": -3.0, "table": 0.0}

RUN = """
import json, pathlib, sys
names = {"__name__": "__main__"}
for cell in json.loads(pathlib.Path(sys.argv[1]).read_text())["cells"]:
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    if "parameters" in cell["metadata"].get("tags", ()):
        names["PARAMETERS"] = pathlib.Path(sys.argv[2])
print("the namespace has the hash", names["evaluated"].evaluation.dataset_sha256)
"""


def rows() -> Iterator[dict[str, str | float | int]]:
    """Some texts, each with a word that decides its rating."""
    for number in range(300):
        word = [*WORDS][number % len(WORDS)]
        yield {
            "id": f"tweets/{number:03}",
            "text": f"{word} thing number {number}",
            "rating": WORDS[word],
            "raters": 20,
            "domain": "tweets",
            "document": f"tweets/{number:03}",
            "vader_compound": 0.0,
        }


@pytest.fixture
def parameters(tmp_path: Path, on_stand_in: str) -> Path:
    """A parameter file for a small table, which is in the lake."""
    assert on_stand_in
    put(Table("notebook", "rows", COLUMNS, rows))
    values = yaml.safe_load((standins.ROOT / "flows" / "sentiment" / "params.yaml").read_text())
    values["data"] |= {"table": "notebook", "domains": ["tweets"]}
    values["model"]["buckets"] = 4096
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


def test_notebook_is_committed_without_results() -> None:
    """The file is a notebook of format 4.5 that was never run: what a cell printed is in no commit."""
    notebook: dict[str, Any] = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len({*ids}) == len(ids)


def test_an_experiment_of_the_notebook_is_found_by_notify(
    parameters: Path, on_stand_in: str, tmp_path: Path
) -> None:
    """The notebook's cells fit and evaluate a model with a changed value, and a build with these parameters
    finds its run with the same figures.
    """
    with standins.started("wandb", "--data", tmp_path / "wandb") as wandb:
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "ARTIFACTS": f"s3://{standins.BUCKET}/scratch/ada",
            "WANDB_BASE_URL": wandb.url,
            "WANDB_API_KEY": standins.SECRETS["api_key"],
            "WANDB_PROJECT": "comments",
            **standins.variables(on_stand_in),
        }
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(NOTEBOOK), str(parameters)],
            cwd=NOTEBOOK.parent,
            env=variables,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        values = agent_yaml.load_written(parameters.read_text())
        values["training"]["learning_rate"] = 2.0
        rows_sha256 = done.stdout.split()[-1]
        query = Query(
            entity=None,
            project="comments",
            parameters_sha256=sha256_of_json(values),
            dataset_sha256=rows_sha256,
            primary=Metric(name="macro_f1", title="macro-F1", better="higher"),
        )
        with asking(wandb.url, standins.SECRETS["api_key"], seconds=60) as ask:
            answer = ask(query)
    assert answer.unavailable == ()
    (experiment,) = answer.experiments
    assert experiment.url in done.stdout
    assert experiment.dataset_sha256 == rows_sha256
    assert experiment.metrics["macro_f1"] > 0.9
    assert f"{experiment.metrics['macro_f1']:.3f}" in done.stdout
    assert experiment.predictions.startswith(f"s3://{standins.BUCKET}/scratch/ada/")
    client = standins.client(on_stand_in, "s3")
    key = experiment.predictions.removeprefix(f"s3://{standins.BUCKET}/")
    assert client.head_object(Bucket=standins.BUCKET, Key=key)["ContentLength"] > 0
