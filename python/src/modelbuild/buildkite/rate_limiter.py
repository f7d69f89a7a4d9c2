"""Shares Buildkite's limit of requests between programs that know nothing of each other.

Buildkite allows 50 requests a minute for all tokens of a user together. The rate limiter divides time into
slices with four slots each. A program may send one request in each slot that it was the first to claim. The
claims are all that the programs share.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

SLICE_SECONDS = 6.0
# 40 slots a minute. The rest of the 50 requests is for programs that watch builds, and for people. A training
# that ends sends two requests while its head may send one for a cancelled build and one for its page.
SLOTS_PER_SLICE = 4

# A larger factor saves a few claims, but makes some waits much longer.
_RANGE_GROWTH = 1.25


@dataclass(frozen=True)
class RateLimiter:
    """The slots for requests of one user of Buildkite.

    Attributes:
        claim: claims a slot by its name; True if this call was the first to claim it.
        now: the time, in seconds since 1970.
        chance: a random number from 0 to 1.
    """

    claim: Callable[[str], bool]
    now: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random

    def spare(self) -> bool:
        """Claim the last slot of this moment; False if another program has it.

        For requests that may be left out: all other slots stay free for requests that may not.
        """
        return self.claim(f"{int(self.now() / SLICE_SECONDS)}-{SLOTS_PER_SLICE - 1}")

    def next(self) -> float:
        """Claim a slot; returns the seconds until it begins: 0 when no other program sends requests."""
        first = int(self.now() / SLICE_SECONDS)
        for slot in range(SLOTS_PER_SLICE):
            if self.claim(f"{first}-{slot}"):
                return 0.0
        # When many programs claim at once, a wider range of slots makes fewer of them collide.
        slots = float(SLOTS_PER_SLICE)
        while True:
            number = int(self.chance() * slots)
            chosen, slot = first + 1 + number // SLOTS_PER_SLICE, number % SLOTS_PER_SLICE
            if self.claim(f"{chosen}-{slot}"):
                return max(0.0, chosen * SLICE_SECONDS - self.now())
            slots *= _RANGE_GROWTH
