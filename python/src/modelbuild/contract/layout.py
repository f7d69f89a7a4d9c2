"""The S3 prefixes of a model and of its attempts.

``modelbuild.store`` reads and writes them; other programs, such as the pages of laptop mode, only link to the
files.
"""

from __future__ import annotations

REQUEST_FILE = "request.json"
CANDIDATE_REQUEST_FILE = "candidate.json"
SOURCE_FILE = "source.tar.gz"
JOB_FILE = "job.json"
RESULT_FILE = "result.json"
FAILURE_FILE = "failure.json"
DELIVERED_FILE = "delivered.json"
MODEL_FILE = "model.tar.gz"
MANIFEST_FILE = "manifest.json"
PREDICTIONS_FILE = "predictions.parquet"
REPORT_FILE = "report.json"
REPORT_PAGE_FILE = "report.html"
DECISIONS_FOLDER = "decisions"
DEPLOYMENT_FILE = "deployment.json"
LEADERBOARD_FILE = "leaderboard.json"
LEADERBOARD_TABLE_FILE = "leaderboard.parquet"

PARAMS_FILE = "params.yaml"
"""The file beside a flow that has its parameters, where option ``params-file`` names no other."""


def model_prefix(root: str, pipeline: str, model: str, model_id: str) -> str:
    """The prefix of everything about one model: ``<root>/<pipeline>/<model>/<model id>``, without a slash at
    the end.
    """
    return f"{root.rstrip('/')}/{pipeline}/{model}/{model_id}"


def request_uri(prefix: str) -> str:
    """The URI of the request of the model at a prefix.

    The request of a candidate has another name, because a flow writes it, and the role of flows must not
    write the requests of builds.
    """
    is_candidate = "." in prefix.rpartition("/")[2]
    return f"{prefix}/{CANDIDATE_REQUEST_FILE if is_candidate else REQUEST_FILE}"


def attempt_prefix(prefix: str, attempt: int) -> str:
    """The prefix of the result of one attempt at a training.

    A result is written once: a later attempt does not replace the result of the first, but has a prefix of
    its own.
    """
    return prefix if attempt == 1 else f"{prefix}/attempts/{attempt}"


def sweep_prefix(prefix: str) -> str:
    """The prefix of the sweep that a candidate belongs to: that of its id without ``.<n>``."""
    root, _, model_id = prefix.rpartition("/")
    return f"{root}/{model_id.partition('.')[0]}"
