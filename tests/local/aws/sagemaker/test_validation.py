"""Requests that SageMaker refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from endpoints import BUCKET, IMAGE, Serving, refused


def test_calls_that_sagemaker_refuses(serving: Serving) -> None:
    """Unknown endpoints and variants, and bodies over 6 MiB, are refused with AWS's words."""
    serving.deployed("strict")
    for arguments, message in (
        ({"name": "nowhere"}, "Endpoint nowhere of account 123456789012 not found"),
        ({"name": "strict", "TargetVariant": "Other"}, "Variant Other is not found"),
        ({"name": "strict", "body": bytes(6_291_457)}, "less than or equal to 6291456"),
        ({"name": "strict", "CustomAttributes": "x" * 1025}, "less than or equal to 1024"),
    ):
        with pytest.raises(ClientError, match=message) as refusal:
            serving.call(**arguments)
        assert refusal.value.response["Error"]["Code"] == "ValidationError"
    assert serving.call("strict", bytes(6_291_456))[1]["size"] == 6_291_456


def test_what_is_there_cannot_be_created_again_nor_changed_while_it_changes(
    serving: Serving, tmp_path: Path
) -> None:
    """Names are taken once, whatever their case, and an endpoint does one thing at a time."""
    serving.deployed("taken")
    create = serving.sagemaker.create_endpoint
    assert "Cannot create already existing model" in refused(lambda: serving.model("taken"))
    assert "Cannot create already existing endpoint configuration" in refused(
        lambda: serving.config("taken", "taken")
    )
    assert 'Cannot create already existing endpoint "arn:' in refused(
        create, EndpointName="TAKEN", EndpointConfigName="taken"
    )
    healthy = tmp_path / "healthy"
    serving.config("taken-2", serving.model("taken-2", f"held {healthy}"))
    change = {"EndpointName": "taken", "EndpointConfigName": "taken-2"}
    serving.sagemaker.update_endpoint(**change)
    assert serving.describe("taken")["PendingDeploymentSummary"]["EndpointConfigName"] == "taken-2"
    assert "Cannot update in-progress endpoint" in refused(serving.sagemaker.update_endpoint, **change)
    assert "Cannot update in-progress" in refused(serving.sagemaker.delete_endpoint, EndpointName="taken")
    healthy.touch()
    assert serving.settled("taken")["EndpointConfigName"] == "taken-2"


def test_missing_resources_are_not_found(serving: Serving) -> None:
    """Everything that is missing is named by its ARN."""
    client, name = serving.sagemaker, "missing"
    serving.deployed("found")
    for call, kind in (
        (lambda: client.describe_model(ModelName=name), "model"),
        (lambda: client.describe_endpoint_config(EndpointConfigName=name), "endpoint configuration"),
        (lambda: client.describe_endpoint(EndpointName=name), "endpoint"),
        (lambda: client.delete_endpoint(EndpointName=name), "endpoint"),
        (lambda: serving.update(name, "found"), "endpoint"),
        (lambda: serving.update("found", name), "endpoint configuration"),
        (lambda: serving.create("x", name), "endpoint configuration"),
        (lambda: serving.config("x", name), "model"),
    ):
        assert f"Could not find {kind}" in refused(call)
    assert serving.describe("found")["EndpointStatus"] == "InService"


def test_models_are_checked(serving: Serving) -> None:
    """Roles and data that are not there, too many variables and impossible timeouts are refused."""
    client, image = serving.sagemaker, {"Image": IMAGE}
    other = "arn:aws:iam::123456789012:role/nobody"
    model = {"ModelName": "checked", "ExecutionRoleArn": serving.role}
    assert "Could not assume role" in refused(
        client.create_model, **{**model, "ExecutionRoleArn": other}, PrimaryContainer=image
    )
    for data in (f"s3://{BUCKET}/nothing.tar.gz", "s3://no-such-bucket-at-all/x", f"s3://{BUCKET}/nothing/"):
        assert f"Could not find model data at {data}." in refused(
            client.create_model, **model, PrimaryContainer={**image, "ModelDataUrl": data}
        )
    many = {f"V{number}": "" for number in range(101)}
    assert "environment" in refused(
        client.create_model, **model, PrimaryContainer={**image, "Environment": many}
    )
    serving.model("checked")
    assert "containerStartupHealthCheckTimeout" in refused(
        lambda: serving.config("checked", "checked", ContainerStartupHealthCheckTimeoutInSeconds=3601)
    )
    for wrong in ("ml.m5.larg", "m5.large"):
        assert f"Value '{wrong}' at 'instanceType'" in refused(
            lambda kind=wrong: serving.config("checked", "checked", InstanceType=kind)
        )


_LETTERS = st.text("aZ0-", max_size=20)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.builds("{}{}{}".format, _LETTERS, st.sampled_from("_./ é\n"), _LETTERS)
    | st.text("aZ0", min_size=64, max_size=80)
    | _LETTERS.map("{}-".format)
)
def test_names_that_aws_would_refuse_are_refused(serving: Serving, name: str) -> None:
    """No endpoint or configuration has a name with other characters than AWS takes, or a long one."""
    assert "at 'endpointName'" in refused(
        serving.sagemaker.create_endpoint, EndpointName=name, EndpointConfigName="x"
    )
    assert "at 'endpointConfigName'" in refused(lambda: serving.config(name, "x"))
