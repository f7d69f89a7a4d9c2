"""SageMaker that answers the calls about one endpoint as a test has written down, in that order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import boto3
from botocore.stub import Stubber

from modelbuild.aws.sagemaker import EndpointConfig, Model, SageMaker
from modelbuild.clock import Clock
from modelbuild.deploy.endpoint import Served, ensure_endpoint, rollback
from modelbuild.deploy.plan import Plan

# One session, whose clients share what botocore reads from its files.
SESSION = boto3.Session("testing", "testing", region_name="us-east-1")
NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)
ARN = "arn:aws:sagemaker:us-east-1:222222222222"
PREVIOUS = "modelbuild:previous-config"
ROLE = "arn:aws:iam::222222222222:role/modelbuild-sagemaker"
PLAN = Plan(
    endpoint="sentiment",
    name="new",
    model=Model(
        "team/serve:1", "s3://production/models/comments/sentiment/12/model.tar.gz", {"MODEL_ID": "12"}, ROLE
    ),
    config=EndpointConfig("new", "ml.m5.large", 1),
    owner_tags={"modelbuild:pipeline": "comments", "modelbuild:model": "sentiment"},
    tags={"MODEL_ID": "12"},
)
OWNER = [{"Key": key, "Value": value} for key, value in PLAN.owner_tags.items()]
ENDPOINT_ARN = f"{ARN}:endpoint/{PLAN.endpoint}"


@dataclass(frozen=True)
class State:
    """What one look at the endpoint finds."""

    status: str
    config: str = ""
    pending: str = ""
    reason: str = ""

    def described(self) -> dict[str, Any]:
        """DescribeEndpoint's answer."""
        found: dict[str, Any] = {
            "EndpointName": PLAN.endpoint,
            "EndpointArn": f"{ARN}:endpoint/{PLAN.endpoint}",
            "EndpointStatus": self.status,
            "EndpointConfigName": self.config,
            "CreationTime": NOW,
            "LastModifiedTime": NOW,
        }
        if self.pending:
            found["PendingDeploymentSummary"] = {"EndpointConfigName": self.pending}
        if self.reason:
            found["FailureReason"] = self.reason
        return found


class Cloud:
    """SageMaker with answers that are written down beforehand, and a clock that jumps to the next look."""

    def __init__(self) -> None:
        self.sagemaker = SageMaker(SESSION)
        self.stubber = Stubber(self.sagemaker._sagemaker)
        self.seconds = 0.0
        self.clock = Clock(lambda: self.seconds, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def makes(self, model: dict[str, Any] | None = None, config: dict[str, Any] | None = None) -> None:
        """Model and configuration are created; ``model`` and ``config`` change what is then there."""
        self.stubber.add_response("create_model", {"ModelArn": f"{ARN}:model/new"})
        container = {
            "Image": PLAN.model.image,
            "ModelDataUrl": PLAN.model.data_url,
            "Environment": dict(PLAN.model.environment),
        }
        found = {"ModelName": "new", "ModelArn": f"{ARN}:model/new", "CreationTime": NOW}
        found |= {"PrimaryContainer": container | (model or {}), "ExecutionRoleArn": ROLE}
        self.stubber.add_response("describe_model", found)
        if model is not None:
            return
        self.stubber.add_response(
            "create_endpoint_config", {"EndpointConfigArn": f"{ARN}:endpoint-config/new"}
        )
        variant = {
            "VariantName": "AllTraffic",
            "ModelName": "new",
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": 1,
        }
        self._shows_config(variant | (config or {}))

    def _shows_config(self, variant: dict[str, Any]) -> None:
        self.stubber.add_response(
            "describe_endpoint_config",
            {
                "EndpointConfigName": "new",
                "EndpointConfigArn": f"{ARN}:endpoint-config/new",
                "CreationTime": NOW,
                "ProductionVariants": [variant],
            },
            {"EndpointConfigName": "new"},
        )

    def notes(self, previous: str) -> None:
        """What the endpoint ran before is noted at the configuration."""
        self._shows_config({"VariantName": "AllTraffic"})
        arn, tags = f"{ARN}:endpoint-config/new", [{"Key": PREVIOUS, "Value": previous}]
        self.stubber.add_response("add_tags", {"Tags": []}, {"ResourceArn": arn, "Tags": tags})

    def has_noted(self, *previous: str) -> None:
        """What an earlier run noted, if anything."""
        self._shows_config({"VariantName": "AllTraffic"})
        tags = [
            {"Key": "MODEL_ID", "Value": "12"},
            *({"Key": PREVIOUS, "Value": one} for one in previous),
        ]
        self.stubber.add_response("list_tags", {"Tags": tags}, {"ResourceArn": f"{ARN}:endpoint-config/new"})

    def finds(self, *states: State | None) -> None:
        """What the next looks at the endpoint find; None for no endpoint."""
        for state in states:
            if state is None:
                message = f'Could not find endpoint "{ARN}:endpoint/{PLAN.endpoint}".'
                self.stubber.add_client_error("describe_endpoint", "ValidationException", message)
            else:
                self.stubber.add_response("describe_endpoint", state.described())

    def refuses_looks(self) -> None:
        """The next look at the endpoint is refused."""
        self.stubber.add_client_error("describe_endpoint", "ExpiredTokenException", "The token has expired")

    def creates(self) -> None:
        """The endpoint is created, with the tags of its owner."""
        self.stubber.add_response(
            "create_endpoint",
            {"EndpointArn": ENDPOINT_ARN},
            {"EndpointName": PLAN.endpoint, "EndpointConfigName": "new", "Tags": OWNER},
        )

    def loses_creation(self) -> None:
        """Another deployment has created the endpoint since the last look."""
        message = f'Cannot create already existing endpoint "{ENDPOINT_ARN}".'
        self.stubber.add_client_error("create_endpoint", "ValidationException", message)

    def shows_tags(self, **tags: str) -> None:
        """The endpoint's tags are read."""
        listed = [{"Key": f"modelbuild:{key}", "Value": value} for key, value in tags.items()]
        self.stubber.add_response("list_tags", {"Tags": listed}, {"ResourceArn": ENDPOINT_ARN})

    def claims(self) -> None:
        """The endpoint has no owner and gets one."""
        self.shows_tags()
        self.stubber.add_response("add_tags", {"Tags": OWNER}, {"ResourceArn": ENDPOINT_ARN, "Tags": OWNER})

    def updates(self, config: str = "new") -> None:
        """The endpoint is updated, and keeps the instance counts that autoscaling gave it."""
        if config == "new":
            self.shows_tags(pipeline="comments", model="sentiment")
        self.updates_endpoint(config)

    def loses_update(self, *, claimed: bool = False) -> None:
        """The answer to an update is lost, and the request that is sent again is refused."""
        if not claimed:
            self.shows_tags(pipeline="comments", model="sentiment")
        message = f'Cannot update in-progress endpoint "{ENDPOINT_ARN}".'
        self.stubber.add_client_error("update_endpoint", "ValidationException", message)

    def refuses_update(self, message: str) -> None:
        """SageMaker refuses an update, whose endpoint has its owner's tags."""
        self.shows_tags(pipeline="comments", model="sentiment")
        self.refuses_to_put_back(message)

    def refuses_to_put_back(self, message: str) -> None:
        """SageMaker refuses an update back to what ran before."""
        self.stubber.add_client_error("update_endpoint", "ValidationException", message)

    def updates_endpoint(self, config: str = "new") -> None:
        """The endpoint is updated by a step that has already claimed it."""
        self.stubber.add_response(
            "update_endpoint",
            {"EndpointArn": f"{ARN}:endpoint/{PLAN.endpoint}"},
            {
                "EndpointName": PLAN.endpoint,
                "EndpointConfigName": config,
                "RetainAllVariantProperties": True,
            },
        )

    def ensure_endpoint(self) -> Served:
        """Bring the endpoint to the plan, within ten minutes of the clock."""
        with self.stubber:
            return ensure_endpoint(PLAN, self.sagemaker, 600, self.clock)

    def rollback(self) -> None:
        """Put the endpoint back to the configuration ``old``, within ten minutes of the clock."""
        with self.stubber:
            rollback(PLAN, "old", self.sagemaker, 600, self.clock)
