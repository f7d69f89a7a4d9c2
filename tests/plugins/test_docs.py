from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from modelbuild.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("plugins/*/README.md"))]
TRAIN = (ROOT / "docs" / "train.md").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link of a page names a file that exists, and a heading that this file has."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in [heading.lower().replace(" ", "-") for heading in headings], target


def names(schema: dict[str, Any], prefix: str = "") -> set[str]:
    """The options of a schema on every level, by their dotted names."""
    found = set()
    for name, option in schema.get("properties", {}).items():
        found |= {f"{prefix}{name}"} | names(option, f"{prefix}{name}.")
    return found


def test_options_that_the_page_names_exist() -> None:
    """What docs/train.md calls an option of the plugin is one."""
    schema = yaml.safe_load((ROOT / "plugins" / "train" / "plugin.yml").read_text())["configuration"]
    matches = re.findall(r"[Oo]ption\s`([a-z.-]+)`|`(aws\.(?!source|destination)[a-z-]+)", TRAIN)
    found = {first or second for first, second in matches}
    assert {"params", "aws.role-arn", "timeout"} <= found <= names(schema)


def test_commands_that_the_page_names_exist() -> None:
    """What a page calls a command of modelbuild is one, with the options it gives it."""
    pages = "".join(page.read_text() for page in PAGES)
    matches = re.findall(r"`modelbuild ([a-z]+)((?: --[a-z-]+)*)`", pages)
    assert {"init", "check", "doctor", "train"} <= {name for name, _ in matches}
    for name, options in matches:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, name
        has = {
            flag
            for parameter in command.params
            if isinstance(parameter, click.Option)
            for flag in parameter.opts
        }
        assert set(options.split()) <= has, name


def test_every_policy_is_on_the_page() -> None:
    """docs/train.md leads to each policy in docs/iam."""
    linked = set(re.findall(r"\]\((iam/[a-z-]+\.json)\)", TRAIN))
    assert linked == {f"iam/{path.name}" for path in (ROOT / "docs" / "iam").glob("*.json")}
