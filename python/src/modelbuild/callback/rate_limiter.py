"""The rate limiter for requests to Buildkite that all trainings of a bucket share."""

from __future__ import annotations

from modelbuild.buildkite.rate_limiter import RateLimiter
from modelbuild.store.bucket import BucketStore
from modelbuild.store.objects import Objects


def shared_rate_limiter(objects: Objects, artifacts: str) -> RateLimiter:
    """The rate limiter of all trainings of the bucket that ``artifacts`` lies in."""
    return RateLimiter(BucketStore(objects, artifacts).claim_slot)
