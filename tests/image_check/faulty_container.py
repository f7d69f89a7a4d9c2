"""A container with the faults that are named in its arguments; without any it is right.

Its model is a number in weights.pkl, which is also a pickle. With the fault ``unpickles`` it is read as one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pickle
import signal
import sys
import threading
from pathlib import Path

from model_servers import RightServer, running

FAULTS = set(sys.argv[1:])
DIRECTORY = Path(os.environ["SM_MODEL_DIR"])
DESCRIPTION = (DIRECTORY / "model.json").read_bytes()


def require(found: bytes, expected: str) -> None:
    """Exit if the SHA-256 is another one."""
    sha256 = hashlib.sha256(found)
    written = {sha256.hexdigest(), sha256.hexdigest().upper(), base64.b64encode(sha256.digest()).decode()}
    if "trusts" not in FAULTS and expected not in written:
        sys.exit("the model is not the approved one")


def load() -> None:
    """Read the model, as the faults say."""
    require(DESCRIPTION, os.environ["MODEL_DESCRIPTION_SHA256"])
    for name, sha256 in json.loads(DESCRIPTION)["files"].items():
        content = (DIRECTORY / name).read_bytes()
        require(content, sha256)
        if "unpickles" in FAULTS and name.endswith(".pkl"):
            pickle.loads(content)
        elif name.endswith(".pkl"):
            float(content[1:-2])
        else:
            json.loads(content)


class Container(RightServer):
    """The server in the container."""

    def __init__(self) -> None:
        super().__init__()
        fixed = "hard-coded" in FAULTS
        self.names = {
            "model": "checked-model" if fixed else os.environ["MODEL_NAME"],
            "model_id": "1" if fixed else os.environ["MODEL_ID"],
        }
        self.pipeline = "check-image" if fixed else os.environ["MODEL_PIPELINE"]
        self.loaded = False

    def invoke(self, content_type: str, body: bytes) -> tuple[int, bytes]:
        """Load the model when the first request comes, if that is a fault."""
        if "lazy" in FAULTS and not self.loaded:
            load()
            self.loaded = True
        return super().invoke(content_type, body)


if "lazy" not in FAULTS:
    load()
if "never" in FAULTS:
    signal.pause()
if "deaf" in FAULTS:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with running(Container(), ("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"]))):
    threading.Event().wait()
