from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import yaml

import standins
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.serving.model import load_directory
from modelbuild.settings import AwsSettings
from tables import Table, put
from topics import ARTICLES, COLUMNS, bbc_sentences

TOPICS = Path(__file__).parents[3] / "flows" / "topics"
SCRATCH = f"s3://{standins.BUCKET}/scratch/topics"


def test_from_some_articles_to_a_servable_model(on_stand_in: str, tmp_path: Path) -> None:
    """On every tenth article the flow makes a model that knows the topics of most sentences of others."""
    everything = bbc_sentences(ARTICLES.content())
    some = [row for row in everything if int(row["article"].split("/")[1]) % 10 == 0]
    put(Table("some", "some", COLUMNS, lambda: some))
    values = yaml.safe_load((TOPICS / "params.yaml").read_text())
    values["data"]["table"] = "some"
    parameters = tmp_path / "some.yaml"
    parameters.write_text(yaml.safe_dump(values))
    result = subprocess.run(
        [
            sys.executable,
            str(TOPICS / "flow.py"),
            "--no-pylint",
            "--config",
            "config",
            str(parameters),
            "run",
        ],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "METAFLOW_USER": "ada",
            "ARTIFACTS": SCRATCH,
            **standins.variables(on_stand_in),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no build to unblock" in result.stdout
    found = {
        name: float(macro_f1)
        for name, macro_f1 in re.findall(r"\] (all|\(majority on all\)) +[\d,]+ +(0\.\d+)", result.stdout)
    }
    assert found["all"] > 0.5 > 0.15 > found["(majority on all)"]

    storage = Storage(session(AwsSettings()))
    (model,) = (uri for uri, _ in storage.list(SCRATCH) if uri.endswith("/model.tar.gz"))
    with tarfile.open(fileobj=io.BytesIO(storage.read(model))) as tar:
        tar.extractall(tmp_path / "model", filter="data")
    about = (tmp_path / "model" / "model.json").read_bytes()
    served = load_directory(tmp_path / "model", hashlib.sha256(about).hexdigest())
    texts = ["The striker scored in the final game of the season.", "The bank said profits and sales rose."]
    assert [answer["label"] for answer in served.predict(texts)] == ["sports", "business"]
