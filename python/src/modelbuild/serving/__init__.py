"""The inference server of the serving image: numpy, safetensors, Starlette and uvicorn, without torch."""
