"""The fields of the block step before a deployment: what a person decided, why, and for which candidate.

The keys of the fields are those of the model (``deploy/decision``), or carry the endpoint
(``deploy/<endpoint>/decision``): where a build deploys one model to several endpoints, each endpoint then has
a decision of its own, which the unblocking of another step does not change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from modelbuild.buildkite.trainings import TrainingMetaData
from modelbuild.contract import CHOSEN_CANDIDATE, DECISION, DECISION_REASON, endpoint_field
from modelbuild.errors import VerificationFailed

_FIELDS = (DECISION, DECISION_REASON, CHOSEN_CANDIDATE)


@dataclass(frozen=True)
class DecisionFields:
    """The values of the fields, without blanks around them; empty for each that the step does not ask for.

    Attributes:
        decision: what the person decided.
        reason: why.
        candidate: the rank of the candidate of a sweep that the person chose.
        keys: the key in the build's meta-data of each field, by its plain key.
    """

    decision: str
    reason: str
    candidate: str
    keys: Mapping[str, str]

    def keep(self, meta_data: TrainingMetaData, endpoint: str) -> None:
        """Keep the values in the keys that carry the endpoint, for a retry of this step: until then, another
        block step may have set the plain keys.

        Raises:
            BuildkiteError: the agent's command line failed.
        """
        values = {
            DECISION: self.decision,
            DECISION_REASON: self.reason,
            CHOSEN_CANDIDATE: self.candidate,
        }
        meta_data.set({endpoint_field(key, endpoint): value for key, value in values.items()})


def deployed_key(endpoint: str) -> str:
    """The meta-data with the number of the newest deployment of this build to an endpoint, set when it is
    complete.
    """
    return f"deploy/{endpoint}/deployment"


def field_keys(endpoint: str) -> list[str]:
    """All keys of meta-data that a deployment to an endpoint may find fields in, without the model's name."""
    return [*_FIELDS, *(endpoint_field(key, endpoint) for key in _FIELDS)]


def require_undecided(meta_data: TrainingMetaData) -> None:
    """Require that no field with the name of an endpoint is set, as long as no page has shown a model.

    A build that is made by the API may have any meta-data. Keys with the endpoint's name are read instead of
    the plain ones, so they would replace the decision that the approver makes later.

    Raises:
        VerificationFailed: one is set.
        BuildkiteError: the agent's command line failed.
    """
    field = re.compile("|".join(endpoint_field(key, "[^/]+") for key in _FIELDS))
    found = sorted(key for key in meta_data.names() if field.fullmatch(key))
    if found:
        raise VerificationFailed(
            f"meta-data {meta_data.prefix}{found[0]} was set before this build showed a model, so it is no "
            "decision of a person who saw one: start a new build without it"
        )


def read_fields(meta_data: TrainingMetaData, endpoint: str) -> DecisionFields:
    """The fields for an endpoint; the plain ones only where no key carries the endpoint.

    Raises:
        BuildkiteError: the agent's command line failed.
    """
    found = meta_data.find_all(field_keys(endpoint))
    own = {key: endpoint_field(key, endpoint) for key in _FIELDS}
    # An empty field is set, too: the person was asked here and not in another step.
    names = own if any(found[key] is not None for key in own.values()) else {key: key for key in _FIELDS}
    decision, reason, candidate = ((found[names[key]] or "").strip() for key in _FIELDS)
    keys = {key: meta_data.prefix + name for key, name in names.items()}
    return DecisionFields(decision, reason, candidate, keys)
