"""What bounds the server's time and memory. docs/serving.md says what a client sees of it."""

from __future__ import annotations

MAX_BODY_BYTES = 6_291_456
"""What SageMaker forwards at most."""
MAX_INSTANCES = 1_000
MAX_CHARACTERS = 10_000

SMALL_BODY_BYTES = 65_536
"""A body up to this size is answered on the event loop: it takes 3 MB as Python objects, whatever is in it,
and less time than what a thread costs. A larger one needs one of the few places."""
LARGE_BODIES = 4
"""Larger bodies that are read or answered at the same time; they hold 25 MB at most."""
LARGE_BODIES_WAITING = 32
LARGE_BODY_WAIT_SECONDS = 15.0

BATCH_CHARACTERS = 32_768
"""How much is predicted before the event loop looks at its sockets again."""

MAX_CONNECTIONS = 512
"""Half of the 1,024 files that a process may have open by default."""
MAX_HEADER_BYTES = 65_536
HEADER_SECONDS = 10.0
BODY_SECONDS = 30.0
ANSWER_SECONDS = 30.0
"""How long the client may take to read its answer."""
KEEP_ALIVE_SECONDS = 75
"""Longer than the 60 seconds for which SageMaker keeps a connection: the client must be first to close it."""
