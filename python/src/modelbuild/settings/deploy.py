"""The options of the plugin ``deploy``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from modelbuild.contract import ModelName, S3Uri
from modelbuild.settings.aws import AwsSettings
from modelbuild.settings.options import EndpointName, Options, PluginOptions, RoleArn

KMS_KEY = r"^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$"
# Names are no part of this: each user chooses their own.
Person = Annotated[str, StringConstraints(pattern=r"^([^@\s]+@[^@\s]+|[0-9a-fA-F-]{36})$")]


class CopySettings(Options):
    """The two identities of a copy from one account to another."""

    source: AwsSettings = Field(AwsSettings(), description="Reads the model in the account that trained it.")
    destination: AwsSettings = Field(
        AwsSettings(), description="Writes the model and runs the endpoint in the account that serves it."
    )


class DeploySettings(PluginOptions):
    """Options of the plugin ``deploy``."""

    plugin = "deploy"

    model: ModelName | None = Field(
        None,
        description="Name of the model that this step follows, where a build trains several.",
    )
    endpoint: EndpointName = Field(
        description="Name of the SageMaker endpoint, which is created when it does not exist."
    )
    artifacts: S3Uri = Field(
        description="Where served models lie in S3, in the endpoint's account; the model is copied there."
    )
    instance_type: Annotated[str, StringConstraints(pattern=r"^ml\.[a-z0-9.-]+$")] = Field(
        "ml.m5.large", alias="instance-type", description="Instance type of the endpoint."
    )
    kms_key: Annotated[str, StringConstraints(pattern=KMS_KEY)] | None = Field(
        None,
        alias="kms-key",
        description="ARN of the KMS key that encrypts the endpoint's disks; by default AWS's own key.",
    )
    role: RoleArn = Field(description="Execution role that SageMaker runs the model as.")
    approvers: list[Person] = Field(
        [],
        description="Users who may unblock the deployment, by e-mail address or id; by default all but the "
        "training's own user.",
    )
    aws: CopySettings = Field(
        CopySettings(), description="Regions and identities with which the step reads and serves the model."
    )
    timeout: int = Field(3600, ge=60, description="Seconds that the endpoint may take to serve the model.")
