from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from transformers import PreTrainedModel

import tiny_transformer
import transformer
from memory import MemoryObjects
from modelbuild.flow.models.transformer import export
from modelbuild.flow.models.transformer.batches import encode
from modelbuild.flow.models.transformer.finetune import predict
from modelbuild.serving.model import Model, load
from modelbuild.store.model import ModelStore
from parameters import TransformerParameters, parse, read
from rows import LABELS, Labelled, Rated

PARAMS = Path(__file__).parents[3] / "flows" / "sentiment" / "params-transformer.yaml"
ROWS = [
    Labelled(Rated(f"tweets/{number}", text, 1.0, "tweets", f"tweets/{number}", 0.0), target)
    for number, (text, target) in enumerate(tiny_transformer.texts(150))
]
TEXTS = ["good", "it is BAD, word1 word2", "nothing of this is known " * 20, "\N{GRINNING FACE}"]


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    """The repository's own parameters, but for a model that trains in a moment and is served in int8."""
    values: dict[str, Any] = yaml.safe_load(PARAMS.read_text())
    values["model"] |= {"max_tokens": 16, "weights": "int8"}
    values["training"] |= {"epochs": 6, "batch_size": 8, "learning_rate": 0.01, "warmup": 0.1}
    return parse(yaml.safe_dump(values))


@pytest.fixture(scope="module")
def made(
    written: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[PreTrainedModel, Model, Model, bytes]:
    """The model in torch, in int8 and in float32 as they are served, and the graph of the latter."""
    wheel = tiny_transformer.wheel(transformer.MINILM_FOLDER)
    objects, sha256 = MemoryObjects(), hashlib.sha256(wheel).hexdigest()
    objects.write(f"s3://bucket/packages/{sha256}", wheel)
    models: list[PreTrainedModel] = []

    def exported(model: PreTrainedModel) -> bytes:
        models.append(model)
        return export.to_onnx(model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(transformer, "MINILM", replace(transformer.MINILM, sha256=sha256))
        patch.setattr(transformer, "to_onnx", exported)
        parameters = read(written)
        assert isinstance(parameters, TransformerParameters)
        files, others = transformer.train(
            ROWS, parameters, written, ModelStore(objects, "s3://bucket/models/comments/sentiment/12")
        )
    return models[0], load(files), load(others["float32"]), others["float32"]["model.onnx"]


def test_served_answers_are_those_of_torch(made: tuple[PreTrainedModel, Model, Model, bytes]) -> None:
    """Whatever their number and lengths, texts get the probabilities that torch computes for them."""
    model, _, served, _ = made
    texts = TEXTS * 9
    encoded = encode(tiny_transformer.pretrained().text_tokenizer(16), texts)
    logits = predict(model, encoded, torch.device("cpu"), torch.float32)
    expected = torch.softmax(torch.from_numpy(logits).double(), dim=1).numpy()
    answers = served.predict_json(texts)
    found = np.array([[answer["scores"][label] for label in LABELS] for answer in answers])
    assert found == pytest.approx(expected, abs=1e-5)
    alone = served.predict_json(TEXTS[:1])[0]["scores"]
    assert [alone[label] for label in LABELS] == pytest.approx(expected[0], abs=1e-5)


def test_int8_agrees(made: tuple[PreTrainedModel, Model, Model, bytes]) -> None:
    """The version in int8 has learned too, and gives nearly all texts the label of the other."""
    _, small, served, _ = made
    texts, targets = zip(*tiny_transformer.texts(60, seed=5), strict=True)
    labels = [
        np.array([LABELS.index(answer["label"]) for answer in model.predict_json(texts)])
        for model in (small, served)
    ]
    assert (labels[0] == labels[1]).mean() > 0.9
    assert (labels[0] == targets).mean() > 0.6


def test_int8_answers_no_other_text(made: tuple[PreTrainedModel, Model, Model, bytes]) -> None:
    """The version in int8 gives a text the same answer alone and beside any others, to the last digit."""
    small = made[1]
    assert small.predict_json(TEXTS * 3) == [small.predict_json([text])[0] for text in TEXTS] * 3


def test_graph_names_no_file(made: tuple[PreTrainedModel, Model, Model, bytes]) -> None:
    """What the exporter notes of the program, such as paths of the machine, is not in the model."""
    graph = made[3]
    assert b".py" not in graph
    assert {one.name for one in onnx.load_from_string(graph).graph.input} == {"input_ids", "attention_mask"}
