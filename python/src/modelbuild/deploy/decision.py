"""The decision of the person who unblocked the deployment, from the fields of the block step."""

from __future__ import annotations

from datetime import datetime, timezone

from modelbuild.buildkite.trainings import TrainingMetaData
from modelbuild.contract import DECISION, DECISION_REASON, FAILED_GATES, NO_GATES, Approver, Decision
from modelbuild.errors import ConfigurationError, Rejected
from modelbuild.handoff.manifest import Handoff

_DECISIONS = ("deploy", "reject")


def record(approved: Handoff, meta_data: TrainingMetaData, approver: Approver) -> Decision:
    """Record what the person decided, once, beside the manifest.

    A block step without the fields asks for nothing: whoever unblocks it has decided to deploy.

    Raises:
        ConfigurationError: the decision is neither to deploy nor to reject.
        AwsError: S3 refused.
        BuildkiteError: the agent's command line failed.
    """
    fields = meta_data.get_all([DECISION, DECISION_REASON, FAILED_GATES])
    written = fields[DECISION].strip() or "deploy"
    if written not in _DECISIONS:
        raise ConfigurationError(
            f"meta-data {meta_data.prefix}{DECISION} is {written[:80]!r}: give the field of the block step "
            f"the options {' and '.join(_DECISIONS)}"
        )
    request, failed_gates = approved.manifest.request, fields[FAILED_GATES]
    return approved.store.write_decision_once(
        Decision.model_validate(
            {
                "model": request.model,
                "model_id": request.model_id,
                "manifest_sha256": approved.manifest_sha256,
                "decision": written,
                "reason": fields[DECISION_REASON].strip(),
                "failed_gates": "" if failed_gates == NO_GATES else failed_gates,
                "approver": approver.model_dump(),
                "decided_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            }
        )
    )


def require_deploy(decision: Decision, meta_data: TrainingMetaData) -> None:
    """Require that the person decided to deploy, and gave a reason where gates were not met.

    Raises:
        Rejected: the model is not to be deployed.
    """
    name, by = f"model {decision.model} {decision.model_id}", decision.approver.name or "the approver"
    reason = decision.reason or "no reason was given"
    if decision.decision == "reject":
        raise Rejected(
            f"{by} rejected {name} ({reason}): nothing was deployed; to try again, start a new build"
        )
    if decision.failed_gates and not decision.reason:
        raise Rejected(
            f"{name} does not meet the gates of this pipeline ({decision.failed_gates}), and {by} gave no "
            f"reason to deploy it in field {meta_data.prefix}{DECISION_REASON}: start a new build"
        )
