from __future__ import annotations

import io
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

import flow_files
from modelbuild.errors import ConfigurationError
from modelbuild.train.commit import overrides, types

FILE = "flows/params.yaml"
DEFAULTS: dict[str, Any] = {
    "seed": 1,
    "mode": "fast",
    "note": None,
    "training": {"rate": 0.5, "epochs": 3, "layers": [8, 4], "on": True, "extra": {}},
}
MODEL = flow_files.source("typed", "parameters.py")


def archive(**files: str) -> bytes:
    """An archive with modules beside the flow."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in {"helper": flow_files.source("typed", "helper.py"), **files}.items():
            member = tarfile.TarInfo(f"flows/{name}.py")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def check(archived: bytes, changes: dict[str, Any], defaults: dict[str, Any] | None = None) -> None:
    """Hold the file's values, with what the build sets, to their types."""
    defaults = defaults or DEFAULTS
    values = {f"params/{name}": text for name, text in changes.items()}
    meta_data = overrides.from_meta_data(values, defaults, FILE)
    types.require(overrides.resolve(defaults, meta_data, FILE), defaults, archived, FILE)


@pytest.mark.parametrize("archived", [archive(), archive(parameters=MODEL), archive(parameters="x = 1")])
def test_right_types_pass(archived: bytes) -> None:
    """What is typed as the file's values are is good, with a model, without, and in a module without one."""
    check(archived, {})
    good = {"seed": "2", "mode": "good", "note": "x", "training.rate": "1e-3", "training.layers": "[1]"}
    check(archived, {**good, "training.on": "false", "training.extra": "{a: 1}"})
    check(archived, {"training.rate": "1"})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training.rate": "high"},
            'parameter training.rate is "high" (meta-data params/training.rate): it must be a number',
        ),
        (
            {"training.rate": "true"},
            "training.rate is true (meta-data params/training.rate): it must be a number",
        ),
        (
            {"training.epochs": "2.5"},
            "training.epochs is 2.5 (meta-data params/training.epochs): it must be a whole",
        ),
        (
            {"training.epochs": "'3'"},
            'training.epochs is "3" (meta-data params/training.epochs): it must be a whole',
        ),
        ({"training.on": "1"}, "it must be true or false"),
        ({"training.layers": "3"}, "it must be a list"),
        ({"mode": "3"}, "parameter mode is 3 (meta-data params/mode): it must be"),
    ],
)
@pytest.mark.parametrize("archived", [archive(), archive(parameters=MODEL)])
def test_wrong_type_is_reported(archived: bytes, changes: dict[str, str], message: str) -> None:
    """The parameter, its value, who set it and the type it must have are in one sentence."""
    with pytest.raises(ConfigurationError) as caught:
        check(archived, changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training.rate": "-1"}, "it must be a number, and it should be greater than 0"),
        (
            {"training.layers": "[1, a]"},
            'training.layers.1 is "a" (meta-data params/training.layers): it must be',
        ),
        (
            {"mode": "slow"},
            'parameter mode is "slow" (meta-data params/mode): it must be one of "fast", "good"',
        ),
        ({"note": "3"}, "it must be text or null"),
        ({"seed": "13"}, "flows/params.yaml does not hold together: seed 13 needs mode good"),
    ],
)
def test_model_knows_more_than_types(changes: dict[str, str], message: str) -> None:
    """What the flow's model asks for beyond a type is said in its words."""
    with pytest.raises(ConfigurationError) as caught:
        check(archive(parameters=MODEL), changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        (
            {**DEFAULTS, "training": {**DEFAULTS["training"], "epoch": 4}},
            "parameter training.epoch of flows/params.yaml is 4, but flows/parameters.py has no such "
            "parameter: did you mean training.epochs, which is a whole number?",
        ),
        (
            {name: value for name, value in DEFAULTS.items() if name != "seed"},
            "flows/params.yaml has no parameter seed, which flows/parameters.py asks for: it is "
            "a whole number",
        ),
        ({**DEFAULTS, "seed": "1"}, 'parameter seed is "1" (flows/params.yaml): it must be a whole number'),
    ],
)
def test_file_is_held_to_the_model(defaults: dict[str, Any], message: str) -> None:
    """A wrong value in the file itself is an error before anything is submitted."""
    with pytest.raises(ConfigurationError) as caught:
        check(archive(parameters=MODEL), {}, defaults)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            {"kind": "square", "side": "2"},
            'parameter shape.side is "2" (flows/params.yaml): it must be a number',
        ),
        ({"kind": "circle"}, "flows/params.yaml has no parameter shape.radius"),
        ({"kind": "circle", "radius": 1, "side": 1}, "parameter shape.side of flows/params.yaml is 1, but"),
        ({"kind": "line"}, "parameter shape is"),
        ({"kind": "circle", "radii": 1}, "did you mean shape.radius, which is a number?"),
    ],
)
def test_tags_of_a_union_are_in_no_name(shape: dict[str, Any], message: str) -> None:
    """Where a model has kinds of a section, the name of a wrong parameter is the one that its file has."""
    with pytest.raises(ConfigurationError) as caught:
        check(archive(parameters=flow_files.source("typed", "kinds.py")), {}, {"shape": shape})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def", "SyntaxError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("Parameters = 3", "TypeError: Parameters is no pydantic model"),
        ("import os; os._exit(3)", "flows/parameters.py ended the check of the parameters"),
    ],
)
def test_model_that_cannot_be_read_is_reported(text: str, message: str) -> None:
    """Code of the commit that fails is a sentence about that code."""
    with pytest.raises(ConfigurationError) as caught:
        check(archive(parameters=text), {})
    assert "flows/parameters.py" in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_model_needs_no_metaflow() -> None:
    """The module that flows import for their models is there on an agent that has no Metaflow."""
    text = "import sys\nsys.modules['metaflow'] = None\nfrom modelbuild.flow import parameters\n"
    check(archive(parameters=text), {})


def test_parameter_model_is_loaded_before_the_values_arrive(tmp_path: Path) -> None:
    """The process for the checkout's model answers for the archive's, and ends also when it is not asked."""
    (tmp_path / "parameters.py").write_text("raise RuntimeError('this is not the commit')")
    defaults = {**DEFAULTS, "seed": 13}
    with (
        types.loading(tmp_path) as loaded,
        pytest.raises(ConfigurationError, match="seed 13 needs mode good"),
    ):
        types.require(
            overrides.resolve(defaults, [], FILE), defaults, archive(parameters=MODEL), FILE, loaded
        )
    with types.loading(tmp_path) as unasked:
        pass
    assert loaded is not None
    assert unasked is not None
    assert None not in (loaded.poll(), unasked.poll())
    with types.loading(tmp_path / "absent") as nothing:
        assert nothing is None


def test_files_of_the_checkout_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check runs the archive's model, and nothing that lies in the working directory or in PYTHONPATH."""
    for name in ("pydantic", "json", "sitecustomize", "modelbuild"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the checkout')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    resolved = overrides.resolve(DEFAULTS, [], FILE)
    types.require(resolved, DEFAULTS, archive(parameters=MODEL), FILE)


def test_parameter_in_a_locale_of_another_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check reads what is not ASCII in any locale."""
    for name, value in {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}.items():
        monkeypatch.setenv(name, value)
    defaults = {"note": "Größe 🎉"}
    types.require(
        overrides.resolve(defaults, [], FILE),
        defaults,
        archive(parameters=flow_files.source("typed", "greeting.py")),
        FILE,
    )


def test_model_sees_neither_token_nor_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit's code has an environment without secrets, and a home without credentials."""
    for name in (
        "BUILDKITE_AGENT_ACCESS_TOKEN",
        "BUILDKITE_AGENT_JOB_API_SOCKET",
        "BUILDKITE_AGENT_JOB_API_TOKEN",
        "BUILDKITE_ENV_FILE",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_PROFILE",
        "SSH_AUTH_SOCK",
        "NETRC",
        "VAULT_ADDR",
    ):
        monkeypatch.setenv(name, "secret")
    with pytest.raises(ConfigurationError) as refused:
        check(archive(parameters=flow_files.source("typed", "telling.py")), {})
    assert "and /dev/null/.aws" in str(refused.value)
    seen = set(re.findall(r"'([A-Za-z0-9_]+)'", str(refused.value)))
    assert {"HOME", "PATH"} <= seen <= {*types._PASSED_ON, "HOME", "AWS_EC2_METADATA_DISABLED"}
