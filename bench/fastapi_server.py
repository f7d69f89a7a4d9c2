"""The server that ``bench/serving.py`` measures against: the same model behind FastAPI.

It is what FastAPI's documentation shows: pydantic models for request and answer, run by uvicorn.
"""

from __future__ import annotations

import os
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field

from modelbuild.contract import ServingEnvironment
from modelbuild.serving.model import Model, load_directory


class Request(BaseModel):
    """The body of a request."""

    instances: list[str] = Field(min_length=1, max_length=1_000)


_VARIABLES = ("MODEL_NAME", "MODEL_ID", "MODEL_PIPELINE", "MODEL_DESCRIPTION_SHA256")


class Prediction(BaseModel):
    """The answer for one text."""

    label: str
    scores: dict[str, float]
    model: str
    model_id: str


class Predictions(BaseModel):
    """The body of an answer."""

    model: str
    model_id: str
    pipeline: str
    predictions: list[Prediction]


def create_app(model: Model, environment: ServingEnvironment) -> FastAPI:
    """The application over a model."""
    app = FastAPI()

    @app.get("/ping")
    async def ping() -> dict[str, str]:
        return {"model_id": environment.model_id}

    @app.post("/invocations")
    async def invocations(request: Request) -> Predictions:
        return Predictions(
            model=environment.model,
            model_id=environment.model_id,
            pipeline=environment.pipeline,
            predictions=[
                Prediction(**answer, model=environment.model, model_id=environment.model_id)
                for answer in model.predict(request.instances)
            ],
        )

    return app


def main() -> None:
    """Serve the model of the environment that the inference image has."""
    environment = ServingEnvironment.model_validate({name: os.environ[name] for name in _VARIABLES})
    model = load_directory(Path(os.environ["SM_MODEL_DIR"]), environment.description_sha256)
    port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
    uvicorn.run(create_app(model, environment), host="127.0.0.1", port=port, access_log=False)


if __name__ == "__main__":
    main()
