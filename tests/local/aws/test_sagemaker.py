"""SageMaker's endpoints as boto3 sees them, with a real serving process behind each variant."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelbuild_local.aws.sagemaker import server

BUCKET = "models-of-serving"
IMAGE = "registry.example/serve:1"

# What a serving container does, and what tests ask of it: see ANSWERS.
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
        self.answer(503 if mode == "never" else 200, b"")

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
    """What tests do with SageMaker again and again."""

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
        """Create an endpoint and return what it has come to."""
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=config)
        return self.settled(name)

    def update(self, name: str, config: str, **options: Any) -> dict[str, Any]:
        """Update an endpoint and return what it has come to."""
        self.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config, **options)
        return self.settled(name)

    def look(self, name: str) -> dict[str, Any]:
        """The endpoint as it is now."""
        return dict(self.sagemaker.describe_endpoint(EndpointName=name))

    def settled(self, name: str) -> dict[str, Any]:
        """The endpoint once nothing is under way."""
        self.wait(lambda: self.look(name)["EndpointStatus"] in ("InService", "Failed"))
        return self.look(name)

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


@pytest.fixture(scope="module")
def serving(cloud: Any, wait: Callable[..., Any]) -> Iterator[Serving]:
    """SageMaker in the shared stand-in, left without endpoints."""
    made = Serving(cloud, wait)
    yield made
    names = [item["EndpointName"] for item in made.sagemaker.list_endpoints(MaxResults=100)["Endpoints"]]
    for name in names:
        made.settled(name)
        made.sagemaker.delete_endpoint(EndpointName=name)
    wait(lambda: not made.sagemaker.list_endpoints()["Endpoints"])


def refused(call: Callable[..., Any], **arguments: Any) -> str:
    """The message of a ValidationException."""
    with pytest.raises(ClientError) as refusal:
        call(**arguments)
    error = refusal.value.response["Error"]
    assert error["Code"] == "ValidationException", error
    return str(error["Message"])


def test_an_endpoint_serves_from_its_model_in_an_environment_of_its_own(serving: Serving) -> None:
    """The process has the model's files and variables, the role's credentials, nothing of the developer."""
    serving.deployed("own")
    sent = {"ContentType": "text/x", "Accept": "text/y", "CustomAttributes": "a=1"}
    answer, seen = serving.call("own", b"12345", **sent)
    assert seen["files"] == ["mode", "weights"]
    assert seen["size"] == 5
    headers = {key.lower(): value for key, value in seen["headers"].items()}
    assert (headers["content-type"], headers["accept"]) == ("text/x", "text/y")
    assert headers["x-amzn-sagemaker-custom-attributes"] == "a=1"
    assert not [name for name in headers if "authorization" in name or name.startswith("x-amz-")]
    environment = seen["environment"]
    assert (environment["MODEL_ID"], environment["FROM_IMAGE"]) == ("own", "yes")
    assert environment["AWS_REGION"] == "us-east-1"
    assert environment["SM_MODEL_DIR"].endswith("/opt/ml/model")
    assert environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    assert "ONLY_THE_DEVELOPER_HAS_THIS" not in environment
    assert (answer["ContentType"], answer["CustomAttributes"]) == ("application/json", "model_id=own")
    assert answer["InvokedProductionVariant"] == "AllTraffic"
    serving.wait(lambda: "model plain is loading" in serving.log("own"))


def test_an_endpoint_is_described_as_on_aws(serving: Serving) -> None:
    """DescribeEndpoint names configuration, images, weights and counts; ListEndpoints has it."""
    serving.deployed("shown")
    found = serving.look("shown")
    [variant] = found["ProductionVariants"]
    assert found["EndpointConfigName"] == "shown"
    assert found["EndpointArn"] == "arn:aws:sagemaker:us-east-1:123456789012:endpoint/shown"
    assert variant["DeployedImages"][0]["SpecifiedImage"] == IMAGE
    assert (variant["CurrentWeight"], variant["DesiredInstanceCount"]) == (1.0, 1)
    assert "PendingDeploymentSummary" not in found
    listed = serving.sagemaker.list_endpoints(StatusEquals="InService")["Endpoints"]
    assert "shown" in [item["EndpointName"] for item in listed]
    model = serving.sagemaker.describe_model(ModelName="shown")
    assert model["PrimaryContainer"]["Environment"] == {"MODEL_ID": "shown"}
    assert "Containers" not in model


def test_no_call_fails_while_an_endpoint_changes_its_model(serving: Serving) -> None:
    """The old process answers until the new one does, also the calls that are under way."""
    serving.deployed("moving")
    serving.config("moving-2", serving.model("moving-2"))
    answered: list[str] = []
    failed: list[Exception] = []
    done = threading.Event()

    def call_again_and_again() -> None:
        while not done.is_set():
            try:
                answered.append(serving.call("moving", b"slow")[0]["CustomAttributes"])
            except Exception as error:  # noqa: BLE001 - no call may fail, for whatever reason
                failed.append(error)

    callers = [threading.Thread(target=call_again_and_again) for _ in range(3)]
    for caller in callers:
        caller.start()
    serving.wait(lambda: answered)
    found = serving.update("moving", "moving-2")
    serving.wait(lambda: answered[-1] == "model_id=moving-2")
    done.set()
    for caller in callers:
        caller.join()
    assert failed == []
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "moving-2")
    assert set(answered) == {"model_id=moving", "model_id=moving-2"}


def test_an_endpoint_stays_with_its_model_when_the_new_one_does_not_start(serving: Serving) -> None:
    """After the rollback it serves from the old configuration, and says why."""
    serving.deployed("staying")
    before = serving.call("staying")[1]["pid"]
    serving.config("staying-2", serving.model("staying-2", "exit"))
    serving.sagemaker.update_endpoint(EndpointName="staying", EndpointConfigName="staying-2")
    found = serving.look("staying")
    assert found["EndpointStatus"] in ("Updating", "RollingBack", "InService")
    found = serving.settled("staying")
    assert (found["EndpointStatus"], found["EndpointConfigName"]) == ("InService", "staying")
    assert "AllTraffic did not pass the ping health check" in found["FailureReason"]
    assert "exited with code 7" in found["FailureReason"]
    assert serving.call("staying")[1]["pid"] == before


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("no-data", {"ModelDataUrl": f"s3://{BUCKET}/nothing.tar.gz"}, "Failed to download model data"),
        ("no-bucket", {"ModelDataUrl": "s3://no-such-bucket-at-all/x"}, "Failed to download model data"),
        ("no-image", {"Image": "registry.example/nothing:1"}, "CannotPullContainerError"),
        ("no-entry", {"Image": "registry.example/tool:1"}, "could not be started"),
        ("exits", {"mode": "exit"}, "did not pass the ping health check"),
    ],
)
def test_what_cannot_start_fails_with_its_reason(
    serving: Serving, name: str, options: dict[str, Any], reason: str
) -> None:
    """An endpoint that cannot come into service is Failed, answers nothing, and can only be deleted."""
    found = serving.create(name, serving.config(name, serving.model(name, **options)))
    assert found["EndpointStatus"] == "Failed"
    assert reason in found["FailureReason"]
    with pytest.raises(ClientError, match=f"Endpoint {name} of account 123456789012 not found"):
        serving.call(name)
    change = {"EndpointName": name, "EndpointConfigName": name}
    assert "status Failed" in refused(serving.sagemaker.update_endpoint, **change)


def test_an_archive_that_is_none_or_reaches_outside_fails(serving: Serving) -> None:
    """Nothing is written outside the model's folder."""
    serving.s3.put_object(Bucket=BUCKET, Key="bad/torn.tar.gz", Body=b"\x1f\x8b torn")
    outside = serving.archive("bad/outside.tar.gz", {"../../../escaped": "x"})
    for name, uri in (("torn", f"s3://{BUCKET}/bad/torn.tar.gz"), ("outside", outside)):
        found = serving.create(name, serving.config(name, serving.model(name, ModelDataUrl=uri)))
        assert found["EndpointStatus"] == "Failed"
        assert "Failed to extract model data archive" in found["FailureReason"]
    assert not list(serving.cloud.scratch.rglob("escaped"))


def test_errors_of_the_container_are_model_errors(serving: Serving) -> None:
    """Its status and words come through with code ModelError; a dead process is one too, and starts again."""
    serving.deployed("erring")
    with pytest.raises(serving.runtime.exceptions.ModelError) as failure:
        serving.call("erring", b"bad")
    answer = failure.value.response
    assert (answer["OriginalStatusCode"], answer["OriginalMessage"]) == (422, "no such word")
    assert answer["LogStreamArn"].endswith("log-group:/aws/sagemaker/Endpoints/erring")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 424
    before = serving.call("erring")[1]["pid"]
    with pytest.raises(serving.runtime.exceptions.ModelError):
        serving.call("erring", b"die")

    def is_back() -> bool:
        try:
            return bool(serving.call("erring")[1]["pid"] != before)
        except ClientError:
            return False

    serving.wait(is_back)


def test_calls_that_sagemaker_refuses(serving: Serving) -> None:
    """Unknown endpoints and variants, and bodies over 6 MiB, are refused with AWS's words."""
    serving.deployed("strict")
    for arguments, message in (
        ({"name": "nowhere"}, "Endpoint nowhere of account 123456789012 not found"),
        ({"name": "strict", "TargetVariant": "Other"}, "Variant Other is not found"),
        ({"name": "strict", "body": bytes(6_291_457)}, "less than or equal to 6291456"),
        ({"name": "strict", "CustomAttributes": "x" * 1025}, "less than or equal to 1024"),
    ):
        with pytest.raises(ClientError, match=message) as refusal:
            serving.call(**arguments)
        assert refusal.value.response["Error"]["Code"] == "ValidationError"
    assert serving.call("strict", bytes(6_291_456))[1]["size"] == 6_291_456


def test_variants_share_calls_by_weight(serving: Serving) -> None:
    """Each variant has its process; a variant of weight 0 answers only when it is asked for."""
    serving.config("two", serving.model("two-a"), serving.model("two-b"), InitialVariantWeight=0.5)
    serving.create("two", "two")

    def variants() -> set[str]:
        return {serving.call("two")[0]["InvokedProductionVariant"] for _ in range(30)}

    assert variants() == {"AllTraffic", "Variant1"}
    serving.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName="two",
        DesiredWeightsAndCapacities=[{"VariantName": "AllTraffic", "DesiredWeight": 0.0}],
    )
    assert variants() == {"Variant1"}
    wanted, _ = serving.call("two", TargetVariant="AllTraffic")
    assert (wanted["InvokedProductionVariant"], wanted["CustomAttributes"]) == (
        "AllTraffic",
        "model_id=two-a",
    )


def test_what_is_there_cannot_be_created_again_nor_changed_while_it_changes(serving: Serving) -> None:
    """Names are taken once, whatever their case, and an endpoint does one thing at a time."""
    serving.deployed("taken")
    create = serving.sagemaker.create_endpoint
    assert "Cannot create already existing model" in refused(lambda: serving.model("taken"))
    assert "Cannot create already existing endpoint configuration" in refused(
        lambda: serving.config("taken", "taken")
    )
    assert 'Cannot create already existing endpoint "arn:' in refused(
        create, EndpointName="TAKEN", EndpointConfigName="taken"
    )
    serving.config("taken-2", serving.model("taken-2"))
    change = {"EndpointName": "taken", "EndpointConfigName": "taken-2"}
    serving.sagemaker.update_endpoint(**change)
    assert serving.look("taken")["PendingDeploymentSummary"]["EndpointConfigName"] == "taken-2"
    assert "Cannot update in-progress endpoint" in refused(serving.sagemaker.update_endpoint, **change)
    assert "Cannot update in-progress" in refused(serving.sagemaker.delete_endpoint, EndpointName="taken")
    assert serving.settled("taken")["EndpointConfigName"] == "taken-2"


def test_what_is_not_there_is_not_found(serving: Serving) -> None:
    """Everything that is missing is told by its ARN."""
    client, name = serving.sagemaker, "missing"
    serving.deployed("found")
    for call, noun in (
        (lambda: client.describe_model(ModelName=name), "model"),
        (lambda: client.describe_endpoint_config(EndpointConfigName=name), "endpoint configuration"),
        (lambda: client.describe_endpoint(EndpointName=name), "endpoint"),
        (lambda: client.delete_endpoint(EndpointName=name), "endpoint"),
        (lambda: serving.update(name, "found"), "endpoint"),
        (lambda: serving.update("found", name), "endpoint configuration"),
        (lambda: serving.create("x", name), "endpoint configuration"),
        (lambda: serving.config("x", name), "model"),
    ):
        assert f"Could not find {noun}" in refused(call)
    assert serving.look("found")["EndpointStatus"] == "InService"


def test_a_deleted_endpoint_ends_its_process_and_its_name_is_free(serving: Serving) -> None:
    """Deleting is seen, then nothing is left of it, and the name can be taken again."""
    serving.deployed("leaving")
    pid = serving.call("leaving")[1]["pid"]
    serving.sagemaker.delete_endpoint(EndpointName="leaving")

    def is_gone() -> bool:
        listed = serving.sagemaker.list_endpoints(NameContains="leaving")
        return not listed["Endpoints"]

    serving.wait(is_gone)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not list((serving.cloud.scratch / "endpoints" / "leaving").rglob("weights"))
    assert serving.create("leaving", "leaving")["EndpointStatus"] == "InService"


def test_tags_are_merged_by_key(serving: Serving) -> None:
    """AddTags replaces the value of a key that is there."""
    serving.model("tagged")
    arn = serving.sagemaker.describe_model(ModelName="tagged")["ModelArn"]
    for value in ("1", "2"):
        serving.sagemaker.add_tags(ResourceArn=arn, Tags=[{"Key": "model_id", "Value": value}])
    assert serving.sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "model_id", "Value": "2"}]
    bad = [{"Key": "model id", "Value": "a;b"}]
    assert "regular expression" in refused(serving.sagemaker.add_tags, ResourceArn=arn, Tags=bad)
    assert "Could not find" in refused(
        serving.sagemaker.list_tags, ResourceArn=arn.replace("tagged", "unknown")
    )


def test_models_are_checked(serving: Serving) -> None:
    """Roles that are not there, too many variables and impossible timeouts are refused."""
    client, image = serving.sagemaker, {"Image": IMAGE}
    other = "arn:aws:iam::123456789012:role/nobody"
    model = {"ModelName": "checked", "ExecutionRoleArn": serving.role}
    assert "Could not assume role" in refused(
        client.create_model, **{**model, "ExecutionRoleArn": other}, PrimaryContainer=image
    )
    many = {f"V{number}": "" for number in range(101)}
    assert "environment" in refused(
        client.create_model, **model, PrimaryContainer={**image, "Environment": many}
    )
    serving.model("checked")
    assert "containerStartupHealthCheckTimeout" in refused(
        lambda: serving.config("checked", "checked", ContainerStartupHealthCheckTimeoutInSeconds=3601)
    )


_LETTERS = st.text("aZ0-", max_size=20)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.builds("{}{}{}".format, _LETTERS, st.sampled_from("_./ é\n"), _LETTERS)
    | st.text("aZ0", min_size=64, max_size=80)
    | _LETTERS.map("{}-".format)
)
def test_names_that_aws_would_refuse_are_refused(serving: Serving, name: str) -> None:
    """No endpoint or configuration has a name with other characters than AWS takes, or a long one."""
    assert "at 'endpointName'" in refused(
        serving.sagemaker.create_endpoint, EndpointName=name, EndpointConfigName="x"
    )
    assert "at 'endpointConfigName'" in refused(lambda: serving.config(name, "x"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_archive_of_a_model_has_files_and_folders_only(kind: bytes, tmp_path: Path) -> None:
    """On every Python, files and folders are unpacked, and a link or a device is refused."""

    def archive(*members: tuple[str, bytes]) -> io.BytesIO:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for name, what in members:
                member = tarfile.TarInfo(name)
                member.type, member.linkname = what, "/etc/passwd"
                member.size = 4 if what == tarfile.REGTYPE else 0
                tar.addfile(member, io.BytesIO(b"text"))
        buffer.seek(0)
        return buffer

    good = (("code", tarfile.DIRTYPE), ("code/deep/model.json", tarfile.REGTYPE))
    with (
        tarfile.open(fileobj=archive(*good, ("link", kind))) as files,
        pytest.raises(tarfile.TarError, match="link"),
    ):
        server._unpack(files, tmp_path)
    assert (tmp_path / "code/deep/model.json").read_bytes() == b"text"
    assert not (tmp_path / "link").is_symlink()
    assert not (tmp_path / "link").exists()
