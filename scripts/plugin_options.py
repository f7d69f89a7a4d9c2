#!/usr/bin/env python3
"""Write the options of each plugin, from modelbuild.settings, into its plugin.yml and README.md."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from modelbuild.settings.deploy import DeploySettings
from modelbuild.settings.notify import NotifySettings
from modelbuild.settings.train import TrainSettings

PLUGINS = Path(__file__).resolve().parents[1] / "plugins"
MODELS: tuple[type[TrainSettings | NotifySettings | DeploySettings], ...] = (
    TrainSettings,
    NotifySettings,
    DeploySettings,
)

_KEPT = (
    *(
        "type",
        "description",
        "enum",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "maxProperties",
    ),
    "required",
)
_HEADING = "## Options\n\n"
_CONFIGURATION = "configuration:\n"


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """A settings model as the JSON schema that ``plugin.yml`` publishes."""
    schema = model.model_json_schema(by_alias=True)
    del schema["description"]
    return _plain(schema, schema.get("$defs", {}))


def _plain(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A schema without references, titles, class documentation and null, which no option allows."""
    if "$ref" in node:
        inner = _plain(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
        inner.pop("description", None)
        return inner | {key: node[key] for key in ("description",) if key in node}
    if "anyOf" in node:
        (only,) = [part for part in node["anyOf"] if part != {"type": "null"}]
        return _plain({**only, "description": node["description"]}, definitions)
    plain = {key: node[key] for key in _KEPT if key in node}
    if node.get("default") not in (None, {}) and plain.get("type") in ("string", "integer", "boolean"):
        plain["default"] = node["default"]
    if plain.get("type") == "array":
        plain["items"] = _plain(node["items"], definitions)
    # A map with a pattern for its keys allows no other keys.
    for name in ("properties", "patternProperties"):
        if name in node:
            plain[name] = {key: _plain(inner, definitions) for key, inner in node[name].items()}
            plain["additionalProperties"] = False
    return plain


def table_of(schema: dict[str, Any]) -> str:
    """The options of a schema as the table of a README."""
    lines = ["| option | type | default | what it is |", "|---|---|---|---|"]
    lines += [
        f"| `{name}` | {kind} | {default} | {description} |"
        for name, kind, default, description in _rows(schema, "")
    ]
    return "".join(f"{line}\n" for line in lines)


def _rows(schema: dict[str, Any], prefix: str) -> list[tuple[str, str, str, str]]:
    """Dotted name, type, default and description of each option."""
    rows: list[tuple[str, str, str, str]] = []
    for name, option in schema["properties"].items():
        if "properties" in option:
            rows += _rows(option, f"{prefix}{name}.")
            continue
        default = f"`{json.dumps(option['default']).strip(chr(34))}`" if "default" in option else ""
        if name in schema.get("required", []):
            default = "required"
        rows.append((f"{prefix}{name}", _kind(option), default, option["description"]))
        if "properties" in option.get("items", {}):
            rows += _rows(option["items"], f"{prefix}{name}[].")
    return rows


def _kind(option: dict[str, Any]) -> str:
    """The type of an option, in words."""
    kind: str = {"object": "map"}.get(option["type"], option["type"])
    if "patternProperties" in option:
        (inner,) = option["patternProperties"].values()
        kind = "map of map" if inner["type"] == "object" else "map of string"
    if "enum" in option:
        return ", ".join(f"`{value}`" for value in option["enum"])
    if option["type"] == "array":
        kind = f"list of {option['items']['type']}"
    if "maximum" in option:
        return f"{kind}, {option['minimum']} to {option['maximum']}"
    return f"{kind}, ≥ {option['minimum']}" if "minimum" in option else kind


class _Dumper(yaml.SafeDumper):
    """Indents lists below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        del indentless
        super().increase_indent(flow, False)


def with_schema(text: str, schema: dict[str, Any]) -> str:
    """A ``plugin.yml`` with this schema under ``configuration``, its last key."""
    head, _, _ = text.partition(_CONFIGURATION)
    return head + yaml.dump(
        {_CONFIGURATION[:-2]: schema}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6
    )


def with_table(text: str, schema: dict[str, Any]) -> str:
    """A README with the table of this schema's options under its heading ``Options``."""
    head, _, tail = text.partition(_HEADING)
    _, _, rest = tail.partition("\n\n")
    return f"{head}{_HEADING}{table_of(schema)}\n{rest}"


def main(arguments: list[str]) -> int:
    """Write or check the files; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="Name the files that differ, and change none.")
    check = parser.parse_args(arguments).check
    differing = []
    for model in MODELS:
        schema = schema_of(model)
        for name, changed in (("plugin.yml", with_schema), ("README.md", with_table)):
            file = PLUGINS / model.plugin / name
            before = file.read_text(encoding="utf-8")
            after = changed(before, schema)
            if after != before:
                differing.append(f"plugins/{model.plugin}/{name}")
                if not check:
                    file.write_text(after, encoding="utf-8")
    if not check:
        return 0
    for file_name in differing:
        print(f"{file_name} has other options than modelbuild.settings: run scripts/plugin_options.py")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
