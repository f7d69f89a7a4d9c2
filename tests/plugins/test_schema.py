from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from modelbuild.settings.train import TrainSettings

REFERENCE = re.compile(r"^https://github\.com/[^/]+/modelbuild\.git/plugins/(?P<name>\w+)#v\d+\.\d+\.\d+$")


def published(model: type[BaseModel]) -> dict[str, Any]:
    """A settings model as the JSON schema that plugin.yml has to publish."""
    schema = model.model_json_schema(by_alias=True)
    return _plain(schema, schema.get("$defs", {}))


def _plain(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Without references, titles, class documentation and null, which no option may be."""
    if "$ref" in node:
        inner = _plain(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
        inner.pop("description", None)
        return inner | {key: node[key] for key in ("description",) if key in node}
    if "anyOf" in node:
        (only,) = [part for part in node["anyOf"] if part != {"type": "null"}]
        return _plain({**only, "description": node["description"]}, definitions)
    kept = ("type", "description", "pattern", "minLength", "minimum", "maximum", "required")
    plain = {key: node[key] for key in kept if key in node}
    if node.get("default") not in (None, {}) and plain.get("type") in ("string", "integer", "boolean"):
        plain["default"] = node["default"]
    if plain.get("type") == "array":
        plain["items"] = _plain(node["items"], definitions)
    if plain.get("type") == "object":
        if "properties" in node:
            plain["properties"] = {
                name: _plain(inner, definitions) for name, inner in node["properties"].items()
            }
        # A map whose keys have a pattern is closed to all others as well.
        patterns = node.get("patternProperties")
        if patterns:
            plain["patternProperties"] = {
                pattern: _plain(inner, definitions) for pattern, inner in patterns.items()
            }
        if "properties" in node or patterns:
            plain["additionalProperties"] = False
    return plain


def options(schema: dict[str, Any], prefix: str = "") -> dict[str, tuple[str, str, str]]:
    """Type, default and description of each option, by its dotted name, as a README shows them."""
    rows: dict[str, tuple[str, str, str]] = {}
    for name, option in schema["properties"].items():
        if "properties" in option:
            rows |= options(option, f"{prefix}{name}.")
            continue
        kind = {"object": "map"}.get(option["type"], option["type"])
        if "patternProperties" in option:
            (inner,) = option["patternProperties"].values()
            kind = "map of map" if inner["type"] == "object" else "map of string"
        if option["type"] == "array":
            kind = f"list of {option['items']['type']}"
        if "maximum" in option:
            kind = f"{kind}, {option['minimum']} to {option['maximum']}"
        elif "minimum" in option:
            kind = f"{kind}, ≥ {option['minimum']}"
        default = f"`{json.dumps(option['default']).strip(chr(34))}`" if "default" in option else ""
        if name in schema.get("required", []):
            default = "required"
        rows[f"{prefix}{name}"] = (kind, default, option["description"])
    return rows


def read_plugin(root: Path, plugin: str) -> dict[str, Any]:
    """The plugin.yml of a plugin."""
    found: dict[str, Any] = yaml.safe_load((root / "plugins" / plugin / "plugin.yml").read_text())
    return found


def test_schema_is_that_of_the_settings(root: Path, plugin: str, settings: type[BaseModel]) -> None:
    """What plugin.yml publishes is what modelbuild.settings reads: names, types, limits, descriptions."""
    expected = published(settings)
    del expected["description"]
    assert read_plugin(root, plugin)["configuration"] == expected


def test_plugin_says_what_it_is(root: Path, plugin: str) -> None:
    """plugin.yml has what Buildkite's linter asks for, and a name that gives BUILDKITE_PLUGIN_<NAME>."""
    read = read_plugin(root, plugin)
    assert read["name"] == plugin
    assert read["description"]
    assert read["author"]
    assert read["requirements"] == ["bash", "git"]
    jsonschema.Draft7Validator.check_schema(read["configuration"])


def test_every_option_is_described(root: Path, plugin: str) -> None:
    """Each option, on every level, has a description that ends as a sentence."""
    for name, (_, _, description) in options(read_plugin(root, plugin)["configuration"]).items():
        assert description.endswith("."), name


def test_every_map_of_options_is_closed(root: Path, plugin: str) -> None:
    """A misspelt option is refused on every level; only params is the flow's own affair."""

    def check(schema: dict[str, Any], place: str) -> None:
        if schema["type"] != "object" or place == "params":
            return
        assert schema["additionalProperties"] is False, place
        for name, inner in schema.get("properties", {}).items():
            check(inner, name)

    check(read_plugin(root, plugin)["configuration"], "")


def test_patterns_are_ones_that_an_agent_reads(root: Path, plugin: str) -> None:
    """Agents are written in Go, whose patterns repeat at most 1000 times and look neither ahead nor behind;
    with any other pattern they refuse the whole plugin.
    """
    for pattern in re.findall(r"pattern: (.*)", (root / "plugins" / plugin / "plugin.yml").read_text()):
        counts = [int(count) for pair in re.findall(r"\{(\d+),?(\d*)\}", pattern) for count in pair if count]
        assert max(counts, default=0) <= 1000, pattern
        assert not re.search(r"\(\?[=!<]", pattern), pattern


def test_readme_lists_the_options(root: Path, plugin: str) -> None:
    """The README's table has each option once, in order, with the schema's type, default and description."""
    text = (root / "plugins" / plugin / "README.md").read_text()
    table = text.split("## Options")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("| `")
    ]
    expected = options(read_plugin(root, plugin)["configuration"])
    assert [tuple(row) for row in rows] == [(f"`{name}`", *row) for name, row in expected.items()]


def examples(text: str) -> list[tuple[str, Any]]:
    """Name and options of each plugin in a README's YAML examples."""
    found = []
    for block in re.findall(r"^```ya?ml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for one in yaml.safe_load(block)["steps"]:
            for entry in one.get("plugins", []):
                reference, options_ = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
                match = REFERENCE.match(reference)
                assert match, f"{reference} is not how an agent finds a plugin in a folder"
                found.append((match["name"], options_))
    return found


def test_readme_examples_are_valid(root: Path, plugin: str) -> None:
    """Whoever pastes an example gets a plugin whose options its schema and its settings accept."""
    found = examples((root / "plugins" / plugin / "README.md").read_text())
    assert plugin in [name for name, _ in found]
    for name, given in found:
        jsonschema.validate(given, read_plugin(root, name)["configuration"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"flow": "/flows/flow.py"},
        {"timeout": 59},
        {"timeout": "100"},
        {"queue": "a queue"},
        {"image": {"default": "a", "serve": "b"}},
        {"environment": {"A": 1}},
        {"environment": {"A-B": "1"}},
        {"aws": {"role-arn": "modelbuild"}},
        {"aws": {"role-arn": "arn:aws:iam::123456789012:role/a", "role-session-duration": 900}},
        {"aws": {"role-arn": "arn:aws:iam::123456789012:role/a", "oidc": "true"}},
        {"aws": {"role-arn": "arn:aws:iam::123456789012:role/a", "external-id": "a b"}},
        {"include": "a"},
        {"include": ["/etc"]},
        {"allow-dirty": "yes"},
        {"aws": {"role_arn": "arn:aws:iam::123456789012:role/a"}},
        {"colour": "green"},
    ],
)
def test_schema_and_settings_refuse_the_same(root: Path, wrong: dict[str, Any]) -> None:
    """What the schema refuses the settings refuse as well, since agents do not validate by default."""
    good = {
        "flow": "flow.py",
        "artifacts": "s3://bucket/models",
        "unblock": "done",
        "image": {"default": "a", "train-gpu": "b", "serve": "c"},
    }
    schema = read_plugin(root, "train")["configuration"]
    jsonschema.validate(good, schema)
    TrainSettings.model_validate(good)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**good, **wrong}, schema)
    with pytest.raises(ValueError, match="validation error"):
        TrainSettings.model_validate({**good, **wrong}, by_alias=True, by_name=False)
