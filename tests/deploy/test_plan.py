from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory import MemoryObjects
from modelbuild.contract import Manifest, TrainingResult
from modelbuild.deploy import plan
from modelbuild.handoff.manifest import Handoff
from modelbuild.settings.deploy import DeploySettings
from modelbuild.store.model import ModelStore

DATA = Path(__file__).parents[1] / "data" / "model-12"
PREFIX = "s3://modelbuild-222222222222/models/comments/sentiment/12"
MANIFEST = Manifest.model_validate_json((DATA / "manifest.json").read_bytes())
RESULT = TrainingResult.model_validate_json((DATA / "result.json").read_bytes())
COPIED = ModelStore(MemoryObjects(), PREFIX)
AWS_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")
_LETTERS = st.sampled_from("aZ09")
ENDPOINTS = _LETTERS | st.builds("{}{}{}".format, _LETTERS, st.text("aZ09-", max_size=61), _LETTERS)
MODEL_IDS = st.from_regex(r"[1-9][0-9]{0,9}(\.[1-9][0-9]{0,5})?", fullmatch=True)


def planned(
    endpoint: str = "sentiment",
    model_id: str = "12",
    url: str | None = None,
    result: dict[str, Any] | None = None,
    **options: Any,
) -> plan.Plan:
    """The plan for model 12 with some things otherwise."""
    build = MANIFEST.request.build.model_copy(update={"url": url} if url is not None else {})
    request = MANIFEST.request.model_copy(update={"model_id": model_id, "build": build})
    settings = DeploySettings(
        endpoint=endpoint,
        artifacts="s3://modelbuild-222222222222/models",
        **{"role": "arn:aws:iam::222222222222:role/modelbuild-sagemaker", **options},
    )
    handoff = Handoff(
        COPIED, RESULT.model_copy(update=result or {}), MANIFEST.model_copy(update={"request": request}), b""
    )
    return plan.plan_deployment(handoff, COPIED, settings)


@given(endpoint=ENDPOINTS, model_id=MODEL_IDS)
def test_every_name_is_one_that_sagemaker_takes(endpoint: str, model_id: str) -> None:
    """At most 63 letters, digits and inner hyphens, and the model's id is whole in it."""
    name = planned(endpoint, model_id).name
    assert len(name) <= 63
    assert AWS_NAME.fullmatch(name)
    assert f"-{model_id.replace('.', '-')}-" in name


def test_a_kms_key_is_part_of_what_is_served() -> None:
    """The key is in the endpoint's configuration, and with another one it is another configuration."""
    key = "arn:aws:kms:us-east-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    own, other = planned(kms_key=key), planned(kms_key=f"{key}0")
    assert (planned().config.kms_key, own.config.kms_key) == ("", key)
    assert len({planned().name, own.name, other.name}) == 3


def test_the_same_deployment_has_the_same_name() -> None:
    """A retried step finds what the first run made."""
    assert planned() == planned()


@pytest.mark.parametrize(
    "change",
    [
        {"result": {"image": "team/serve:2"}},
        {"result": {"model_sha256": "0" * 64}},
        {"result": {"env": {"MODEL_ID": "13"}}},
        {"instance_type": "ml.c6i.large"},
        {"role": "arn:aws:iam::222222222222:role/another"},
        {"model_id": "13"},
        {"endpoint": "reviews"},
    ],
)
def test_whatever_differs_in_serving_differs_in_name(change: dict[str, Any]) -> None:
    """Two deployments that differ never meet under one name."""
    assert planned(**change).name != planned().name


def test_two_endpoints_with_long_names_have_a_configuration_each() -> None:
    """Each configuration says what its endpoint ran before, so that no two endpoints may share one."""
    stem = "reviews-of-products-in-all-shops-of-the-company-in"
    assert planned(f"{stem}-europe").name != planned(f"{stem}-america").name


@given(st.text())
def test_every_tag_is_one_that_aws_takes(url: str) -> None:
    """Whatever stands in a build's address, the tags can be set."""
    for key, value in planned(url=url).tags.items():
        assert len(key) <= 128
        assert len(value) <= 256
        assert re.fullmatch(r"[\w\s.:/=+\-@]*", value)
    assert planned(url=url).tags["MODEL_ID"] == "12"
