from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from modelbuild.errors import ConfigurationError
from parameters import Parameters, parse

TOPICS = Path(__file__).parents[3] / "flows" / "topics"


@pytest.mark.parametrize("name", ["params.yaml", "newsgroups.yaml"])
def test_the_files_beside_the_flow_are_right(name: str) -> None:
    """Both data sets are parameters of one flow, and their values stay as they were written."""
    text = (TOPICS / name).read_text()
    assert Parameters.model_validate(parse(text)).model_dump() == parse(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("held_out: 0", r"^The parameter data\.held_out is 0: Input should be greater than or equal to 1\.$"),
        ("held_out: 20.5", r"^The parameter data\.held_out is 20\.5: Input should be a valid integer"),
        ("held_out: null", r"^The parameter data\.held_out is None: Input should be a valid integer\.$"),
        ("part: test", r"^There is no parameter data\.part"),
    ],
)
def test_a_wrong_value_is_named(written: str, says: str) -> None:
    """The sentence has the parameter, its value and what it must be, also where it may be of two kinds."""
    text = (TOPICS / "params.yaml").read_text()
    with pytest.raises(ConfigurationError, match=says):
        parse(text.replace("held_out: 20", written if "held" in written else f"held_out: 20, {written}"))
