from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import httpx
import pytest
import yaml

import standins
from modelbuild.aws.storage import Storage
from modelbuild.serving.model import load_directory

FLOWS = Path(__file__).parents[2] / "flows"
SCRATCH = "s3://modelbuild-123456789012/scratch/ada"


def ran(folder: Path, program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """What a program of ``flows/`` says, with nothing of this process's environment but its PATH."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
        **variables,
    }
    command = [sys.executable, str(FLOWS / program), *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def without(folder: Path, *packages: str) -> Path:
    """A folder for PYTHONPATH in which these packages cannot be imported."""
    refusing = folder / "refusing"
    refusing.mkdir()
    for package in packages:
        (refusing / f"{package}.py").write_text(f"raise ImportError('agents have no {package}')\n")
    return refusing


@pytest.fixture
def small_file(tmp_path: Path) -> Path:
    """The repository's parameters for a model of tweets that trains in a moment."""
    values = yaml.safe_load((FLOWS / "sentiment" / "params.yaml").read_text())
    values["data"]["domains"] = ["tweets"]
    values["model"]["buckets"] = 4096
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_from_the_lake_to_a_servable_model(
    aws_variables: dict[str, str], storage: Storage, small_file: Path, tmp_path: Path
) -> None:
    """On its own the flow runs every step here, and leaves a model, no manifest and no unblocked step. The
    lake is filled with what agents have: none of what only the images of the flow have is imported.
    """
    of_agents = {"PYTHONPATH": str(without(tmp_path, "pyarrow", "numpy", "boto3", "metaflow", "wandb"))}
    first, second = (
        ran(tmp_path, "lake/load.py", "comments", **aws_variables, **of_agents) for _ in range(2)
    )
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "is there already" in second.stdout

    arguments = ["--no-pylint", "--config", "config", str(small_file), "run"]
    result = ran(tmp_path, "sentiment/flow.py", *arguments, ARTIFACTS=SCRATCH, **aws_variables)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "no build to unblock" in result.stdout
    assert re.search(r"\] tweets +\d+ +0\.\d+ +0\.\d+\n", result.stdout)
    assert re.search(r"\] [\d,]+ rows to train on, [\d,]+ left out \(the same text", result.stdout)
    assert re.search(r"\] step 1: loss 0\.\d+, learning_rate 0\.\d+\n", result.stdout)

    written = [uri for uri, _ in storage.list(SCRATCH)]
    assert [uri for uri in written if uri.endswith("/predictions.parquet")]
    (model,) = (uri for uri in written if uri.endswith("/model.tar.gz"))
    assert not [uri for uri in written if uri.endswith(("/manifest.json", "/result.json"))]
    with tarfile.open(fileobj=io.BytesIO(storage.read(model))) as tar:
        # Python 3.10.0 has no argument named filter.
        tar.extractall(tmp_path / "model")
    about = (tmp_path / "model" / "model.json").read_bytes()
    served = load_directory(tmp_path / "model", hashlib.sha256(about).hexdigest())
    assert [answer["label"] for answer in served.predict(["I love it, so happy", "I hate this, so sad"])] == [
        "positive",
        "negative",
    ]


def test_writes_an_experiment_to_wandb(
    aws_variables: dict[str, str], storage: Storage, small_file: Path, tmp_path: Path
) -> None:
    """On its own the flow writes a W&B run with the curve of the fit, metrics, mistakes and its model."""
    assert ran(tmp_path, "lake/load.py", "comments", **aws_variables).returncode == 0
    arguments = ["--no-pylint", "--config", "config", str(small_file), "run"]
    with standins.started("wandb", "--data", tmp_path / "wandb") as wandb:
        variables = {"WANDB_BASE_URL": wandb.url, "WANDB_API_KEY": "k" * 40, "WANDB_PROJECT": "comments"}
        result = ran(
            tmp_path, "sentiment/flow.py", *arguments, ARTIFACTS=SCRATCH, **aws_variables, **variables
        )
        assert result.returncode == 0, result.stdout + result.stderr
        urls = re.findall(r"W&B run: (\S+)", result.stdout)
        page = httpx.get(urls[0], cookies=standins.PAGE_COOKIES).text
    assert urls == [urls[0]] * 2
    assert "/local/comments/runs/sentiment-" in urls[0]
    (model,) = (
        uri for uri, _ in storage.list(SCRATCH) if uri.endswith("/model.tar.gz") and urls[0][-16:] in uri
    )
    digest = hashlib.sha256(storage.read(model)).hexdigest()
    for part in (
        "experiment",
        "<figcaption>loss<",
        "Confusion matrix",
        "Mistakes",
        "sentiment-experiment:v0",
        digest,
    ):
        assert part.lower() in page.lower(), part


def test_missing_artifacts_variable_is_an_error(tmp_path: Path) -> None:
    """Without ARTIFACTS nothing starts; the sentence has an example."""
    result = ran(tmp_path, "sentiment/flow.py", "run")
    assert (result.returncode, result.stderr.count("\n")) == (10, 1)
    assert result.stderr.startswith("ARTIFACTS is not set; set it to an S3 prefix of yours")


def test_names_a_wrong_parameter(small_file: Path, tmp_path: Path) -> None:
    """A parameter file with a mistake is one sentence, not a traceback."""
    values = yaml.safe_load(small_file.read_text())
    values["labels"]["tau"] = "much"
    small_file.write_text(yaml.safe_dump(values))
    arguments = ["--config", "config", str(small_file), "run"]
    result = ran(tmp_path, "sentiment/flow.py", *arguments, ARTIFACTS=SCRATCH)
    assert result.returncode == 1
    assert "The parameter labels.tau is 'much': Input should be a valid number." in result.stderr
    assert "Traceback" not in result.stderr


def test_the_lake_says_when_aws_is_out_of_reach(tmp_path: Path) -> None:
    """A service that does not answer is one sentence and exit code 11."""
    variables = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_DEFAULT_REGION": "us-east-1"}
    keys = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_MAX_ATTEMPTS": "1"}
    result = ran(tmp_path, "lake/load.py", "comments", **variables, **keys)
    assert (result.returncode, result.stderr.count("\n")) == (11, 1), result.stderr
    assert "Could not connect" in result.stderr


def test_the_lake_says_which_tables_there_are(tmp_path: Path) -> None:
    """A table of another name is refused before anything is downloaded."""
    result = ran(tmp_path, "lake/load.py", "comments", "tweets")
    assert result.returncode == 2
    assert re.search(r"invalid choice: 'tweets' \(choose from '?bbc'?, '?comments'?, ", result.stderr)
