"""Makes what ``bench/notify.py`` compares: a build's model, the live one of the same rows, and an experiment.

It is a process of its own, with ``tests/shared`` on PYTHONPATH, because the peak memory of a measured program
is never less than that of the process that starts it. It prints the meta-data of the build as JSON.
"""

from __future__ import annotations

import argparse
import json

import boto3
import numpy as np
import wandb

import samples
import trained
from modelbuild.aws.identity import session
from modelbuild.aws.storage import Storage
from modelbuild.buildkite.trainings import Claim
from modelbuild.contract import Manifest, split_s3_uri
from modelbuild.flow import classification
from modelbuild.flow.evaluation import Evaluated, EvaluationRows
from modelbuild.settings import AwsSettings

LIVE, NEW = 11, 12
DOMAINS = ("forum", "reviews", "surveys", "tweets")
_WORDS = 18
_VOCABULARY = 20_000


def texts(count: int) -> list[str]:
    """Texts of some hundred bytes, of words that are drawn like those of a language: few of them often."""
    random = np.random.default_rng(1)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = ["".join(random.choice(letters, size)) for size in random.integers(2, 9, _VOCABULARY)]
    drawn = random.zipf(1.3, (count, _WORDS)) % _VOCABULARY
    return [" ".join(words[number] for number in row) for row in drawn]


def evaluated(rows: EvaluationRows, right: float, seed: int) -> Evaluated:
    """The evaluation of a model of which about this part of the predictions is right."""
    random = np.random.default_rng(seed)
    truth = [str(label) for label in rows.truth]
    answers = []
    for label in trained.guesses(truth, right, seed):
        score = round(float(random.uniform(0.4, 1)), 6)
        others = {one: (1 - score) / 2 for one in trained.LABELS if one != label}
        answers.append({"label": label, "scores": {label: score, **others}})
    baselines = {"majority": ["positive"] * len(truth)}
    return classification.evaluate(rows, answers, labels=trained.LABELS, baselines=baselines)


def record_experiment(new: Manifest) -> None:
    """An experimental run in W&B with the parameters and on the evaluation rows of a model."""
    config = {
        "parameters_sha256": new.request.parameters_sha256,
        "evaluation_dataset_sha256": new.evaluation.dataset_sha256,
    }
    run = wandb.init(project=new.request.build.pipeline, job_type="experiment", config=config)
    run.summary.update(new.evaluation.overall.metrics)
    run.finish()


def main() -> None:
    """Store both models, and deploy the one that is live."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--commits", nargs=2, required=True, help="of the live model and of the new one")
    options = parser.parse_args()
    for uri in (trained.LAKE, trained.PRODUCTION):
        boto3.client("s3").create_bucket(Bucket=split_s3_uri(uri)[0])
    truth = trained.truth_of(options.rows)
    domains = np.random.default_rng(2).choice(DOMAINS, options.rows)
    rows = EvaluationRows(
        ids=[f"row-{number:07}" for number in range(options.rows)],
        inputs=texts(options.rows),
        truth=truth,
        description="rated by people",
        slices={"domain": [str(domain) for domain in domains]},
    )
    storage = Storage(session(AwsSettings()))
    live, new = (
        trained.store_model(storage, number, evaluated(rows, right, number), commit=commit)
        for number, right, commit in zip((LIVE, NEW), (0.80, 0.81), options.commits, strict=True)
    )
    trained.deploy(storage, storage, live)
    record_experiment(new)
    noted = {
        **samples.train_step_meta_data(new.request),
        Claim.of(new.request.model, False, new.request.unblock).key: "held",
        "train/job/id": "0190-job",
        "train/job/url": "https://console.example/batch/jobs/0190-job",
        "train/logs/url": "https://console.example/logs/0190-job",
    }
    print(json.dumps({**trained.result_of(new).to_fields(), **noted}))


if __name__ == "__main__":
    main()
