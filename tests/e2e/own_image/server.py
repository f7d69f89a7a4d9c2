"""The program of an image of one's own: Python's HTTP server around a model, without modelbuild's server."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from model_servers import RightServer, running
from modelbuild.serving.model import load_directory


class OwnServer(RightServer):
    """Answers with the model that SageMaker has put into the container."""

    def __init__(self) -> None:
        super().__init__()
        self.names = {"model": os.environ["MODEL_NAME"], "model_id": os.environ["MODEL_ID"]}
        self.pipeline = os.environ["MODEL_PIPELINE"]
        self._model = load_directory(Path(os.environ["SM_MODEL_DIR"]), os.environ["MODEL_DESCRIPTION_SHA256"])

    def predict(self, text: str) -> dict[str, Any]:
        """The output for a text."""
        (output,) = self._model.predict_json([text])
        return dict(output)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
with running(OwnServer(), (os.environ["BIND_ADDRESS"], int(os.environ["SAGEMAKER_BIND_TO_PORT"]))):
    threading.Event().wait()
