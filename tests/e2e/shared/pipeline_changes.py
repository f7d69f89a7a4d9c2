"""Changes of a pipeline that the end-to-end tests build."""

from __future__ import annotations

import json
from typing import Any

import yaml

Json = dict[str, Any]


def train_options(pipeline: Json, **options: Any) -> Json:
    """A pipeline whose first step, which trains, has other options."""
    changed: Json = json.loads(json.dumps(pipeline))
    changed["steps"][0]["plugins"][0]["./plugins/train"] |= options
    return changed


def for_endpoint(pipeline: Json, endpoint: str) -> Json:
    """A pipeline whose model is compared with the live one of this endpoint, and deployed there."""
    changed: Json = json.loads(json.dumps(pipeline))
    plugins = [plugin for step in changed["steps"] for plugin in step.get("plugins", [])]
    for plugin in plugins:
        if "./plugins/notify" in plugin:
            plugin["./plugins/notify"]["compare-with"]["endpoint"] = endpoint
        if "./plugins/deploy" in plugin:
            plugin["./plugins/deploy"]["endpoint"] = endpoint
    return changed


def from_train_on(pipeline: str) -> Json:
    """The pipeline without what comes before its ``train`` step."""
    steps = yaml.safe_load(pipeline)["steps"]
    kept = [step for step in steps if step.get("key") not in ("images", "stack", "lake")]
    kept[0].pop("depends_on")
    return {"steps": kept}
