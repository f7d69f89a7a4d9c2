"""The server that ``bench/serving.py`` measures kind ``onnx`` against: onnxruntime behind FastAPI.

It is what their documentation shows: pydantic models for request and answer, and a session that is run for
each request.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field

from modelbuild.contract import ServingEnvironment

_VARIABLES = ("MODEL_NAME", "MODEL_ID", "MODEL_PIPELINE", "MODEL_DESCRIPTION_SHA256")


class Instance(BaseModel):
    """Eight numbers."""

    x0: float
    x1: float
    x2: float
    x3: float
    x4: float
    x5: float
    x6: float
    x7: float


class Request(BaseModel):
    """The body of a request."""

    instances: list[Instance] = Field(min_length=1, max_length=1_000)


class Prediction(BaseModel):
    """The answer for one instance."""

    value: float
    model: str
    model_id: str


class Predictions(BaseModel):
    """The body of an answer."""

    model: str
    model_id: str
    pipeline: str
    predictions: list[Prediction]


def create_app(session: onnxruntime.InferenceSession, environment: ServingEnvironment) -> FastAPI:
    """The application over a session."""
    app = FastAPI()
    output = session.get_outputs()[-1].name
    name = session.get_inputs()[0].name

    @app.get("/ping")
    async def ping() -> dict[str, str]:
        return {"model_id": environment.model_id}

    @app.post("/invocations")
    async def invocations(request: Request) -> Predictions:
        rows = np.array([list(one.model_dump().values()) for one in request.instances], np.float32)
        (values,) = session.run([output], {name: rows})
        return Predictions(
            model=environment.model,
            model_id=environment.model_id,
            pipeline=environment.pipeline,
            predictions=[
                Prediction(value=value, model=environment.model, model_id=environment.model_id)
                for value in values[:, 0].tolist()
            ],
        )

    return app


def main() -> None:
    """Serve the model of the environment that the inference image has."""
    environment = ServingEnvironment.model_validate({name: os.environ[name] for name in _VARIABLES})
    graph = (Path(os.environ["SM_MODEL_DIR"]) / "model.onnx").read_bytes()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    uvicorn.run(create_app(session, environment), host="127.0.0.1", port=port, access_log=False)


if __name__ == "__main__":
    main()
