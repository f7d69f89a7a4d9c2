from __future__ import annotations

from copy import deepcopy
from dataclasses import fields
from datetime import date
from pathlib import Path

import pytest
import yaml

from modelbuild.errors import ConfigurationError
from modelbuild.flow.models.transformer.finetune import Settings
from parameters import LinearParameters, TransformerParameters, parse, read

PARAMS = Path(__file__).parents[3] / "flows" / "sentiment" / "params.yaml"


def changed(dotted: str, value: object) -> str:
    """The repository's own parameters with one value replaced, or removed when it is ``...``."""
    values = deepcopy(yaml.safe_load(PARAMS.read_text()))
    *path, last = dotted.split(".")
    section = values
    for name in path:
        section = section[name]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    return yaml.safe_dump(values)


def test_the_values_stay_as_they_were_written() -> None:
    """Nothing is converted or filled in: the hash of the values is the hash of the request."""
    text = changed("training.learning_rate", 1)
    assert parse(text) == yaml.safe_load(text)
    training = parse(text)["training"]
    assert isinstance(training, dict)
    assert type(training["learning_rate"]) is int


@pytest.mark.parametrize(
    ("dotted", "value", "message"),
    [
        ("training.epochs", "6", r"training\.epochs is '6'.*valid integer"),
        ("training.epochs", 0, r"training\.epochs is 0.*greater than or equal to 1"),
        ("training.learning_rate", float("nan"), r"line [0-9]+, .*\.nan is no number that JSON has"),
        ("labels.tau", None, r"labels\.tau is None.*valid number"),
        ("data.domains", ["tweets", "emails"], r"data\.domains\.1 is 'emails'.*'tweets', 'amazon'"),
        ("data.domains", [], r"data\.domains is \[\]"),
        ("data.table", 'x"; DROP TABLE y', r"data\.table is"),
        ("seed", ..., r"parameter seed is missing"),
        ("model.bucket", 4, r"no parameter model\.bucket"),
        ("model", 5, r"parameter model is 5"),
        ("seed", date(2026, 1, 1), r"JSON"),
        ("model.kind", "tree", r"model\.kind is 'tree'.*'linear' or 'transformer'"),
        ("model.kind", ..., r"parameter model\.kind is missing"),
        ("model.kind", "transformer", r"parameter model\.max_tokens is missing"),
    ],
)
def test_a_wrong_value_is_named(dotted: str, value: object, message: str) -> None:
    """The parameter, its value and what it must be are in one sentence."""
    with pytest.raises(ConfigurationError, match=message) as caught:
        parse(changed(dotted, value))
    assert "\n" not in str(caught.value)


def test_each_kind_has_its_file() -> None:
    """The file of a transformer is valid, and its training is all that a fine-tuning needs to know."""
    values = read(parse(PARAMS.with_name("params-transformer.yaml").read_text()))
    assert isinstance(values, TransformerParameters)
    assert values.training.model_fields_set == {field.name for field in fields(Settings)}
    assert isinstance(read(parse(PARAMS.read_text())), LinearParameters)


def test_both_files_hold_out_the_same_rows() -> None:
    """What the two kinds are measured on is the same, so that their figures can be compared."""
    linear, transformer = (
        read(parse(PARAMS.with_name(name).read_text())) for name in ("params.yaml", "params-transformer.yaml")
    )
    assert linear.model_dump(include={"seed", "data", "labels", "split"}) == transformer.model_dump(
        include={"seed", "data", "labels", "split"}
    )


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "\x00", "a: &x [*x]"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    """Broken YAML, a list, an empty file and endless data have other errors than a wrong value."""
    with pytest.raises(ConfigurationError, match="The parameter file"):
        parse(text)
