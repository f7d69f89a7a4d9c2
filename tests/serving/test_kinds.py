"""Kinds of models that a user's own distribution brings into the image."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from modelbuild.contract import Predictions, ServingEnvironment
from modelbuild.errors import ConfigurationError, ModelbuildError, VerificationFailed
from modelbuild.serving.description import ModelDescription
from modelbuild.serving.inputs import TextInput
from modelbuild.serving.kinds import find_kind
from modelbuild.serving.model import load
from modelbuild.serving.outputs import NumberOutput
from servers import serving

LENGTHS = '''
"""Kind ``length``: how many characters a text has, by a factor."""

from modelbuild.contract import Record
from modelbuild.serving.inputs import TextInput
from modelbuild.serving.kinds import read_file, read_options, require_types
from modelbuild.serving.outputs import NumberOutput


class Options(Record):
    factor: float


class Predictor:
    def __init__(self, factor, offset):
        self.factor, self.offset = factor, offset

    def predict(self, instances):
        return [{"value": self.factor * len(text) + self.offset} for text in instances]


class Kind:
    tolerance = 0.0

    def load(self, description, files):
        require_types(description, TextInput, NumberOutput)
        return Predictor(read_options(description, Options).factor, float(read_file(files, "offset.txt")))


KIND = Kind()
'''


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder in which a distribution of the user's own is installed."""
    folder = tmp_path / "site"
    about = folder / "lengths-1.0.dist-info"
    about.mkdir(parents=True)
    (folder / "lengths.py").write_text(LENGTHS)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lengths\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[modelbuild.kinds]\nlength = lengths:KIND\nunfinished = lengths_of_another_package:KIND\n"
    )
    return folder


def files(kind: str = "length", offset: bytes = b"1", **options: float) -> dict[str, bytes]:
    """The files of a model of that kind."""
    description = ModelDescription(
        kind=kind,
        input=TextInput(),
        output=NumberOutput(),
        options=options or {"factor": 2.0},
        files={"offset.txt": hashlib.sha256(offset).hexdigest()},
        parameters_sha256="0" * 64,
    )
    return {"offset.txt": offset, "model.json": description.to_json().encode()}


def test_a_kind_of_the_users_own_is_loaded(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution with an entry point is enough; its options are checked too."""
    monkeypatch.syspath_prepend(site)
    assert load(files()).predict_json(["abc"]) == [{"value": 7.0}]
    with pytest.raises(ConfigurationError, match=r"wrong options\.factor for kind length"):
        load(files(speed=1.0))
    with pytest.raises(VerificationFailed, match="is no number: it must have a value, a finite number"):
        load(files(factor=-1e308, offset=b"-inf"))


def test_a_kind_whose_package_is_missing_is_a_sentence(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kind imports and is not there is named, with what to do."""
    monkeypatch.syspath_prepend(site)
    with pytest.raises(
        ConfigurationError, match=r"lengths_of_another_package.*serve the model with an image"
    ):
        find_kind("unfinished")


def test_two_kinds_of_one_name_are_a_sentence(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which of two packages serves a model must not depend on the order in which they are found."""
    points = next(site.glob("*.dist-info")) / "entry_points.txt"
    points.write_text("[modelbuild.kinds]\nonnx = lengths:KIND\n")
    monkeypatch.syspath_prepend(site)
    with pytest.raises(
        ConfigurationError, match=r"several packages in this image have a kind 'onnx': lengths:"
    ):
        find_kind("onnx")


@pytest.mark.parametrize(
    ("written", "instead", "message"),
    [
        (
            "class Options",
            "1 / 0\n\n\nclass Options",
            "cannot be imported as lengths:KIND: ZeroDivisionError",
        ),
        ("KIND =", "OTHER =", "cannot be imported as lengths:KIND: AttributeError: module 'lengths' has no"),
        ("tolerance = 0.0", "", "cannot load the model: AttributeError: 'Kind' object has no attribute"),
        ('read_file(files, "offset.txt")', 'files["o.txt"]', r"the model: KeyError: 'o\.txt' \(at .*lengths"),
        ("KIND = Kind()", "KIND = Kind", r"cannot load the model: TypeError: Kind\.load\(\) missing"),
        ('[{"value": self', "[(self", "the model gives an answer of type float, not dict"),
        ("return [", "return not [", "cannot answer the example 'An example.' of its input text: TypeError"),
    ],
)
def test_what_a_kind_raises_is_a_sentence(
    written: str, instead: str, message: str, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake in a kind of the user's own ends its server with what the kind raised, and where."""
    code = LENGTHS.replace("} for text", ") for text") if "(self" in instead else LENGTHS
    (site / "lengths.py").write_text(code.replace(written, instead))
    monkeypatch.delitem(sys.modules, "lengths", raising=False)
    monkeypatch.syspath_prepend(site)
    with pytest.raises(ModelbuildError, match=message):
        load(files())
    monkeypatch.delitem(sys.modules, "lengths", raising=False)


def test_a_server_serves_a_kind_of_the_users_own(site: Path, tmp_path: Path) -> None:
    """The serving process finds the kind, verifies the files, and names the model in each answer."""
    model = tmp_path / "model"
    model.mkdir()
    content = files()
    for name, part in content.items():
        (model / name).write_bytes(part)
    environment = ServingEnvironment(
        model="length",
        model_id="7",
        pipeline="comments",
        description_sha256=hashlib.sha256(content["model.json"]).hexdigest(),
    )
    with serving(model, environment, PYTHONPATH=str(site)) as served:
        answer = Predictions.model_validate(served.invoke(["ab", "abcd"]))
    assert [(one.output, one.model_id) for one in answer.predictions] == [
        ({"value": 5.0}, "7"),
        ({"value": 9.0}, "7"),
    ]
