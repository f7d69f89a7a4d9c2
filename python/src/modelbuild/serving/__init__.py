"""The inference server of the serving image: numpy, safetensors and uvicorn, without torch."""
