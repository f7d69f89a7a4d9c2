"""The decision of the person who unblocked the deployment, from the fields of the block step."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone

from pydantic import ValidationError

from modelbuild.buildkite.trainings import TrainingMetaData
from modelbuild.contract import (
    CANDIDATE_GATES,
    DECISION,
    DECISION_REASON,
    DECISIONS,
    FAILED_GATES,
    GATES_ENDPOINT,
    NO_GATES,
    Approver,
    CandidateGates,
    Decision,
)
from modelbuild.errors import ConfigurationError, Rejected, VerificationFailed
from modelbuild.handoff.fields import DecisionFields, deployed_key
from modelbuild.handoff.manifest import Handoff
from modelbuild.store.decisions import DecisionStore

META_DATA = (FAILED_GATES, CANDIDATE_GATES, GATES_ENDPOINT)
"""The keys of meta-data whose values this module reads."""

_SHOWN_CHARACTERS = 500


def record(
    approved: Handoff,
    endpoint: str,
    fields: DecisionFields,
    meta_data: TrainingMetaData,
    approver: Approver,
) -> Decision:
    """Record what the person decided for an endpoint, once, beside the manifest.

    Where notify was retried after that, the record gets the gates of its newest run. A step that has passed
    keeps its gates where the newest ones are of a comparison with another endpoint.

    A block step without the fields asks for nothing: to unblock it is the decision to deploy.

    Raises:
        ConfigurationError: the decision is neither to deploy nor to reject, or the gates cannot be read.
        VerificationFailed: another decision for this endpoint than that of this job is on record.
        AwsError: S3 refused.
        BuildkiteError: the agent's command line failed.
    """
    written = fields.decision or "deploy"
    if written not in DECISIONS:
        raise ConfigurationError(
            f"meta-data {fields.keys[DECISION]} is {written[:80]!r}: give the field of the block step "
            f"the options {' and '.join(DECISIONS)}"
        )
    request = approved.manifest.request
    failed_gates = _failed_gates(request.model_id, meta_data)
    decision = Decision.model_validate(
        {
            "model": request.model,
            "model_id": request.model_id,
            "manifest_sha256": approved.manifest_sha256,
            "endpoint": endpoint,
            "decision": written,
            "reason": fields.reason,
            "failed_gates": failed_gates,
            "approver": approver.model_dump(),
            "decided_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
    )
    replace(fields, decision=written).keep(meta_data, endpoint)
    store = DecisionStore(approved.store.objects, approved.store.prefix)
    recorded = store.write_once(decision)
    _require_same(recorded, decision, store.uri(endpoint))
    if recorded.failed_gates != failed_gates and not (
        meta_data.get(deployed_key(endpoint)) and _are_of_another(endpoint, meta_data)
    ):
        recorded = recorded.model_copy(update={"failed_gates": failed_gates})
        store.write(recorded)
    return recorded


def _require_same(recorded: Decision, decision: Decision, uri: str) -> None:
    """Require that the decision on record is that of this job; a rejection by the same person holds.

    No person decides which gates are not met, so these may differ; and so may the name of the approver, which
    a user may change in the meantime, where the address is the same.

    Raises:
        VerificationFailed: it is another one.
    """
    may_differ = {"decided_at", "failed_gates"}
    if recorded.decision == "reject":
        may_differ |= {"decision", "reason"}
    email = decision.approver.email
    if email and recorded.approver.email == email:
        may_differ |= {"approver"}
    there, here = (one.model_dump(mode="json", exclude=may_differ) for one in (recorded, decision))
    if differing := [name for name in here if there[name] != here[name]]:
        shown = "; ".join(f"{name} is {there[name]!r} in place of {here[name]!r}" for name in differing)
        raise VerificationFailed(
            f"{uri} has another decision than this job ({shown[:_SHOWN_CHARACTERS]}): nothing was deployed; "
            "start a new build, and decide there"
        )


def _are_of_another(endpoint: str, meta_data: TrainingMetaData) -> bool:
    """Whether the gates are those of a notify step that has compared with another endpoint."""
    return meta_data.get(GATES_ENDPOINT) not in (None, "-", endpoint)


def _failed_gates(model_id: str, meta_data: TrainingMetaData) -> str:
    """The gates that the model, or the candidate of a sweep, did not meet."""
    if (gates := _candidate_gates(model_id, meta_data)) is not None:
        return gates.failed.get(model_id, "")
    failed = meta_data.get(FAILED_GATES) or ""
    return "" if failed == NO_GATES else failed


def _candidate_gates(model_id: str, meta_data: TrainingMetaData) -> CandidateGates | None:
    """The gates of the candidates of a sweep; None if notify noted none, and for a model of no sweep."""
    value = meta_data.get(CANDIDATE_GATES) if "." in model_id else None
    if not value:
        return None
    try:
        return CandidateGates.model_validate_json(value)
    except ValidationError as error:
        raise ConfigurationError(
            f"meta-data {meta_data.prefix}{CANDIDATE_GATES} is {value[:80]!r}, which no notify step writes: "
            "start a new build, and leave this key to the notify step"
        ) from error


def require_deploy(decision: Decision, fields: DecisionFields, meta_data: TrainingMetaData) -> None:
    """Require that the person decided to deploy, and gave a reason where gates were not met; no reason lets a
    candidate of a sweep through that does not meet required gates.

    Raises:
        Rejected: the model is not to be deployed.
        ConfigurationError: the gates of candidates cannot be read.
        BuildkiteError: the agent's command line failed.
    """
    name, by = f"model {decision.model} {decision.model_id}", decision.approver.name or "the approver"
    reason = decision.reason or "no reason was given"
    if decision.decision == "reject":
        raise Rejected(
            f"{by} rejected {name} ({reason}): nothing was deployed; to try again, start a new build"
        )
    gates = _candidate_gates(decision.model_id, meta_data)
    if decision.failed_gates and gates is not None and gates.required:
        raise Rejected(
            f"candidate {decision.model_id} does not meet the gates of this pipeline "
            f"({decision.failed_gates}): nothing was deployed; start a new build, and choose a candidate "
            "that meets them"
        )
    if decision.failed_gates and not decision.reason:
        raise Rejected(
            f"{name} does not meet the gates of this pipeline ({decision.failed_gates}), and {by} gave no "
            f"reason to deploy it in field {fields.keys[DECISION_REASON]}: start a new build"
        )
