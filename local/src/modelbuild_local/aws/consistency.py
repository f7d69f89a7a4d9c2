"""Makes moto's S3 as consistent as S3 where requests for one object come at the same time.

moto has a thread for each request. It checks whether an object exists and stores the new one a moment later;
and it closes the content of an object that is replaced, also while another thread reads it.
"""

from __future__ import annotations

import threading
from typing import Any

from moto.s3.models import FakeKey
from moto.s3.responses import S3Response

from modelbuild_local.aws.patching import replace


def install() -> None:
    """Make writes atomic and reads complete; call this once, before the server answers."""
    lock = threading.Lock()

    def put_object(self: S3Response) -> Any:
        with lock:
            return write(self)

    def untracked(cls: type[FakeKey], *_: Any, **__: Any) -> FakeKey:
        return object.__new__(cls)

    def dispose(self: FakeKey, garbage: bool = False) -> None:
        # A request that reads the object refers to it; Python closes the content after the last one.
        self.disposed = True
        if garbage:
            close(self)

    write = replace(S3Response, "put_object", put_object)
    close = replace(FakeKey, "dispose", dispose)
    # moto also refers to each object that it ever had, for a reset that the stand-in does not offer.
    replace(FakeKey, "__new__", staticmethod(untracked))
