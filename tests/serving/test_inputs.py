"""What a model takes, in each media type, and what it answers."""

from __future__ import annotations

import contextlib
import json
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.serving.body import CSV, JSON, JSON_LINES, BadBody, parse_instances
from modelbuild.serving.inputs import Input, RecordField, RecordInput, TensorInput, TextInput
from modelbuild.serving.outputs import LabelOutput, NumberOutput, Output, VectorOutput

TEXT = TextInput()
RECORD = RecordInput(
    fields=(RecordField(name="area", type="number"), RecordField(name="district", type="text"))
)
MATRIX = TensorInput(shape=(2, 2))
VECTOR = TensorInput(shape=(3,))
INPUTS: tuple[Input, ...] = (TEXT, RECORD, MATRIX, VECTOR)


def parsed(declared: Input, media_type: str, body: str | bytes) -> list[Any]:
    """The instances of a body."""
    content = body.encode() if isinstance(body, str) else body
    return parse_instances(bytearray(content), media_type, declared)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [(JSON, b'{"instances": [[1, 2, 3]]}'), (JSON_LINES, b"[1, 2, 3]\n"), (CSV, b"1,2,3\n")],
)
def test_a_body_is_emptied(media_type: str, body: bytes) -> None:
    """Its bytes would be in memory beside the instances while the model predicts."""
    content = bytearray(body)
    assert len(parse_instances(content, media_type, VECTOR)) == 1
    assert content == b""


@pytest.mark.parametrize("declared", INPUTS, ids=lambda one: one.type)
def test_an_example_is_an_instance(declared: Input) -> None:
    """The example that GET / shows is accepted as it stands, as JSON and as JSON lines."""
    example = declared.example()
    (whole,) = parsed(declared, JSON, json.dumps({"instances": [example]}))
    (line,) = parsed(declared, JSON_LINES, json.dumps(example) + "\n")
    assert np.array_equal(whole, line)


def test_a_record_has_its_fields_in_their_order() -> None:
    """The order of the fields in JSON does not matter; whole numbers are numbers."""
    (record,) = parsed(RECORD, JSON, '{"instances": [{"district": "north", "area": 70}]}')
    assert list(record.items()) == [("area", 70.0), ("district", "north")]


def test_a_tensor_is_float64() -> None:
    """A nested list is an array of the declared shape, which holds whole numbers beyond those of float32."""
    (tensor,) = parsed(MATRIX, JSON, '{"instances": [[[1, 2.5], [3, 4]]]}')
    assert (tensor.dtype, tensor.tolist()) == (np.float64, [[1.0, 2.5], [3.0, 4.0]])
    (tensor,) = parsed(VECTOR, CSV, "16777217,0,0")
    assert tensor.tolist() == [16777217.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("declared", "body", "instances"),
    [
        (
            TEXT,
            'one\r\n"two, with a comma"\r\n\r\n"three\nlines"\r\n',
            ["one", "two, with a comma", "three\nlines"],
        ),
        (
            RECORD,
            "70,north\n80.5,south\n",
            [{"area": 70, "district": "north"}, {"area": 80.5, "district": "south"}],
        ),
        (RECORD, "\ufeffarea,district\n70,north\n", [{"area": 70, "district": "north"}]),
    ],
)
def test_csv_is_rows(declared: Input, body: str, instances: list[Any]) -> None:
    """Quotes, empty lines, a byte order mark, and a first line with the names of the fields."""
    assert parsed(declared, CSV, body) == instances


def test_csv_of_a_vector_is_its_numbers() -> None:
    """A row has the numbers of one instance."""
    assert [one.tolist() for one in parsed(VECTOR, CSV, "1,2,3\n4,5,6")] == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("declared", "media_type", "body", "message"),
    [
        (
            RECORD,
            JSON,
            '{"instances": ["a"]}',
            "instances[0] must be an object with the fields area, district, not a",
        ),
        (
            RECORD,
            JSON,
            '{"instances": [{"area": 1}]}',
            "instances[0] has no field 'district'; send the fields area",
        ),
        (
            RECORD,
            JSON,
            '{"instances": [{"area": 1, "district": "n", "roof": 1}]}',
            "instances[0] has the unknown field 'roof'",
        ),
        (
            RECORD,
            JSON,
            '{"instances": [{"area": "1", "district": "n"}]}',
            "instances[0] has a text as area; send a nu",
        ),
        (
            RECORD,
            JSON,
            '{"instances": [{"area": true, "district": "n"}]}',
            "instances[0] has a truth value as area",
        ),
        (RECORD, JSON, '{"instances": [{"area": null, "district": "n"}]}', "instances[0] has null as area"),
        (
            RECORD,
            JSON,
            '{"instances": [{"area": 1e39, "district": "n"}]}',
            "instances[0] has a number beyond the range",
        ),
        (
            RECORD,
            JSON,
            '{"instances": [{"area": NaN, "district": "n"}]}',
            "The body holds NaN, which is no number of J",
        ),
        (
            RECORD,
            JSON,
            '{"instances": [{"area": 1, "district": 2}]}',
            "instances[0] has a number as district; send a t",
        ),
        (RECORD, CSV, "70\n", "row 1 has 1 columns; send 2: area, district"),
        (RECORD, CSV, "70,north\nx,south\n", "row 2 has 'x' as area; send a number"),
        (RECORD, CSV, "nan,north\n", "row 1 has NaN as area; send a number"),
        (RECORD, CSV, "inf,north\n", "row 1 has a number beyond the range of float32 as area"),
        (RECORD, CSV, "area,district\n", "The body must have 1 to 1,000 rows, not 0"),
        (
            MATRIX,
            JSON,
            '{"instances": [[[1, 2], [3]]]}',
            "instances[0] has shape [2]; send shape [2, 2]",
        ),
        (MATRIX, JSON, '{"instances": [[1, 2]]}', "instances[0] has shape [2]; send shape [2, 2]"),
        (
            MATRIX,
            JSON,
            '{"instances": [[[1, 2], [3, "4"]]]}',
            "instances[0] holds something that is no number",
        ),
        (
            MATRIX,
            JSON,
            '{"instances": [[[1, 2], [3, true]]]}',
            "instances[0] holds something that is no number",
        ),
        (
            MATRIX,
            JSON,
            '{"instances": [[[1, 2], [3, 1e400]]]}',
            "instances[0] holds a number beyond the range of flo",
        ),
        (VECTOR, CSV, "1,2\n", "row 1 has shape [2]; send shape [3]"),
        (VECTOR, CSV, "1,2,inf\n", "row 1 holds a number beyond the range of float32"),
        (TEXT, CSV, "one,two\n", "row 1 has 2 columns; send one, with the text between double quotes"),
        (TEXT, CSV, '"one\n', "The body is not CSV in UTF-8"),
        (TEXT, CSV, "a" * 50_000, "row 1 has 50,000 characters; send at most 10,000"),
        (TEXT, CSV, b"\xff\xfe", "The body is not CSV in UTF-8"),
        (TEXT, CSV, "a\n" * 1001, "The body must have 1 to 1,000 rows, not more"),
        (TEXT, JSON_LINES, "", "The body must have 1 to 1,000 lines, not 0"),
        (TEXT, JSON_LINES, '"a"\n' * 1001, "The body must have 1 to 1,000 lines, not more"),
        (
            TEXT,
            JSON,
            '{"instances": ["a", "bc\\ud800"]}',
            "instances[1] has half a surrogate pair as character 3; send whole characters",
        ),
        (
            RECORD,
            JSON,
            '{"instances": [{"area": 1, "district": "\\ud800"}]}',
            "instances[0] has half a surrogate pair as character 1 in district; send whole characters",
        ),
        (TEXT, JSON_LINES, '"a"\n\n5\n', "line 3 must be a text, not a number"),
        (TEXT, CSV, 'a\n\n"b"\nc,d\n', "row 4 has 2 columns"),
        (RECORD, CSV, "area,district\n70,north\nx,south\n", "row 3 has 'x' as area"),
        (VECTOR, CSV, "1,2,1_000\n", "row 1 has '1_000' as column 3; send a number"),
        (VECTOR, CSV, "1,2,\u0661\n", "row 1 has '\u0661' as column 3; send a number"),
        (VECTOR, CSV, "1,2,3\n1,2,3,4,5\n", "Line 2 has more commas than a row of input tensor can have"),
        (
            RECORD,
            JSON,
            '{"instances": [{"area": 1, "area": 2, "district": "n"}]}',
            "The body holds an object with the key 'area' twice; send it once",
        ),
        (TEXT, JSON, '{"instances": ["a"], "instances": ["b"]}', "The body holds an object with the key"),
        (TEXT, JSON_LINES, '"a"\n{', "Line 2 is not JSON in UTF-8"),
        (TEXT, JSON_LINES, '"a"\n" "\n', "line 2 is empty: it has no word and no sign"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    declared: Input, media_type: str, body: str | bytes, message: str
) -> None:
    """The sentence says which instance is wrong, what was sent, and what to send."""
    with pytest.raises(BadBody) as refusal:
        parsed(declared, media_type, body)
    assert str(refusal.value).startswith(message)
    assert str(refusal.value).endswith(".")


@pytest.mark.parametrize(
    ("declared", "instance"),
    [(RECORD, {"area": 70.25, "district": "a, b: [c] {d}" * 3}), (VECTOR, [0.5, 1.5, 2.5])],
)
def test_the_largest_request_is_accepted(declared: Input, instance: Any) -> None:
    """1,000 instances with all their values are not taken for a document that would fill the memory."""
    body = json.dumps({"instances": [instance] * 1_000, "pad": 0}).replace(', "pad": 0', " " * 70_000)
    assert len(parsed(declared, JSON, body)) == 1_000


@pytest.mark.parametrize("declared", [RECORD, MATRIX], ids=lambda one: one.type)
def test_a_document_that_would_fill_the_memory_is_not_parsed(declared: Input) -> None:
    """More values than 1,000 instances have are refused before they become Python objects."""
    body = '{"instances": [' + "[]," * 50_000 + "[]]}"
    with pytest.raises(BadBody, match="more values than 1,000 instances of input"):
        parsed(declared, JSON, body)


@pytest.mark.parametrize(
    ("media_type", "body"),
    [(JSON_LINES, b"11\n" * 2_000_000), (CSV, b"111," * 1_500_000), (CSV, b"1,1\n" * 1_500_000)],
)
def test_many_small_values_are_not_kept(media_type: str, body: bytes) -> None:
    """Rows are read one by one: what is refused has not become millions of Python objects."""
    content = bytearray(body)
    tracemalloc.start()
    with pytest.raises(BadBody):
        parse_instances(content, media_type, VECTOR)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 40_000_000


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
        max_leaves=10,
    )
)
def test_any_json_is_an_instance_or_a_sentence(value: Any) -> None:
    """Each input either takes a value or refuses it; nothing else is raised."""
    for declared in INPUTS:
        with contextlib.suppress(BadBody):
            assert len(parsed(declared, JSON, json.dumps({"instances": [value]}))) == 1


LABELS = LabelOutput(labels=("a", "b"))


@pytest.mark.parametrize(
    ("output", "answer", "problem"),
    [
        (LABELS, {"label": "a", "scores": {"a": 0.5, "b": 0.5}}, ""),
        (LABELS, {"label": "c", "scores": {"a": 0.5, "b": 0.5}}, "its labels are not those of model.json"),
        (LABELS, {"label": "a", "scores": {"a": 0.5}}, "its labels are not those of model.json"),
        (LABELS, {"label": "a", "scores": {"a": math.nan, "b": 0.5}}, "a score is no finite number"),
        (LABELS, {"label": "a"}, "it must have a label and scores"),
        (NumberOutput(), {"value": 1}, ""),
        (NumberOutput(), {"value": math.inf}, "it must have a value, a finite number"),
        (NumberOutput(), {"value": 10**400}, "it must have a value, a finite number"),
        (NumberOutput(), {"value": True}, "it must have a value, a finite number"),
        (VectorOutput(length=2), {"vector": [1.0, 2]}, ""),
        (VectorOutput(length=2), {"vector": [1.0]}, "it must have a vector of 2 numbers"),
        (VectorOutput(length=2), {"vector": [1.0, math.nan]}, "a number of the vector is not finite"),
    ],
)
def test_an_answer_is_what_is_declared(output: Output, answer: Any, problem: str) -> None:
    """What is wrong with an answer is said; nothing is said of one that fits."""
    assert output.problem(answer) == problem
