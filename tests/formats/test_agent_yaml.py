"""The reader of YAML against the real agent."""

from __future__ import annotations

import json
import os
import subprocess
import time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from modelbuild.errors import ConfigurationError
from modelbuild.formats import agent_yaml
from modelbuild.formats.agent_yaml import YamlError
from modelbuild.onboarding.interpolation import interpolated, interpolated_environment
from modelbuild.onboarding.pipeline import read
from modelbuild.onboarding.training import environment_of, trainings
from modelbuild_local import agent

_SCALARS = """
yes Yes no on off y n true True TRUE tRue false ~ null Null NULL nULL <<
1 +5 -0 0 -0.0 1.0 1. .5 -.5 +.5 1e3 1E3 1e+3 1e-3 -1e-3 1e 1.5e300 1e400 1e-400 5e-324 1e20 1e21 1e22 .
0o17 0O17 -0o17 0o8 0777 -012 00 08 089 0888 0x1F 0X1f -0x1F 0x 0b101 0B1 -0b1 0b2 0b-1 0o-7 0x1p-2
1_000 1__0 1_ _1 1_0.5 1e1_0 0x_1F .1_0 ._5 0_7
12:30:00 190:20:30 190:20:30.15 1:2
2026-01-01 2026-1-1 2026-13-01 2026-02-30 2024-02-29 20260101 2026-01
2026-01-01T1:2:3Z 2026-01-01t01:02:03.1200+01:00 2026-01-01T01:02:03+00:00 2026-01-01T01:02:03
2026-01-01T24:00:00Z 2026-01-01T01:02:03,5Z 2026-01-01T01:02:03.1234567891Z
9223372036854775807 9223372036854775808 18446744073709551615 18446744073709551616 -9223372036854775809
123456789012345678901234567890 1000000.0 12345678.0
"yes" '1e-3' "~" "" v1.2 1.2.3 a-b x#y http://a:1/b
"""
SCALARS = _SCALARS.split()


def multiplied(names: str, form: str) -> str:
    """Values with anchors of these names, each made of aliases of the one before it."""
    return "".join(f"{name}: &{name} {form.format(*pair)}\n" for pair in pairwise(names) for name in pair[1:])


DOCUMENTS = {
    "keys": "true: a\nyes: b\n1e3: c\n0x1F: d\n2026-01-01: e\n1.5: f\n'1': g",
    "merge": "b: &b {x: 1, y: 2}\nc:\n  <<: *b\n  x: 3",
    "merge a list": "b: &b {x: 1}\nd: &d {x: 2, z: 1}\nc:\n  <<: [*b, *d]\n  z: 3",
    "merge twice": "c:\n  a: 1\n  <<: {a: 2, b: 2}\n  <<: {b: 3, c: 3}",
    "quoted merge": 'c:\n  "<<": {a: 1}',
    "alias as key": "a: &a k\nb: {*a : 1}",
    "anchor again": "a: &a 1\nb: &a 2\nc: *a",
    "tags": 'a: !!str 5\nb: !!int "5"\nc: !!float 1\nd: !!null ""\ne: !!bool true\nf: ! 5\ng: !!seq [1]',
    "byte order mark": "\ufeffa: yes",
    "UTF-16": "a: yes",
    "line ends": "a: yes\r\nb: no\r\n",
    "block scalars": "a: |\n  x\n  y\nb: >-\n  x\n  y",
    "end": "a: 1\n...\n",
    "flow": "a: {b: c, d, e: http://x}\nf: [b:c, 'd':1]",
    "some aliases": "a: &a [x, x, x]\nb: [*a, *a, *a]",
}
REFUSED = {
    "escaped slash": 'env: {URL: "https:\\/\\/example.org"}\nsteps: [wait]\n',
    "null key": "~: x",
    "list key": "[a]: x",
    "merge of a number": "c:\n  <<: 5",
    "anchor in itself": "c: &c [*c]",
    "unknown anchor": "c: *q",
    "wrong tag": "a: !!int x",
    "wrong boolean": "a: !!bool yes",
    "tab": "a:\n\tb: 1",
    "control character": 'a: "\0"',
    "surrogate": 'a: "\\ud800"',
    "infinity": "steps: [{command: x, plugins: [{./x: {a: .inf}}]}]",
    "aliases": "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    + multiplied("abcd", "[*{0},*{0},*{0},*{0},*{0},*{0},*{0},*{0},*{0},*{0}]"),
}


def uploaded(content: bytes, folder: Path, **environ: str) -> Any:
    """The pipeline as the real agent would upload it; None where it refuses it."""
    file = folder / "pipeline.yml"
    file.write_bytes(content)
    options = ("--agent-access-token", "x", "--redacted-vars", "", "--dry-run", "--format", "json")
    command = [str(agent.find()), "pipeline", "upload", *options, str(file)]
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **environ}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def encoded(name: str, text: str) -> bytes:
    """A document of the table as bytes."""
    return text.encode("utf-16" if name == "UTF-16" else "utf-8")


def as_go_writes(value: Any) -> Any:
    """A float as it comes back from Go's JSON."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(Decimal(repr(value)))
    return value


def test_scalars_are_read_as_the_agent_reads_them(tmp_path: Path) -> None:
    """Every kind of scalar has the value and the type that the agent hands over."""
    items = "".join(f"      - {scalar}\n" for scalar in SCALARS)
    document = uploaded(f"steps:\n- command: x\n  plugins:\n  - ./x:\n      a:\n{items}".encode(), tmp_path)
    found = document["steps"][0]["plugins"][0]["./x"]["a"]
    ours = [as_go_writes(agent_yaml.load(scalar)) for scalar in SCALARS]
    differing = [
        (scalar, theirs, own)
        for scalar, theirs, own in zip(SCALARS, found, ours, strict=True)
        if theirs != own or type(theirs) is not (str if isinstance(own, str) else type(own))
    ]
    assert differing == []


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_are_read_as_the_agent_reads_them(name: str, tmp_path: Path) -> None:
    """Keys, merges, anchors, tags and encodings mean what they mean to the agent."""
    content = encoded(name, DOCUMENTS[name])
    found = uploaded(content, tmp_path)
    assert found.pop("steps") == []
    assert agent_yaml.load(content) == found


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_agent_refuses_is_refused(name: str, tmp_path: Path) -> None:
    """A document that the agent cannot upload is a sentence here."""
    assert uploaded(REFUSED[name].encode(), tmp_path) is None
    with pytest.raises(YamlError):
        agent_yaml.load(REFUSED[name])


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a: 1\nb: 2\na: 3", "key 'a' stands here again, after line 1: keep one", 3),
        ("0x1: a\n1: b", "key '1' stands here again", 2),
        ("a: 1\n---\nb: 1", "a second document begins", 2),
        ("a: !foo 5", "tag !foo is not known here", 1),
        ("\na: !!python/object/apply:os.system [id]", "tag !!python/object/apply:os.system is not", 2),
        ("a: !!set {x, y}", "tag !!set is not known here", 1),
        ("a: !!binary aGk=", "tag !!binary is not known here", 1),
        ("a: .nan", ".nan is no number that JSON has: put it in quotes", 1),
    ],
)
def test_what_an_author_cannot_mean_is_refused(text: str, message: str, line: int) -> None:
    """What the agent accepts, although it loses or changes a value, is an error with its line."""
    with pytest.raises(YamlError) as caught:
        agent_yaml.load(text)
    assert message in str(caught.value)
    assert caught.value.line == line


ALIASED_TEXT = f"a: &a {'x' * 500_000}\nb: [{', '.join(['*a'] * 1000)}]"


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + multiplied("abcdefghi", "[*{0},*{0},*{0},*{0},*{0},*{0},*{0},*{0},*{0}]"),
        "a: &a {k: v}\n"
        + multiplied("abcdefghijklmnopqrstu", "{{<<: *{0}, {1}1: *{0}, {1}2: *{0}, {1}3: *{0}}}"),
        ALIASED_TEXT,
        "a: " + "[" * 100_000,
        "a: " + "{b: " * 100_000,
        "- " * 50_000,
        "a: " + "x" * 2_000_000,
        "? " * 10_000,
    ],
    ids=["lists", "merges", "long text", "brackets", "braces", "dashes", "huge", "questions"],
)
def test_cost_is_bounded(text: str) -> None:
    """Aliases that multiply, depth and size end in a sentence, and at once."""
    began = time.process_time()
    with pytest.raises(YamlError):
        agent_yaml.load(text)
    assert time.process_time() - began < 2


def test_parser_without_libyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where PyYAML was built without libyaml, its own parser gives the same values and bounds."""
    before = [agent_yaml.load(encoded(name, text)) for name, text in DOCUMENTS.items()]
    monkeypatch.setattr(agent_yaml, "_PARSER", yaml.SafeLoader)
    assert [agent_yaml.load(encoded(name, text)) for name, text in DOCUMENTS.items()] == before
    for text in (*REFUSED.values(), ALIASED_TEXT, "a: " + "[" * 2000, "- " * 500):
        with pytest.raises(YamlError):
            agent_yaml.load(text)


words = (
    st.text(max_size=12) | st.sampled_from(SCALARS) | st.from_regex(r"[-+.0-9_:eExobTZ]{1,8}", fullmatch=True)
)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_what_is_written_reads_back(value: Any) -> None:
    """What is dumped is read as the same values of the same types, by the reader that refuses dates too."""
    assert repr(agent_yaml.load_written(agent_yaml.dump(value, sort_keys=False))) == repr(value)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_are_a_value_or_a_sentence(content: bytes) -> None:
    """Whatever a file holds, it is a value of JSON or one line."""
    try:
        found = json.dumps(agent_yaml.load(content), allow_nan=False)
    except YamlError as error:
        found = str(error)
    assert found.encode()
    assert "\n" not in found


PIPELINE = """
env:
  REGISTRY: ${HOST:-registry}.example
  DEFAULT: $REGISTRY/default:${BUILDKITE_COMMIT:0:7}
  QUEUE: from-file
  RATE: 1e-3
  LARGE: 1000000.0
  SWITCH: yes
  NOTHING: ~
  OCTAL: 0777
  "N$QUEUE": x
steps:
  - command: x
    plugins:
      - ./plugins/train:
          wait: yes
          image: {default: $DEFAULT, serve: "${EMPTY-unset}", train-gpu: "$$DEFAULT"}
          queue: $QUEUE
          params: {rate: $RATE, other: 1e-3, "${QUEUE}": [1.0, 0o17, 2026-01-01, $LARGE, $SWITCH, $Nfrom]}
"""


def test_pipeline_is_completed_as_the_agent_completes_it(tmp_path: Path) -> None:
    """Options have the values that the agent hands over, with ``env:`` of the file above the agent's own."""
    environ = {"BUILDKITE_COMMIT": "0123456789", "QUEUE": "from-agent", "EMPTY": ""}
    theirs = uploaded(PIPELINE.encode(), tmp_path, **environ)
    pipeline = read(tmp_path / "pipeline.yml")
    assert interpolated_environment(pipeline.env, environ) == theirs["env"]
    (training,) = trainings(pipeline.steps)
    pipeline_environ = environment_of(pipeline, environ)
    assert (
        interpolated(training.options, pipeline_environ)
        == theirs["steps"][0]["plugins"][0]["./plugins/train"]
    )


@pytest.mark.parametrize(
    "env", ["{A: 2026-01-01}", "{A: [1]}", "{A: {b: 1}}", "[A=1]", "{A: 10000000000000000000}"]
)
def test_environment_that_the_agent_refuses(env: str, tmp_path: Path) -> None:
    """A value that is no text, number, true or false ends the upload, so it is a sentence here."""
    assert uploaded(f"env: {env}\nsteps: []".encode(), tmp_path) is None
    with pytest.raises(ConfigurationError, match="env: "):
        read(tmp_path / "pipeline.yml")
