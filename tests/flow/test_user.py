from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from metaflow import util

from modelbuild import flow


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, f"uid-{os.getuid()}"),
        ({"USER": "root", "LOGNAME": "root"}, f"uid-{os.getuid()}"),
        ({"LOGNAME": "ada"}, "ada"),
        ({"USER": "ada", "LOGNAME": "other"}, "ada"),
        ({"USER": "root", "SUDO_USER": "ada"}, "ada"),
    ],
)
def test_metaflow_always_knows_a_user(
    variables: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container without USER, without an entry in passwd or as root runs a flow; a set name stays."""
    for key in ("METAFLOW_USER", "SUDO_USER", "USERNAME", "USER", "LOGNAME"):
        monkeypatch.delenv(key, raising=False)
    for key, value in variables.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr("metaflow.metaflow_config.USER", None)
    flow._name_user(os.environ)
    get_username: Callable[[], str] = util.get_username
    assert get_username() == name
