"""SageMaker's endpoints as boto3 sees them, with a real serving process behind each variant."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

BUCKET = "models-of-serving"
IMAGE = "registry.example/serve:1"
# What a serving container does, as the mode in its model says; with "held PATH" it is not healthy before that
# file is there.
PROGRAM = r"""
import http.server, json, os, pathlib, sys, time

assert sys.argv[1:] == ["serve"], sys.argv
model = pathlib.Path(os.environ["SM_MODEL_DIR"])
mode = (model / "mode").read_text() if (model / "mode").exists() else ""
print("model", mode or "plain", "is loading", flush=True)
if mode == "exit":
    sys.exit(7)

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        held = mode.startswith("held ") and not os.path.exists(mode[len("held "):])
        self.answer(503 if held else 200, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"die":
            os._exit(9)
        if body == b"bad":
            return self.answer(422, b"no such word")
        if body == b"slow":
            time.sleep(0.2)
        seen = {"headers": dict(self.headers.items()), "size": len(body), "pid": os.getpid(),
                "environment": dict(os.environ), "files": sorted(p.name for p in model.iterdir())}
        self.answer(200, json.dumps(seen).encode(), Content_Type="application/json",
                    X_Amzn_SageMaker_Custom_Attributes="model_id=" + os.environ.get("MODEL_ID", ""))

    def log_message(self, *_):
        pass

address = (os.environ["BIND_ADDRESS"], int(os.environ["SAGEMAKER_BIND_TO_PORT"]))
http.server.ThreadingHTTPServer(address, Handler).serve_forever()
"""


class Serving:
    """Calls of SageMaker that several tests make."""

    def __init__(self, cloud: Any, wait: Callable[..., Any]) -> None:
        self.cloud, self.wait = cloud, wait
        self.s3, self.sagemaker = cloud.client("s3"), cloud.client("sagemaker")
        self.runtime, self.iam = cloud.client("sagemaker-runtime"), cloud.client("iam")
        images = cloud.scratch.parent / "images" / "serve"
        images.mkdir()
        (images / "serve.py").write_text(PROGRAM)
        entrypoint = json.dumps(["python", str(images / "serve.py")])
        (images / "Dockerfile").write_text(f"FROM scratch\nENV FROM_IMAGE=yes\nENTRYPOINT {entrypoint}\n")
        self.s3.create_bucket(Bucket=BUCKET)
        self.role = self.iam.create_role(RoleName="serving", AssumeRolePolicyDocument="{}")["Role"]["Arn"]

    def archive(self, key: str, files: dict[str, str]) -> str:
        """Put a model archive into S3 and return its address."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, text in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=buffer.getvalue())
        return f"s3://{BUCKET}/{key}"

    def model(self, name: str, mode: str = "", **container: Any) -> str:
        """Create a model of the serving image and return its name."""
        container.setdefault("ModelDataUrl", self.archive(f"{name}.tar.gz", {"mode": mode, "weights": "1"}))
        self.sagemaker.create_model(
            ModelName=name,
            ExecutionRoleArn=self.role,
            PrimaryContainer={"Image": IMAGE, "Environment": {"MODEL_ID": name}, **container},
        )
        return name

    def config(self, name: str, *models: str, **options: Any) -> str:
        """Create a configuration with one variant for each model, the first of the usual name."""
        self.sagemaker.create_endpoint_config(
            EndpointConfigName=name,
            ProductionVariants=[
                {
                    "VariantName": "AllTraffic" if index == 0 else f"Variant{index}",
                    "ModelName": model,
                    "InstanceType": "ml.g5.xlarge",
                    "InitialInstanceCount": 1,
                    **options,
                }
                for index, model in enumerate(models)
            ],
        )
        return name

    def create(self, name: str, config: str) -> dict[str, Any]:
        """Create an endpoint and return it once nothing is under way."""
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        return self.settled(name)

    def update(self, name: str, config: str, **options: Any) -> dict[str, Any]:
        """Update an endpoint and return it once nothing is under way."""
        self.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, **options)
        return self.settled(name)

    def describe(self, name: str) -> dict[str, Any]:
        """The endpoint as it is now."""
        return dict(self.sagemaker.describe_endpoint(EndpointName=name))

    def settled(self, name: str) -> dict[str, Any]:
        """The endpoint once nothing is under way."""
        self.wait(lambda: self.describe(name)["EndpointStatus"] in ("InService", "Failed"))
        return self.describe(name)

    def deployed(self, name: str) -> str:
        """An endpoint in service, with its model and configuration of the same name."""
        found = self.create(name, self.config(name, self.model(name)))
        assert found["EndpointStatus"] == "InService", found
        return name

    def call(self, name: str, body: bytes = b"{}", **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The whole answer of an endpoint, and what its process saw."""
        answer = self.runtime.invoke_endpoint(EndpointName=name, Body=body, **options)
        return answer, json.loads(answer["Body"].read())

    def log(self, name: str) -> list[str]:
        """The lines of all of an endpoint's processes."""
        logs, group = self.cloud.client("logs"), f"/aws/sagemaker/Endpoints/{name}"
        streams = logs.describe_log_streams(logGroupName=group)["logStreams"]
        names = [stream["logStreamName"] for stream in streams]
        pages = [logs.get_log_events(logGroupName=group, logStreamName=name) for name in names]
        return [event["message"] for page in pages for event in page["events"]]


def refused(call: Callable[..., Any], **arguments: Any) -> str:
    """The message of a ValidationException."""
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    error = refusal.value.response["Error"]
    assert error["Code"] == "ValidationException", error
    return str(error["Message"])
