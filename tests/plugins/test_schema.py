from __future__ import annotations

import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import jsonschema
import pytest
import yaml
from pydantic import Field, StringConstraints

import plugin_options
from modelbuild.settings.deploy import DeploySettings
from modelbuild.settings.notify import NotifySettings
from modelbuild.settings.options import Options, PluginOptions
from modelbuild.settings.train import TrainSettings

REFERENCE = re.compile(r"^https://github\.com/[^/]+/modelbuild\.git/plugins/(?P<name>\w+)#v\d+\.\d+\.\d+$")


def read_plugin(root: Path, plugin: str) -> dict[str, Any]:
    """The plugin.yml of a plugin."""
    found: dict[str, Any] = yaml.safe_load((root / "plugins" / plugin / "plugin.yml").read_text())
    return found


def test_options_are_those_of_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """plugin.yml and README of each plugin have the options that modelbuild.settings reads."""
    assert plugin_options.main(["--check"]) == 0, capsys.readouterr().out


def test_files_that_differ_are_named_and_written(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check names each file with other options and changes none; without --check both are written anew."""
    shutil.copytree(root / "plugins", tmp_path / "plugins")
    monkeypatch.setattr(plugin_options, "PLUGINS", tmp_path / "plugins")
    changed = [tmp_path / "plugins/notify/plugin.yml", tmp_path / "plugins/train/README.md"]
    before = [file.read_text() for file in changed]
    for file in changed:
        file.write_text(file.read_text().replace("Role to assume", "A role"))
    assert plugin_options.main(["--check"]) == 1
    lines = [line.split(" has other options ")[0] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["plugins/train/README.md", "plugins/notify/plugin.yml"]
    assert plugin_options.main([]) == 0
    assert [file.read_text() for file in changed] == before


class Inner(Options):
    """Options of a step."""

    cpu: int | None = Field(None, ge=1, description="vCPUs.")


class Sample(Options):
    """One option of each kind."""

    plain: str = Field(description="Text.")
    other_name: Literal["a"] = Field("a", alias="other-name", description="Text: with a default.")
    seconds: Annotated[int, Field(ge=1, le=9)] | None = Field(None, description="Seconds.")
    on: bool = Field(False, description="Whether.")
    many: list[str] = Field([], description="Several.")
    sizes: dict[Annotated[str, StringConstraints(pattern="^a$")], Inner] = Field({}, description="Sizes.")
    inner: Inner = Field(Inner(), description="A map.")


def test_each_kind_of_option() -> None:
    """The table has each option by its dotted name; the schema closes every map, and has no null."""
    schema = plugin_options.schema_of(Sample)
    assert plugin_options.table_of(schema).splitlines()[2:] == [
        "| `plain` | string | required | Text. |",
        "| `other-name` | string | `a` | Text: with a default. |",
        "| `seconds` | integer, 1 to 9 |  | Seconds. |",
        "| `on` | boolean | `false` | Whether. |",
        "| `many` | list of string |  | Several. |",
        "| `sizes` | map of map |  | Sizes. |",
        "| `inner.cpu` | integer, ≥ 1 |  | vCPUs. |",
    ]
    cpu = {"type": "integer", "description": "vCPUs.", "minimum": 1}
    closed = {"type": "object", "properties": {"cpu": cpu}, "additionalProperties": False}
    assert schema["properties"]["inner"] == {**closed, "description": "A map."}
    assert schema["properties"]["sizes"]["patternProperties"] == {"^a$": closed}
    assert schema["properties"]["sizes"]["additionalProperties"] is False
    assert schema["required"] == ["plain"]
    text = plugin_options.with_schema("name: sample\nconfiguration:\n  type: object\n", schema)
    assert yaml.safe_load(text) == {"name": "sample", "configuration": schema}


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

    def check(schema: dict[str, Any], option: str) -> None:
        assert schema["description"].endswith("."), option
        for name, inner in schema.get("properties", {}).items():
            check(inner, name)

    check({"description": ".", **read_plugin(root, plugin)["configuration"]}, plugin)


def test_every_map_of_options_is_closed(root: Path, plugin: str) -> None:
    """A misspelt option is refused on every level; only params is the flow's own affair."""

    def check(schema: dict[str, Any], option: str) -> None:
        if schema["type"] != "object" or option == "params":
            return
        assert schema["additionalProperties"] is False, option
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
    """The schema and the settings of a plugin accept the options of its examples."""
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


@pytest.mark.parametrize("hyphens", [0, 9, 31])
def test_the_name_of_an_endpoint_has_at_most_63_characters(root: Path, hyphens: int) -> None:
    """SageMaker counts hyphens as well, and would refuse the name after a person has decided."""
    longest = "a-" * hyphens + "b" * (63 - 2 * hyphens)
    deploy: dict[str, Any] = {"artifacts": "s3://bucket/models", "role": "arn:aws:iam::123456789012:role/a"}
    for name, refused in ((longest, False), (longest + "b", True), (longest + "-b", True)):
        cases: list[tuple[str, type[PluginOptions], Any]] = [
            ("deploy", DeploySettings, {**deploy, "endpoint": name}),
            ("notify", NotifySettings, {"compare-with": {"endpoint": name, "artifacts": "s3://b-c/m"}}),
        ]
        for plugin, model, options in cases:
            schema = read_plugin(root, plugin)["configuration"]
            expected = pytest.raises(jsonschema.ValidationError) if refused else nullcontext()
            with expected:
                jsonschema.validate(options, schema)
            said = model.wrong(options, unknown=lambda _: False)
            assert bool(said) is refused, said
    assert DeploySettings.wrong({**deploy, "endpoint": "$" + "N" * 80}, unknown=lambda _: True) is None
