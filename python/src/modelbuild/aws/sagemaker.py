"""SageMaker: models, endpoint configurations, endpoints and their answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from modelbuild.aws.failures import NotFound, error_code, translated
from modelbuild.errors import AwsError

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_sagemaker.type_defs import TagTypeDef

VARIANT = "AllTraffic"
"""The only variant of every configuration. An update keeps traffic and scaling only if this name is the same.
"""


_BUSY_STATUS = 503
_PREVIOUS = "modelbuild:previous-config"


class AlreadyExists(AwsError):
    """A resource of this name exists."""


class ModelRefused(AwsError):
    """The container behind an endpoint answered a request with an error."""


class ModelBusy(AwsError):
    """The container behind an endpoint answered with 503: it asks to send the request again."""


@dataclass(frozen=True)
class Model:
    """The properties of a SageMaker model."""

    image: str
    data_url: str
    environment: Mapping[str, str]
    role: str


@dataclass(frozen=True)
class EndpointConfig:
    """The properties of an endpoint configuration; without ``kms_key`` AWS's own key encrypts the disks."""

    model: str
    instance_type: str
    instances: int
    kms_key: str = ""


@dataclass(frozen=True)
class Endpoint:
    """An endpoint as SageMaker describes it.

    Attributes:
        arn: its ARN.
        status: SageMaker's status, such as ``InService``.
        config: the configuration that it runs, or is created with.
        pending_config: the configuration that SageMaker is deploying; may be empty.
        reason: the reason of a failure; may be empty.
    """

    arn: str
    status: str
    config: str
    pending_config: str
    reason: str


@dataclass(frozen=True)
class Answer:
    """An answer of an endpoint."""

    body: bytes
    custom_attributes: str


class SageMaker:
    """A client of SageMaker with one identity. Every method raises ``AwsError`` when AWS refuses."""

    def __init__(self, session: boto3.Session) -> None:
        with translated("set up a client for SageMaker"):
            self._sagemaker = session.client("sagemaker")
            self._runtime = session.client("sagemaker-runtime")
        self.region = self._sagemaker.meta.region_name

    def create_model(self, name: str, model: Model, tags: Mapping[str, str]) -> None:
        """Create a model.

        Raises:
            AlreadyExists: a resource has this name.
        """
        with _translated_by_message(f"create SageMaker model {name}"):
            self._sagemaker.create_model(
                ModelName=name,
                ExecutionRoleArn=model.role,
                PrimaryContainer={
                    "Image": model.image,
                    "ModelDataUrl": model.data_url,
                    "Environment": dict(model.environment),
                },
                Tags=_tags(tags),
            )

    def model(self, name: str) -> Model:
        """A model.

        Raises:
            NotFound: it does not exist.
        """
        with _translated_by_message(f"look at SageMaker model {name}"):
            found = self._sagemaker.describe_model(ModelName=name)
        container = found.get("PrimaryContainer", {})
        return Model(
            image=container.get("Image", ""),
            data_url=container.get("ModelDataUrl", ""),
            environment=container.get("Environment", {}),
            role=found.get("ExecutionRoleArn", ""),
        )

    def create_endpoint_config(self, name: str, config: EndpointConfig, tags: Mapping[str, str]) -> None:
        """Create an endpoint configuration, of the one variant ``VARIANT``.

        Raises:
            AlreadyExists: a resource has this name.
        """
        # Any: the type of an instance is an option's text, not one of the stubs' literals.
        variant: Any = {
            "VariantName": VARIANT,
            "ModelName": config.model,
            "InstanceType": config.instance_type,
            "InitialInstanceCount": config.instances,
            "InitialVariantWeight": 1.0,
        }
        disk: Any = {"KmsKeyId": config.kms_key} if config.kms_key else {}
        with _translated_by_message(f"create endpoint configuration {name}"):
            self._sagemaker.create_endpoint_config(
                EndpointConfigName=name, ProductionVariants=[variant], Tags=_tags(tags), **disk
            )

    def endpoint_config(self, name: str) -> EndpointConfig | None:
        """An endpoint configuration; None if it has a form that ``create_endpoint_config`` does not make.

        Raises:
            NotFound: no resource has this name.
        """
        with _translated_by_message(f"look at endpoint configuration {name}"):
            found = self._sagemaker.describe_endpoint_config(EndpointConfigName=name)
        variants = found["ProductionVariants"]
        if [variant["VariantName"] for variant in variants] != [VARIANT]:
            return None
        return EndpointConfig(
            model=variants[0].get("ModelName", ""),
            instance_type=variants[0].get("InstanceType", ""),
            instances=variants[0].get("InitialInstanceCount", 0),
            kms_key=found.get("KmsKeyId", ""),
        )

    def record_previous(self, config: str, previous: str) -> None:
        """Record in a tag of a configuration which one its endpoint ran before; empty for none."""
        self.tag(self._config_arn(config), {_PREVIOUS: previous})

    def previous(self, config: str) -> str:
        """The configuration that ``record_previous`` wrote last; empty if it never did."""
        return self.tags(self._config_arn(config)).get(_PREVIOUS, "")

    def _config_arn(self, name: str) -> str:
        with _translated_by_message(f"look at endpoint configuration {name}"):
            return self._sagemaker.describe_endpoint_config(EndpointConfigName=name)["EndpointConfigArn"]

    def create_endpoint(self, name: str, config: str, tags: Mapping[str, str]) -> None:
        """Start the creation of an endpoint, which has its tags from the first moment on.

        Raises:
            AlreadyExists: a resource has this name.
        """
        with _translated_by_message(f"create endpoint {name}"):
            self._sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config, Tags=_tags(tags))

    def update_endpoint(self, name: str, config: str) -> None:
        """Start the update of an endpoint to another configuration; it keeps autoscaled instance counts."""
        with _translated_by_message(f"update endpoint {name} to {config}"):
            self._sagemaker.update_endpoint(
                EndpointName=name, EndpointConfigName=config, RetainAllVariantProperties=True
            )

    def endpoint(self, name: str) -> Endpoint:
        """An endpoint.

        Raises:
            NotFound: it does not exist.
        """
        with _translated_by_message(f"look at endpoint {name}"):
            found = self._sagemaker.describe_endpoint(EndpointName=name)
        pending = found.get("PendingDeploymentSummary")
        return Endpoint(
            arn=found["EndpointArn"],
            status=found["EndpointStatus"],
            config=found.get("EndpointConfigName", ""),
            pending_config=pending["EndpointConfigName"] if pending else "",
            reason=found.get("FailureReason", "").strip(),
        )

    def tag(self, arn: str, tags: Mapping[str, str]) -> None:
        """Set tags; they replace those with the same keys."""
        with _translated_by_message(f"tag {arn}"):
            self._sagemaker.add_tags(ResourceArn=arn, Tags=_tags(tags))

    def tags(self, arn: str) -> dict[str, str]:
        """The tags of a resource."""
        with _translated_by_message(f"read the tags of {arn}"):
            pages = self._sagemaker.get_paginator("list_tags").paginate(ResourceArn=arn)
            return {tag["Key"]: tag["Value"] for page in pages for tag in page["Tags"]}

    def invoke(self, name: str, body: bytes) -> Answer:
        """The answer of an endpoint to a JSON document.

        Raises:
            ModelBusy: the container asks to send the request again.
            ModelRefused: the container answered with another error.
        """
        with _translated_by_message(f"have endpoint {name} answer"):
            found = self._runtime.invoke_endpoint(
                EndpointName=name, ContentType="application/json", Accept="application/json", Body=body
            )
            return Answer(found["Body"].read(), found.get("CustomAttributes", ""))


@contextmanager
def _translated_by_message(action: str) -> Iterator[None]:
    """Like ``translated``, but it also reads the messages: SageMaker uses one code for many errors."""
    with translated(action):
        try:
            yield
        except ClientError as error:
            text = str(error.response.get("Error", {}).get("Message", ""))
            if error_code(error) == "ModelError":
                busy = error.response.get("OriginalStatusCode") == _BUSY_STATUS
                kind = ModelBusy if busy else ModelRefused
                raise kind(f"could not {action} ({text.strip().rstrip('.')})") from error
            if error_code(error) == "ValidationException":
                if text.startswith("Could not find"):
                    # SageMaker names what is missing, which may be another resource than that of the action.
                    raise NotFound(f"could not {action} ({text.strip().rstrip('.')})") from error
                if text.startswith("Cannot update in-progress"):
                    fix = "another program changes it, so retry this step when it is InService"
                    raise AwsError(f"could not {action} ({text.strip().rstrip('.')}): {fix}") from error
                if text.startswith("Cannot create already existing"):
                    raise AlreadyExists(f"could not {action}: it exists already") from error
            raise


def _tags(tags: Mapping[str, str]) -> list[TagTypeDef]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
