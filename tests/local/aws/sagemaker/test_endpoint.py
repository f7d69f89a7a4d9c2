"""Endpoints that serve, change and end."""

from __future__ import annotations

import os
import threading

import pytest

from endpoints import IMAGE, Serving, refused


def test_an_endpoint_serves_from_its_model_in_an_environment_of_its_own(serving: Serving) -> None:
    """The process has the model's files and variables, the role's credentials, nothing of the developer."""
    serving.deployed("own")
    sent = {"ContentType": "text/x", "Accept": "text/y", "CustomAttributes": "a=1"}
    answer, seen = serving.call("own", b"12345", **sent)
    assert seen["files"] == ["mode", "weights"]
    assert seen["size"] == 5
    headers = {key.lower(): value for key, value in seen["headers"].items()}
    assert (headers["content-type"], headers["accept"]) == ("text/x", "text/y")
    assert headers["x-amzn-sagemaker-custom-attributes"] == "a=1"
    assert not [name for name in headers if "authorization" in name or name.startswith("x-amz-")]
    environment = seen["environment"]
    assert (environment["MODEL_ID"], environment["FROM_IMAGE"]) == ("own", "yes")
    assert environment["AWS_REGION"] == "us-east-1"
    assert environment["SM_MODEL_DIR"].endswith("/opt/ml/model")
    assert environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    assert "ONLY_THE_DEVELOPER_HAS_THIS" not in environment
    assert (answer["ContentType"], answer["CustomAttributes"]) == ("application/json", "model_id=own")
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    serving.wait(lambda: "model plain is loading" in serving.log("own"))


def test_an_endpoint_is_described_as_on_aws(serving: Serving) -> None:
    """DescribeEndpoint names configuration, images, weights and counts; ListEndpoints has it."""
    serving.deployed("shown")
    found = serving.describe("shown")
    [variant] = found["ProductionVariants"]
    assert found["EndpointConfigName"] == "shown"
    assert found["EndpointArn"] == "arn:aws:sagemaker:us-east-1:123456789012:endpoint/shown"
    assert variant["DeployedImages"][0]["SpecifiedImage"] == IMAGE
    assert (variant["CurrentWeight"], variant["DesiredInstanceCount"]) == (1.0, 1)
    assert "PendingDeploymentSummary" not in found
    listed = serving.sagemaker.list_endpoints(StatusEquals="InService")["Endpoints"]
    assert "shown" in [item["EndpointName"] for item in listed]
    model = serving.sagemaker.describe_model(ModelName="shown")
    assert model["PrimaryContainer"]["Environment"] == {"MODEL_ID": "shown"}
    assert "Containers" not in model


def test_no_call_fails_while_an_endpoint_changes_its_model(serving: Serving) -> None:
    """The old process answers until the new one does, also the calls that are under way."""
    serving.deployed("moving")
    serving.config("moving-2", serving.model("moving-2"))
    answered: list[str] = []
    failed: list[Exception] = []
    done = threading.Event()

    def call_again_and_again() -> None:
        while not done.is_set():
            try:
                answered.append(serving.call("moving", b"slow")[0]["CustomAttributes"])
            except Exception as error:  # noqa: BLE001 - no call may fail, for whatever reason
                failed.append(error)

    callers = [threading.Thread(target=call_again_and_again) for _ in range(3)]
    for caller in callers:
        caller.start()
    serving.wait(lambda: answered)
    found = serving.update("moving", "moving-2")
    serving.wait(lambda: answered[-1] == "model_id=moving-2")
    done.set()
    for caller in callers:
        caller.join()
    assert failed == []
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "moving-2")
    assert set(answered) == {"model_id=moving", "model_id=moving-2"}


def test_an_endpoint_stays_with_its_model_when_the_new_one_does_not_start(serving: Serving) -> None:
    """After the rollback it serves from the old configuration, and says why."""
    serving.deployed("staying")
    before = serving.call("staying")[1]["pid"]
    serving.config("staying-2", serving.model("staying-2", "exit"))
    serving.sagemaker.update_endpoint(EndpointName="staying", EndpointConfigName="staying-2")
    found = serving.describe("staying")
    assert found["EndpointStatus"] in ("Updating", "RollingBack", "InService")
    found = serving.settled("staying")
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "staying")
    assert "AllTraffic did not pass the ping health check" in found["FailureReason"]
    assert "exited with code 7" in found["FailureReason"]
    assert serving.call("staying")[1]["pid"] == before


def test_a_deleted_endpoint_ends_its_process_and_its_name_is_free(serving: Serving) -> None:
    """Deleting is seen, then nothing is left of it, and the name can be taken again."""
    serving.deployed("leaving")
    pid = serving.call("leaving")[1]["pid"]
    serving.sagemaker.delete_endpoint(EndpointName="leaving")

    def is_gone() -> bool:
        listed = serving.sagemaker.list_endpoints(NameContains="leaving")
        return not listed["Endpoints"]

    serving.wait(is_gone)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not list((serving.cloud.scratch / "endpoints" / "leaving").rglob("weights"))
    assert serving.create("leaving", "leaving")["EndpointStatus"] == "InService"


def test_tags_are_merged_by_key(serving: Serving) -> None:
    """AddTags replaces the value of a key that is there."""
    serving.model("tagged")
    arn = serving.sagemaker.describe_model(ModelName="tagged")["ModelArn"]
    for value in ("1", "2"):
        serving.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "model_id", "Value": value}])
    assert serving.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "model_id", "Value": "2"}]
    bad = [{"Key": "model id", "Value": "a;b"}]
    assert "regular expression" in refused(serving.sagemaker.add_tags, ResourceArn=arn, Tags=bad)
    assert "Could not find" in refused(
        serving.sagemaker.list_tags, ResourceArn=arn.replace("tagged", "unknown")
    )
