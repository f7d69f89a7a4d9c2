"""A limit of requests to Buildkite that is shared by programs which have no other contact.

Buildkite allows 50 requests a minute for all tokens of a user together. Time is cut into slices of two turns
each. A turn belongs to the program that claims its name first, so the programs share claims and nothing else.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

SLICE_SECONDS = 3.0
# 40 turns a minute. The rest of the 50 is for programs that watch builds, and for people.
TURNS_PER_SLICE = 2

# A larger factor saves a few claims, and makes some waits much longer than all calls need.
_WIDER = 1.25


@dataclass(frozen=True)
class RateLimiter:
    """The turns of one user of Buildkite.

    Attributes:
        claim: whether this call was the first to claim a name.
        now: the time, in seconds since 1970.
        chance: a random number from 0 to 1.
    """

    claim: Callable[[str], bool]
    now: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random

    def next(self) -> float:
        """Claim a turn; the answer is the seconds until it comes, and 0 when no other program is calling."""
        first = int(self.now() / SLICE_SECONDS)
        for turn in range(TURNS_PER_SLICE):
            if self.claim(f"{first}-{turn}"):
                return 0.0
        # Where many want to call at once, the wider the choice, the fewer claims are in vain.
        slices = 2.0
        while True:
            number = int(self.chance() * slices * TURNS_PER_SLICE)
            chosen, turn = first + 1 + number // TURNS_PER_SLICE, number % TURNS_PER_SLICE
            if self.claim(f"{chosen}-{turn}"):
                return max(0.0, chosen * SLICE_SECONDS - self.now())
            slices *= _WIDER
