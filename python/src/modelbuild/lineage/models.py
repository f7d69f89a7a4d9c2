"""Finds a model of a pipeline by its id."""

from __future__ import annotations

from itertools import islice

from modelbuild.errors import ConfigurationError
from modelbuild.store.model import ModelStore
from modelbuild.store.pipeline import PipelineStore, is_model_id

_NAMED_MODELS = 5


def find_model(pipeline: PipelineStore, model: str | None, model_id: str) -> ModelStore:
    """The files of the model.

    Args:
        pipeline: where the models lie.
        model: the model's name; None for the only one that has this id.
        model_id: the model's id.

    Raises:
        ConfigurationError: there is no such model, or several have this id.
        AwsError: S3 refused.
    """
    if not is_model_id(model_id):
        raise ConfigurationError(
            f"{model_id!r} is no model id: give the number of the build that made the model, such as 1234"
        )
    names = pipeline.models() if model is None else [model]
    stores = {name: pipeline.model(name, model_id) for name in names}
    found = [name for name, store in stores.items() if store.has_request()]
    if len(found) > 1:
        raise ConfigurationError(
            f"models {', '.join(found)} of {pipeline.root} have id {model_id}: say which with --model"
        )
    if not found:
        raise ConfigurationError(
            f"there is no model {model_id if model is None else f'{model} {model_id}'} in {pipeline.root}: "
            f"{_recorded_models(pipeline, model)}"
        )
    return stores[found[0]]


def _recorded_models(pipeline: PipelineStore, model: str | None) -> str:
    """A text that lists the pipeline's models, the newest of each name first."""
    names = pipeline.models()
    shown = []
    for name in [model] if model in names else names:
        ids = (one for one in pipeline.ids(str(name)) if pipeline.model(str(name), one).has_request())
        newest = list(islice(ids, _NAMED_MODELS + 1))
        more = ", …" if len(newest) > _NAMED_MODELS else ""
        shown += [f"{name} {', '.join(newest[:_NAMED_MODELS])}{more}"] if newest else []
    if not shown:
        return "no model lies there, so correct --artifacts or the credentials' account"
    return f"it has {'; '.join(shown)}"
