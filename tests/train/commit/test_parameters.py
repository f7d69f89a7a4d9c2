from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelbuild.contract import sha256_of_json
from modelbuild.errors import ConfigurationError
from modelbuild.train.commit import overrides, parameters

DEFAULTS: dict[str, Any] = {
    "seed": 1,
    "data": {"domains": ["a", "b"], "limits": {"rows": 10}},
    "note": None,
    "extra": {},
}


def merged(defaults: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The file's values with what option params puts in their place."""
    return overrides.resolve(defaults, overrides.from_options(changes), "params.yaml").values


names = st.text("abcdefgh_é", min_size=1, max_size=6)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)
maps = st.dictionaries(names, values, max_size=5)


@pytest.mark.parametrize(
    ("changes", "path", "value"),
    [
        ({"seed": 2}, ("seed",), 2),
        ({"data": {"limits": {"rows": 5}}}, ("data", "limits", "rows"), 5),
        ({"data.limits.rows": 5}, ("data", "limits", "rows"), 5),
        ({"data": {"limits.rows": 5}}, ("data", "limits", "rows"), 5),
        ({"data.limits": {"rows": 5}}, ("data", "limits", "rows"), 5),
        ({"data.domains": []}, ("data", "domains"), []),
        ({"note": "a"}, ("note",), "a"),
    ],
)
def test_keys_may_be_nested_or_dotted(changes: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """However a key is written, it changes that one value and nothing else."""
    expected: dict[str, Any] = copy.deepcopy(DEFAULTS)
    inner = expected
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    before = copy.deepcopy(DEFAULTS)
    assert merged(DEFAULTS, changes) == expected
    assert before == DEFAULTS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sed": 2},
            "option params.sed is 2, but params.yaml has no such parameter: did you mean seed, which is "
            "a whole number?",
        ),
        ({"data.limit.rows": 2}, "did you mean data.limits.rows, which is a whole number?"),
        ({"data": {"limits": 5}}, "option params.data.limits is 5, but params.yaml has no such parameter"),
        ({"seed": {"a": 1}}, "option params.seed.a is 1, but params.yaml has no such parameter"),
        ({"data.limits.rows": 1, "data": {"limits": {"rows": 2}}}, "gives data.limits.rows twice"),
        ({"zzz": 1}, "it has seed, data.domains, data.limits.rows, note, extra"),
    ],
)
def test_wrong_key_is_reported(changes: dict[str, Any], message: str) -> None:
    """A key that the file does not have, or that is given twice, is refused by name."""
    with pytest.raises(ConfigurationError) as caught:
        merged(DEFAULTS, changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a: [1", "params.yaml, line 1, cannot be read as YAML"),
        (b"\xff\xfe\xfa", "params.yaml cannot be read as YAML"),
        (b"- 1", "params.yaml must be a map from names to values, not a list"),
        (b"yes", "must be a map from names to values, not text"),
        (b"", "params.yaml has no values: write {} into it if the flow has no parameters"),
        (b"# none\n", "params.yaml has no values: write {} into it"),
        (b"a: 1\nb:\n\tc: 2", "line 3, cannot be read as YAML: a tab begins this line"),
        ("é: 1\nb:\n  c: 1\n\td: 2".encode(), "line 4, cannot be read as YAML: a tab begins this line"),
        (b"a: 1\nday: 2020-01-01", "params.yaml, line 2, cannot be read as YAML: 2020-01-01 is a date"),
        (b"days: [{from: 2020-01-01 10:00:00}]", "2020-01-01 10:00:00 is a date, which JSON does not have"),
        (b"rate: .inf", ".inf is no number that JSON has: put it in quotes"),
        (b"1: a", "line 1, cannot be read as YAML: key 1 is not text: put it in quotes"),
        (
            b"a: 1\nb: {a: 1,\n a: 2}",
            "line 3, cannot be read as YAML: key 'a' stands here again, after line 2",
        ),
        (b"a: 1\n---\nb: 1", "line 2, cannot be read as YAML: a second document begins"),
        (b"a: &a\n  b: *a", "line 2, cannot be read as YAML: anchor &a contains itself"),
        (b"a: !!python/object/apply:os.system [true]", "tag !!python/object/apply:os.system is not known"),
        (b"rows: !!int many", "'many' is not a value of type !!int: remove the tag"),
        (b"rows: !!bool yes", "'yes' is not a value of type !!bool"),
        (b"rows: " + b"[" * 150, "nested deeper than 100 levels"),
        (b"rows: " + b"[" * 5000, "nesting depth"),
        (b'name: "\\ud800"', "line 1, cannot be read as YAML"),
        (b"name: \x00", "cannot be read as YAML: control characters"),
        (b"name: " + b"x" * 2**20, "at most 1,048,576 are read"),
    ],
)
def test_wrong_file_is_reported(text: bytes, message: str) -> None:
    """A file that cannot be parameters is refused in one sentence that names it."""
    with pytest.raises(ConfigurationError) as caught:
        parameters.parse(text, "params.yaml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(maps)
def test_written_parameters_read_back(given_values: dict[str, Any]) -> None:
    """What the head writes for the flow reads back as the values, and the hash, that were asked for."""
    again = parameters.parse(parameters.dump(given_values).encode(), "the request")
    assert again == given_values
    assert sha256_of_json(again) == sha256_of_json(given_values)


@given(maps)
def test_no_change_changes_nothing(given_values: dict[str, Any]) -> None:
    """Without params the parameters are those of the file."""
    assert merged(given_values, {}) == given_values


@given(maps, st.data())
def test_any_leaf_can_be_changed_by_its_dotted_name(
    given_values: dict[str, Any], data: st.DataObject
) -> None:
    """Every value that the file has can be replaced, and then only that one differs."""
    leaves: list[tuple[str, ...]] = []

    def walk(node: dict[str, Any], path: tuple[str, ...]) -> None:
        for key, value in node.items():
            if isinstance(value, dict) and value:
                walk(value, (*path, key))
            else:
                leaves.append((*path, key))

    walk(given_values, ())
    if not leaves:
        return
    key_path = data.draw(st.sampled_from(leaves))
    expected = copy.deepcopy(given_values)
    inner = expected
    for key in key_path[:-1]:
        inner = inner[key]
    inner[key_path[-1]] = "changed"
    assert merged(given_values, {".".join(key_path): "changed"}) == expected


@given(st.binary(max_size=200))
def test_any_bytes_are_a_map_or_a_sentence(text: bytes) -> None:
    """Whatever lies in the file, parsing gives a map or one sentence."""
    try:
        found: object = parameters.parse(text, "params.yaml")
    except ConfigurationError as error:
        found = str(error)
    assert isinstance(found, dict) or (isinstance(found, str) and "params.yaml" in found)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("-2e+3", -2000.0),
        ("1.", 1.0),
        ("7", 7),
        (" 7\n", 7),
        ("'7'", "7"),
        ("true", True),
        ("null", None),
        ("2026-01-01", "2026-01-01"),
        ("[2026-01-01, {1: yes}]", ["2026-01-01", {"1": "yes"}]),
        ("yes", "yes"),
        ("12:30:00", "12:30:00"),
        ("0o17", 15),
        ("{a: &x 1, b: *x}", {"a": 1, "b": 1}),
        ("9" * 5000, "9" * 5000),
        ("a: 1", {"a": 1}),
        ("[a, 2]", ["a", 2]),
        ("plain words", "plain words"),
    ],
)
def test_value_is_what_a_person_means(text: str, value: Any) -> None:
    """A value is YAML, but a number may be written as people write it and a date is text."""
    found = overrides.build_value(text, "PARAM_A")
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    ["[1", "&a [*a]", "*a", ".nan", "!!int x", "!!set {a}", "{a: 1, a: 2}", "[" * 9000, "1\n---\n2"],
)
def test_invalid_value_is_reported(text: str) -> None:
    """What is no YAML, refers to itself or cannot be JSON is one sentence that says where it stands."""
    with pytest.raises(ConfigurationError, match=r"^PARAM_A.* cannot be read as YAML") as caught:
        overrides.build_value(text, "PARAM_A")
    assert "\n" not in str(caught.value)


def resolved(
    defaults: dict[str, Any], environ: dict[str, str], meta_data: dict[str, str]
) -> overrides.Resolved:
    """The file's values with those of a build."""
    given = [
        *overrides.from_environment(environ, defaults, "params.yaml"),
        *overrides.from_meta_data(meta_data, defaults, "params.yaml"),
    ]
    return overrides.resolve(defaults, given, "params.yaml")


def test_meta_data_stands_above_variables() -> None:
    """The later and more exact way to set a value wins, and other variables are ignored."""
    environ = {"PARAM_DATA__LIMITS__ROWS": "5", "PARAM_SEED": "2", "PARAMETER": "x", "param_seed": "x"}
    found = resolved(DEFAULTS, environ, {"params/seed": "3"})
    assert found.values == {**DEFAULTS, "seed": 3, "data": {"domains": ["a", "b"], "limits": {"rows": 5}}}
    assert {name for name, origin in found.origins.items() if origin == "build"} == {
        "seed",
        "data.limits.rows",
    }
    assert found.descriptions == {
        "seed": "meta-data params/seed",
        "data.limits.rows": "PARAM_DATA__LIMITS__ROWS",
    }


def test_keys_of_fields_have_slashes() -> None:
    """Fields may have no dot in their keys, so a slash does; a parameter that has one comes first."""
    found = resolved(DEFAULTS, {}, {"params/data/limits/rows": "5"})
    assert found.values["data"] == {"domains": ["a", "b"], "limits": {"rows": 5}}
    assert found.descriptions == {"data.limits.rows": "meta-data params/data/limits/rows"}
    assert resolved({"a/b": 1, "a": {"b": 2}}, {}, {"params/a/b": "3"}).values == {"a/b": 3, "a": {"b": 2}}
    with pytest.raises(ConfigurationError, match=r"meta-data params/data/rows is 5, but .* has no such"):
        resolved(DEFAULTS, {}, {"params/data/rows": "5"})


def test_variable_of_two_parameters_is_reported() -> None:
    """Two parameters with the same variable are refused."""
    with pytest.raises(
        ConfigurationError, match=r"PARAM_A__B could be a\.b or a__b of params.yaml: set meta-data"
    ):
        resolved({"a": {"b": 1}, "a__b": 2}, {"PARAM_A__B": "3"}, {})
    assert resolved({"a": {"b": 1}, "a__b": 2}, {}, {"params/a.b": "3"}).values == {"a": {"b": 3}, "a__b": 2}


def test_two_parameters_of_one_name_are_reported() -> None:
    """A file in which a dotted name means two values is refused."""
    with pytest.raises(ConfigurationError, match=r"params.yaml has a\.b nested and dotted"):
        resolved({"a": {"b": 1}, "a.b": 2}, {}, {})


any_name = st.text(min_size=1, max_size=30)
any_text = st.text(max_size=60) | st.sampled_from(
    ["*a", "&a", "!!x y", "{", "\x00", "\ud800", "- - -", "%TAG"]
)


@given(
    st.dictionaries(any_name, values, max_size=4),
    st.dictionaries(any_name.map("PARAM_".__add__), any_text, max_size=3),
    st.dictionaries(any_name.map("params/".__add__), any_text, max_size=3),
    values.filter(lambda value: isinstance(value, dict)),
)
@example({}, {}, {"params/\n": "="}, {})
@example({}, {"PARAM_\n": "a\nb: ["}, {}, {})
@example({}, {}, {"params/\n": ".inf"}, {})
def test_hostile_names_and_values_are_parameters_or_a_sentence(
    defaults: dict[str, Any], environ: dict[str, str], meta_data: dict[str, str], options: Any
) -> None:
    """Whatever names and values a build has, the answer is parameters that hold together or one line."""
    try:
        overrides.resolve(defaults, overrides.from_options(options), "params.yaml")
        found = resolved(defaults, environ, meta_data)
        overrides.require_kinds(found, defaults, "params.yaml")
        message = ""
    except ConfigurationError as error:
        message = str(error)
    assert "\n" not in message
    assert len(message) < 5000
    if message:
        return
    assert found.origins.keys() == parameters.names(defaults, "params.yaml").keys()
    assert sha256_of_json(parameters.parse(parameters.dump(found.values).encode(), "x")) == sha256_of_json(
        found.values
    )


@given(maps, st.data())
def test_each_parameter_can_be_set_by_a_build(given_values: dict[str, Any], data: st.DataObject) -> None:
    """Every parameter has a key of meta-data, and a variable unless it shares it; only that value changes."""
    places = parameters.names(given_values, "params.yaml")
    if not places:
        return
    name = data.draw(st.sampled_from(sorted(places)))
    found = resolved(given_values, {}, {f"params/{name}": "changed"})
    assert {key for key, origin in found.origins.items() if origin == "build"} == {name}
    assert found.values == merged(given_values, {name: "changed"})
    if [overrides.variable(other) for other in places].count(overrides.variable(name)) == 1:
        assert resolved(given_values, {overrides.variable(name): "changed"}, {}).values == found.values
