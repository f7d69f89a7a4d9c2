"""The alert that W&B sends of a training that failed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import standins
from heads import Head

KEY = "k" * 40


@pytest.fixture
def wandb_url(tmp_path: Path) -> Iterator[str]:
    """The address of W&B's stand-in."""
    with standins.started("wandb", "--data", tmp_path / "wandb") as running:
        yield running.url


def with_secret(head: Head, url: str, secret: dict[str, str], name: str) -> None:
    """Give a head a W&B, with a secret for its key."""
    vault = standins.client(head.environ["AWS_ENDPOINT_URL"], "secretsmanager")
    arn = vault.create_secret(Name=name, SecretString=json.dumps(secret))["ARN"]
    head.environ |= {"WANDB_BASE_URL": url, "WANDB_SECRET_ARN": arn}


def test_failure_is_told_to_wandb(head: Head, archived: bytes, buildkite: Any, wandb_url: str) -> None:
    """The run of a training that failed is marked so, with the reason as an alert; the build has it, too."""
    with_secret(head, wandb_url, {"WANDB_API_KEY": KEY}, "wandb/told")
    head.write_request(archived, parameters={"act": "raise"})
    code, output = head.run()
    assert code == 13, output
    assert buildkite.fields == [head.result().to_fields()]
    page = httpx.get(f"{wandb_url}/local/demo/runs/demo-sentiment-7", cookies=standins.PAGE_COOKIES).text
    assert "Training of sentiment 7 failed" in page
    assert "step start failed: RuntimeError: lost the key [redacted]" in page
    assert '<span class="badge">failed</span>' in page
    assert KEY not in output


def test_success_is_not_told(head: Head, archived: bytes, wandb_url: str) -> None:
    """A training that succeeded has its run from its steps, and no alert."""
    with_secret(head, wandb_url, {"WANDB_API_KEY": KEY}, "wandb/not-told")
    head.write_request(archived, parameters={"act": "publish"})
    code, output = head.run()
    assert code == 0, output
    assert "No run yet" in httpx.get(wandb_url, cookies=standins.PAGE_COOKIES).text


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ({}, "W&B gets no alert: secret "),
        ({"WANDB_API_KEY": KEY}, "W&B did not take run demo-sentiment-7 ("),
    ],
)
def test_failure_is_delivered_without_wandb(
    head: Head, archived: bytes, buildkite: Any, secret: dict[str, str], said: str
) -> None:
    """Without a key, and without a W&B, the build has its result, and the log has a sentence."""
    with_secret(head, "http://127.0.0.1:9", secret, f"wandb/without-{len(secret)}")
    head.write_request(archived, parameters={"act": "raise"})
    code, output = head.run()
    assert code == 13, output
    assert buildkite.fields == [head.result().to_fields()]
    assert output.count(said) == 1
    assert KEY not in output
