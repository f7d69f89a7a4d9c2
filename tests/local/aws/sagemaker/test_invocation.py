"""Calls of an endpoint, and which variant answers."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from endpoints import Serving


def test_errors_of_the_container_are_model_errors(serving: Serving) -> None:
    """Its status and words come through with code ModelError; a dead process is one too, and starts again."""
    serving.deployed("erring")
    with pytest.raises(serving.runtime.exceptions.ModelError) as failure:
        serving.call("erring", b"bad")
    answer = failure.value.response
    assert (answer["OriginalStatusCode"], answer["OriginalMessage"]) == (422, "no such word")
    assert answer["LogStreamArn"].endswith("log-group:/aws/sagemaker/Endpoints/erring")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 424
    before = serving.call("erring")[1]["pid"]
    with pytest.raises(serving.runtime.exceptions.ModelError):
        serving.call("erring", b"die")

    def is_back() -> bool:
        try:
            return bool(serving.call("erring")[1]["pid"] != before)
        except ClientError:
            return False

    serving.wait(is_back)


def test_variants_share_calls_by_weight(serving: Serving) -> None:
    """Each variant has its process; a variant of weight 0 answers only when it is asked for."""
    serving.config("two", serving.model("two-a"), serving.model("two-b"), InitialVariantWeight=0.5)
    serving.create("two", "two")

    def variants() -> set[str]:
        return {serving.call("two")[0]["InvokedProductionVariant"] for _ in range(30)}

    assert variants() == {"AllTraffic", "Variant1"}
    serving.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="two",
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredWeight": 0.0}],
    )
    assert variants() == {"Variant1"}
    wanted, _ = serving.call("two", TargetVariant="AllTraffic")
    assert (wanted["InvokedProductionVariant"], wanted["CustomAttributes"]) == (
        "AllTraffic",
        "model_id=two-a",
    )
