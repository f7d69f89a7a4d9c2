"""The environment of agents, as their host would set it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from modelbuild_local.laptop import DATA_LAKE_ACCOUNT, PRODUCTION_ACCOUNT, REGION, State

_FOREIGN = ("AWS_", "BUILDKITE", "METAFLOW_", "MODELBUILD_", "WANDB_")
"""The prefixes of variables of the user's shell that may belong to other accounts."""

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_THIS_MACHINE = ("127.0.0.1", "localhost")


def without_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables for programs to call this machine without the user's proxies; none without a proxy."""
    if not any(environ.get(name) or environ.get(name.upper()) for name in _PROXIES):
        return {}
    # Programs that read both prefer the lower case.
    listed = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if listed.strip() != "*":
        present = [host.strip() for host in listed.split(",") if host.strip()]
        listed = ",".join(dict.fromkeys([*present, *_THIS_MACHINE]))
    return {"NO_PROXY": listed, "no_proxy": listed}


def agent_environment(state: State, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables with the addresses of the local services; the tokens are in Secrets Manager.

    Args:
        state: the running laptop mode.
        environ: the user's variables, which may name proxies.
    """
    return {
        **without_proxy(environ),
        "AWS_ENDPOINT_URL": state.aws_url,
        "MODELBUILD_CONSOLE_URL": state.console_url,
        "AWS_ACCESS_KEY_ID": state.aws_key_id,
        "AWS_SECRET_ACCESS_KEY": state.aws_secret,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "BUILDKITE_API_URL": f"{state.buildkite_url}/v2",
        "WANDB_BASE_URL": state.wandb_url,
        "MODELBUILD_PYTHON": sys.executable,
        "DATA_LAKE_ACCOUNT": DATA_LAKE_ACCOUNT,
        "PRODUCTION_ACCOUNT": PRODUCTION_ACCOUNT,
        # The local AWS is empty at its start, so the first build of any branch deploys the stack.
        "STACK_BRANCHES": "*",
    }


def process_environment(state: State, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The complete environment of an agent: the user's, without variables of other accounts."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_FOREIGN)}
    path = os.pathsep.join([str(Path(sys.executable).parent), environ.get("PATH", os.defpath)])
    return {**kept, **agent_environment(state, environ), "PATH": path}
