from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("plugin", ["train", "notify", "deploy"])
def test_readme_shows_the_policies_of_docs(plugin: str) -> None:
    """The policies that a README shows are the files in ``docs/iam`` that are named after the plugin."""
    readme = (ROOT / "plugins" / plugin / "README.md").read_text()
    shown = [block for block in re.findall("```json\n(.*?)```", readme, re.DOTALL) if '"Statement"' in block]
    files = [path.read_text() for path in (ROOT / "docs" / "iam").glob(f"{plugin}*.json")]
    assert sorted(shown) == sorted(files)
    assert shown


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "iam").glob("*.json")), ids=lambda path: path.stem)
def test_policies_are_least_privilege_in_form(path: Path) -> None:
    """No statement allows every action of a service, and ``*`` as a resource stands for reading only."""
    for statement in json.loads(path.read_text())["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert not any("*" in action for action in actions), statement["Sid"]
        if statement["Resource"] == "*":
            assert all(re.match(r"[a-z0-9]+:(Describe|List|Get)", action) for action in actions), statement[
                "Sid"
            ]
