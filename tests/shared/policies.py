"""Policies, as moto enforces them."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Mapping
from typing import Any

import boto3
import pytest

import standins

_numbers = itertools.count(1)


def as_moto_reads(policy: Mapping[str, Any]) -> dict[str, Any]:
    """The policy for moto, which knows resources of S3 only, no ``?`` in them, and the actions of Batch in
    small letters.

    Other tests check the resources of other services, and the conditions.
    """
    changed = copy.deepcopy(dict(policy))
    for statement in changed["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        if actions[0].startswith("batch:"):
            statement["Action"] = [action.lower() for action in actions]
        if not actions[0].startswith("s3:"):
            statement["Resource"] = "*"
        elif isinstance(statement["Resource"], list):
            # Moto takes resources for regular expressions, in which a dot is any character.
            statement["Resource"] = [resource.replace("?", ".") for resource in statement["Resource"]]
        statement.pop("Condition", None)
    return changed


def without(policy: Mapping[str, Any], sid: str) -> dict[str, Any]:
    """The policy without one statement."""
    kept = [statement for statement in policy["Statement"] if statement["Sid"] != sid]
    assert len(kept) == len(policy["Statement"]) - 1
    return {**policy, "Statement": kept}


def become(url: str, monkeypatch: pytest.MonkeyPatch, policy: Mapping[str, Any]) -> None:
    """Be a user of the AWS stand-in with just this policy, from now on and with policies enforced."""
    iam: Any = boto3.Session().client("iam")
    name = f"somebody-{next(_numbers)}"
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    standins.enforce_policies(url, True)
