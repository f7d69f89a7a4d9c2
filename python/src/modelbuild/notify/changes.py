"""What is different between a model and the live one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from modelbuild.contract import Manifest, parameters_by_name
from modelbuild.contract.report import Change

_HASH = 12


def parameters(live: Manifest, new: Manifest) -> tuple[Change, ...]:
    """The parameters with another value, by their dotted names, with the origin of the new value."""
    before, after = (_parameters(manifest) for manifest in (live, new))
    return tuple(
        Change(name=name, before=old, after=value, origin=new.request.origins.get(name, ""))
        for name, old, value in _different(before, after)
    )


def data(live: Manifest, new: Manifest) -> tuple[Change, ...]:
    """What is different about the rows."""
    return _changes(_data(live), _data(new))


def images(live: Manifest, new: Manifest) -> tuple[Change, ...]:
    """The images, Python, the GPU and its driver, where they are others."""
    return _changes(_images(live), _images(new))


def packages(live: Manifest, new: Manifest) -> tuple[Change, ...]:
    """The packages with other versions."""
    return _changes(live.runtime.packages, new.runtime.packages)


def _data(manifest: Manifest) -> dict[str, str]:
    found = {
        "query" if manifest.data.athena_execution_id else "source": manifest.data.source,
        "rows": f"{manifest.data.rows:,}",
        "rows, SHA-256": manifest.data.sha256[:_HASH],
        "evaluation rows": f"{manifest.evaluation.overall.rows:,}",
        "evaluation rows, SHA-256": manifest.evaluation.dataset_sha256[:_HASH],
    }
    if manifest.training is not None:
        found["training rows"] = f"{manifest.training.rows:,}"
        found |= _balance(manifest.training.labels)
    return found


def _balance(labels: Mapping[str, int]) -> dict[str, str]:
    total = sum(labels.values())
    return {f"training rows of {label}": f"{count / total:.1%}" for label, count in labels.items() if total}


def _images(manifest: Manifest) -> dict[str, str]:
    images, runtime = manifest.request.images, manifest.runtime
    return {
        "image default": images.default,
        "image train-gpu": images.train_gpu,
        "image serve": images.serve,
        "Python": runtime.python,
        "GPU": runtime.gpu,
        "driver": runtime.driver,
    }


def _changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    return tuple(Change(name=name, before=old, after=new) for name, old, new in _different(before, after))


def _different(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """The names whose values are not the same, with both values; in the order of the new ones."""
    for name in [*after, *(name for name in before if name not in after)]:
        old, new = before.get(name, ""), after.get(name, "")
        if old != new:
            yield name, old, new


def _parameters(manifest: Manifest) -> dict[str, str]:
    """The parameters by their dotted names, as JSON."""
    return {
        name: json.dumps(value, ensure_ascii=False, sort_keys=True)
        for name, value in parameters_by_name(manifest.request.parameters).items()
    }
