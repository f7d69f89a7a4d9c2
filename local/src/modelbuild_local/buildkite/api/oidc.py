"""The OIDC token that identifies a job."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from modelbuild_local.buildkite.errors import Refused
from modelbuild_local.buildkite.pipeline.definition import CommandStep
from modelbuild_local.buildkite.state import Job
from modelbuild_local.service import web_identity

_LIFETIME_SECONDS = 300
_MAX_LIFETIME_SECONDS = 7200


def token(job: Job, organization: str, requested: Mapping[str, Any], signing_key: str) -> str:
    """A JSON web token for a job with the requested claims, signed with ``signing_key``.

    Raises:
        Refused: the lifetime is negative or longer than two hours, or a tag is no claim.
    """
    now = int(time.time())
    lifetime = int(requested.get("lifetime") or _LIFETIME_SECONDS)
    if not 0 < lifetime <= _MAX_LIFETIME_SECONDS:
        raise Refused(422, f"lifetime must be at most {_MAX_LIFETIME_SECONDS}")
    definition = job.step.definition
    key = definition.key if isinstance(definition, CommandStep) else None
    build = job.build
    claims: dict[str, Any] = {
        "iss": "https://agent.buildkite.com",
        "sub": f"organization:{organization}:pipeline:{build.pipeline.slug}:ref:refs/heads/{build.branch}"
        f":commit:{build.commit}:step:{key or ''}",
        "aud": requested.get("audience") or f"https://buildkite.com/{organization}",
        "iat": now,
        "nbf": now,
        "exp": now + lifetime,
        "organization_slug": organization,
        "pipeline_slug": build.pipeline.slug,
        "build_number": build.number,
        "build_branch": build.branch,
        "build_commit": build.commit,
        "step_key": key,
        "job_id": job.id,
    }
    tags = requested.get("aws_session_tags") or []
    for tag in tags:
        if tag not in claims:
            raise Refused(422, f"{tag} is not a claim")
    if tags:
        principal = {tag: [str(claims[tag])] for tag in tags}
        claims["https://aws.amazon.com/tags"] = {"principal_tags": principal, "transitive_tag_keys": []}
    return web_identity.sign(claims, signing_key)
