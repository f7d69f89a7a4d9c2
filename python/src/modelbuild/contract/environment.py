"""Names that programs of one training agree on: variables of its jobs, and meta-data of its build."""

from __future__ import annotations

from typing import Literal

LOG_GROUP = "/aws/batch/modelbuild"
"""The group of CloudWatch Logs with the logs of heads and of the flow's steps, which the stack makes."""

SCHEDULE_TIMEOUT = "SCHEDULE_TIMEOUT"
"""The head's variable with the seconds that a job of a step may wait for a machine; if unset, without limit.
"""

STEP_VARIABLES = "STEP_VARIABLES"
"""The variable with the names, separated by spaces, of the head's variables that the head passes to the
flow's steps.
"""

WANDB_ENTITY = "WANDB_ENTITY"
"""W&B's own variable with the team or user that runs belong to; if unset, the default of the API key."""

ATTEMPT = "ATTEMPT"
"""The variable with the number of the attempt at a training, from 1, for its head and the flow's steps."""

STEP_RESOURCES = "STEP_RESOURCES"
"""The variable with the sizes of the flow's steps that replace those in the flow, as a JSON object."""

TRAINING_ANNOTATION = "training"
"""The context of the one annotation about a training, whichever program wrote it last."""

DEPLOYMENT_ANNOTATION = "deployment"
"""The context of the one annotation about the deployment of a model."""

RUNNING_STYLE: Literal["info"] = "info"
"""The style of the training's annotation while the training runs, and only then."""

REQUEST_PIN = "train/request/sha256"
"""The meta-data with the SHA-256 of ``request.json``, as the train step stored it."""

MANIFEST_PIN = "notify/manifest/sha256"
"""The meta-data with the SHA-256 of the manifest that notify showed on the page."""

MODEL_PIN = "notify/model/sha256"
"""The meta-data with the SHA-256 of the model that notify showed on the page."""

CALLBACK_USER = "notify/callback/user"
"""The meta-data with the id of the user who unblocked the training's step: usually the owner of the API
token.
"""
