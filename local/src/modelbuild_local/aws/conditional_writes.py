"""Makes conditional writes of S3 objects atomic, as in S3.

moto checks whether an object exists and stores the new one a moment later, in a thread for each request.
"""

from __future__ import annotations

import threading
from typing import Any

from moto.s3.responses import S3Response

from modelbuild_local.aws.patching import replace


def install() -> None:
    """Make moto store one object at a time; call this once, before the server answers."""
    lock = threading.Lock()

    def put_object(self: S3Response) -> Any:
        with lock:
            return original(self)

    original = replace(S3Response, "put_object", put_object)
