"""Where the files of a model lie in S3, relative to each other.

``modelbuild.store`` reads and writes them; other programs, such as the laptop's pages, only link to them.
"""

from __future__ import annotations

REQUEST_FILE = "request.json"
SOURCE_FILE = "source.tar.gz"
JOB_FILE = "job.json"
RESULT_FILE = "result.json"
DELIVERED_FILE = "delivered.json"
MODEL_FILE = "model.tar.gz"
MANIFEST_FILE = "manifest.json"
PREDICTIONS_FILE = "predictions.parquet"
DEPLOYMENT_FILE = "deployment.json"


def model_prefix(root: str, pipeline: str, model: str, model_id: str) -> str:
    """Where everything about one model lies: ``<root>/<pipeline>/<model>/<model id>``, without a slash at
    the end.
    """
    return f"{root.rstrip('/')}/{pipeline}/{model}/{model_id}"


def attempt_prefix(prefix: str, attempt: int) -> str:
    """Where the result of one attempt at a training lies.

    Results are written once: that of a later attempt does not replace that of the first, but lies below it.
    """
    return prefix if attempt == 1 else f"{prefix}/attempts/{attempt}"
