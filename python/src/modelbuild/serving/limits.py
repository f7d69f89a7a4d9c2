"""Limits of the server's time and memory. docs/serving.md describes what a client sees of them."""

from __future__ import annotations

MAX_BODY_BYTES = 6_291_456
"""The largest body that SageMaker forwards."""
MAX_INSTANCES = 1_000
MAX_CHARACTERS = 10_000
MAX_JSON_MARKS = 1_000_000
"""How many of the characters ``,:[{`` a JSON body may have outside its texts: one for each value, and one for
each key. A million values take about 60 MB as Python objects."""

SMALL_BODY_BYTES = 65_536
"""The server answers a body up to this size on the event loop: as Python objects it takes at most 3 MB, and
a thread would cost more time than the prediction. A larger body needs one of :data:`LARGE_BODIES` slots."""
LARGE_BODIES = 4
"""How many larger bodies are read or answered at the same time; together they hold at most 25 MB."""
LARGE_BODIES_WAITING = 32
LARGE_BODY_WAIT_SECONDS = 15.0

BATCH_SIZE = 32_768
"""How much is predicted before the event loop reads its sockets again: characters, and 8 for each number."""
BATCH_SECONDS = 0.1
"""How long a batch in a thread should take."""
FAST_SECONDS = 0.002
"""A model that answers one instance faster predicts on the event loop; a slower one predicts in a thread."""
LOOP_SECONDS = 0.05
"""How long a batch on the event loop should take; a request that takes longer is predicted in the thread."""

REQUEST_SECONDS = 60.0
"""How long SageMaker waits for an answer; the server computes nothing for an older request."""
BUSY_SECONDS = 5.0
"""How long the oldest request must have waited before a new one is refused because of those before it."""

MAX_ANSWER_BYTES = 6_291_456
"""About the size of the largest answer; it is that of the largest body."""
SMALL_ANSWER_BYTES = 262_144
"""An answer up to about this size is written on the event loop, which takes some milliseconds."""
LARGE_ANSWERS = 16
"""How many requests with larger answers are predicted and written at the same time; as Python objects the
answers of each take up to 12 MB."""

MAX_CONNECTIONS = 512
"""Half of the 1,024 files that a process may have open by default."""
MAX_HEADER_BYTES = 65_536
HEADER_SECONDS = 10.0
BODY_SECONDS = 30.0
ANSWER_SECONDS = 30.0
"""How long the client may take to read its answer."""
SHUTDOWN_SECONDS = 20
"""How long requests may take after SIGTERM; SageMaker kills the container after 30 seconds."""
KEEP_ALIVE_SECONDS = 75
"""Longer than the 60 seconds for which SageMaker keeps a connection, so that SageMaker closes it first."""
