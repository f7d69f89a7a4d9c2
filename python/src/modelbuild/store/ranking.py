"""Which models of one name are the best: an index in the keys of S3.

Each model has one object, ``<rank>-<model id>``, below
``<root>/<model>/ranking/<hash of the evaluation rows>/<primary metric>/``. Ranks sort as texts as the metric
does as a number, the best first.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from modelbuild.contract import Evaluation, Manifest, document
from modelbuild.store.objects import Objects
from modelbuild.store.pipeline import is_model_id

_BITS = 64
_SIGN = 1 << (_BITS - 1)


@dataclass(frozen=True)
class Ranking:
    """The models of one name that were evaluated on the same rows by the same primary metric.

    Every method raises ``AwsError`` when S3 refuses.
    """

    objects: Objects
    prefix: str

    @classmethod
    def of(cls, objects: Objects, manifest: Manifest) -> Ranking:
        """The ranking that a model belongs to."""
        evaluation = manifest.evaluation
        models = manifest.request.artifacts.rsplit("/", 1)[0]
        return cls(objects, f"{models}/ranking/{evaluation.dataset_sha256}/{evaluation.primary}/")

    def add(self, manifest: Manifest) -> None:
        """Add a model; one that is there already stays as it is."""
        evaluation, model_id = manifest.evaluation, manifest.request.model_id
        value = evaluation.overall.metrics[evaluation.primary]
        content = document({"model_id": model_id, evaluation.primary: value}).encode()
        self.objects.write_once(f"{self.prefix}{rank(evaluation)}-{model_id}", content)

    def best(self) -> list[str]:
        """The ids of the models, the best first."""
        names = [uri.rsplit("/", 1)[1] for uri, _ in self.objects.list(self.prefix)]
        return [found for name in sorted(names) if is_model_id(found := name.partition("-")[2])]


def rank(evaluation: Evaluation) -> str:
    """The primary metric as 16 hexadecimal digits, which are smaller for a better value."""
    metric = evaluation.metric(evaluation.primary)
    # Adding 0.0 makes a positive zero of a negative one.
    worse = -metric.gain(evaluation.overall.metrics[metric.name], 0.0) + 0.0
    (bits,) = struct.unpack(">Q", struct.pack(">d", worse))
    # By IEEE 754, the bits of positive numbers sort as the numbers do, those of negative ones in reverse.
    ordered = bits ^ ((1 << _BITS) - 1) if bits & _SIGN else bits | _SIGN
    return f"{ordered:016x}"
