"""Stacks as `aws cloudformation deploy` makes and changes them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild_local.aws.cloudformation.stacks import references, with_defaults

INFRA = Path(__file__).parents[3] / "infra"

TEMPLATE = """
Description: a small one
Parameters:
  Image: {Type: String}
  Subnets: {Type: CommaDelimitedList}
  Group: {Type: String}
  Types: {Type: CommaDelimitedList, Default: "m5.large,m5.xlarge"}
  Vcpus: {Type: Number, Default: 4}
  Level: {Type: String, Default: low}
Resources:
  Database:
    Type: AWS::Glue::Database
    Properties: {CatalogId: !Ref AWS::AccountId, DatabaseInput: {Name: tables}}
  Group1:
    Type: AWS::Athena::WorkGroup
    Properties:
      Name: queries
      WorkGroupConfiguration: {ResultConfiguration: {OutputLocation: !Sub "s3://results-${AWS::AccountId}/"}}
  Service:
    Type: AWS::IAM::Role
    Properties: {RoleName: cfn-service, AssumeRolePolicyDocument: {}}
  Profile:
    Type: AWS::IAM::InstanceProfile
    Properties: {Roles: [!Ref Service]}
  Compute:
    Type: AWS::Batch::ComputeEnvironment
    Properties:
      Type: MANAGED
      ServiceRole: !GetAtt Service.Arn
      ComputeResources:
        Type: EC2
        MinvCpus: 0
        MaxvCpus: !Ref Vcpus
        InstanceTypes: !Ref Types
        InstanceRole: !GetAtt Profile.Arn
        Subnets: !Ref Subnets
        SecurityGroupIds: [!Ref Group]
  Queue:
    Type: AWS::Batch::JobQueue
    Properties:
      JobQueueName: from-stack
      Priority: 1
      ComputeEnvironmentOrder: [{Order: 1, ComputeEnvironment: !Ref Compute}]
  Definition:
    Type: AWS::Batch::JobDefinition
    Properties:
      JobDefinitionName: from-stack
      Type: container
      Timeout: {AttemptDurationSeconds: 120}
      RetryStrategy: {Attempts: 2, EvaluateOnExit: [{OnExitCode: "3", Action: EXIT}]}
      Parameters: {Word: hello}
      ContainerProperties:
        Image: !Ref Image
        Command: [echo, "Ref::Word"]
        ResourceRequirements: [{Type: VCPU, Value: "1"}, {Type: MEMORY, Value: "64"}]
        Environment: [{Name: LEVEL, Value: !Sub "the ${Level} one"}]
        Secrets: [{Name: TOKEN, ValueFrom: "arn:aws:secretsmanager:us-east-1:123456789012:secret:x:T::"}]
Outputs:
  Queue: {Description: the queue, Value: !Ref Queue}
"""


def network(cloud: Any) -> list[str]:
    """A subnet and a security group, which every account has."""
    ec2 = cloud.client("ec2")
    return [
        ec2.describe_subnets()["Subnets"][0]["SubnetId"],
        ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"],
    ]


def deploy(cloud: Any, template: Path, stack: str, **parameters: str) -> subprocess.CompletedProcess[str]:
    """``aws cloudformation deploy``."""
    overrides = [f"{name}={value}" for name, value in parameters.items()]
    options = ["--template-file", str(template), "--stack-name", stack, "--no-fail-on-empty-changeset"]
    options += ["--capabilities", "CAPABILITY_NAMED_IAM"]
    return subprocess.run(
        ["aws", "cloudformation", "deploy", *options, "--parameter-overrides", *overrides],
        env=cloud.environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def definitions(cloud: Any, name: str) -> list[dict[str, Any]]:
    """All revisions of a job definition, the newest last."""
    found = cloud.client("batch").describe_job_definitions(jobDefinitionName=name)["jobDefinitions"]
    return sorted(found, key=lambda definition: definition["revision"])


def test_stack_is_made_left_alone_changed_and_deleted(cloud: Any, tmp_path: Path) -> None:
    """The same deployment twice is no change; a changed parameter changes what uses it, in place."""
    template = tmp_path / "stack.yaml"
    template.write_text(TEMPLATE, encoding="utf-8")
    subnet, group = network(cloud)
    parameters = {"Image": "team/tool:1", "Subnets": subnet, "Group": group}

    made = deploy(cloud, template, "small", **parameters)
    assert made.returncode == 0, made.stderr
    [stack] = cloud.client("cloudformation").describe_stacks(StackName="small")["Stacks"]
    assert stack["StackStatus"] == "CREATE_COMPLETE"
    [output] = stack["Outputs"]
    assert output["OutputValue"].endswith(":job-queue/from-stack")
    [definition] = definitions(cloud, "from-stack")
    assert definition["timeout"] == {"attemptDurationSeconds": 120}
    assert definition["retryStrategy"]["attempts"] == 2
    assert definition["parameters"] == {"Word": "hello"}
    assert definition["containerProperties"]["secrets"][0]["name"] == "TOKEN"
    assert cloud.client("glue").get_database(Name="tables")["Database"]["CatalogId"] == "123456789012"
    work_group = cloud.client("athena").get_work_group(WorkGroup="queries")["WorkGroup"]
    location = work_group["Configuration"]["ResultConfiguration"]["OutputLocation"]
    assert location == "s3://results-123456789012/"

    again = deploy(cloud, template, "small", **parameters)
    assert again.returncode == 0, again.stderr
    assert "No changes to deploy" in again.stdout
    assert len(definitions(cloud, "from-stack")) == 1

    changed = deploy(cloud, template, "small", Image="team/tool:2", Level="high", Vcpus="8")
    assert changed.returncode == 0, changed.stderr
    old, new = definitions(cloud, "from-stack")
    assert (old["status"], new["status"]) == ("INACTIVE", "ACTIVE")
    assert new["containerProperties"]["image"] == "team/tool:2"
    assert new["containerProperties"]["environment"] == [{"name": "LEVEL", "value": "the high one"}]
    [stack] = cloud.client("cloudformation").describe_stacks(StackName="small")["Stacks"]
    shown = {item["ParameterKey"]: item["ParameterValue"] for item in stack["Parameters"]}
    assert (stack["StackStatus"], shown["Vcpus"]) == ("UPDATE_COMPLETE", "8")
    assert (shown["Types"], shown["Subnets"]) == ("m5.large,m5.xlarge", subnet)
    [compute] = [
        environment["computeResources"]
        for environment in cloud.client("batch").describe_compute_environments()["computeEnvironments"]
        if environment["computeEnvironmentName"].startswith("small-Compute")
    ]
    assert (compute["maxvCpus"], compute["instanceTypes"]) == (8, ["m5.large", "m5.xlarge"])

    cloud.client("cloudformation").delete_stack(StackName="small")
    assert [definition["status"] for definition in definitions(cloud, "from-stack")] == ["INACTIVE"] * 2
    assert cloud.client("batch").describe_job_queues(jobQueues=["from-stack"])["jobQueues"] == []
    assert "tables" not in {found["Name"] for found in cloud.client("glue").get_databases()["DatabaseList"]}


def test_failed_resource_fails_the_stack_with_its_reason(cloud: Any, tmp_path: Path) -> None:
    """A resource that cannot be made rolls the stack back, and the events say why."""
    template = tmp_path / "stack.yaml"
    text = TEMPLATE.replace("m5.large,", "m5.gigantic,").replace("tables", "other").replace("cfn-", "bad-")
    template.write_text(text, encoding="utf-8")
    subnet, group = network(cloud)
    failed = deploy(cloud, template, "broken", Image="team/tool:1", Subnets=subnet, Group=group)
    assert failed.returncode != 0
    events = cloud.client("cloudformation").describe_stack_events(StackName="broken")["StackEvents"]
    assert any("m5.gigantic" in event.get("ResourceStatusReason", "") for event in events)


def test_own_training_stack_runs_a_job(cloud: Any) -> None:
    """infra/training.yaml deploys, and a job of its head definition starts with the secret's value."""
    secrets = cloud.client("secretsmanager")
    buildkite, wandb = (
        secrets.create_secret(Name=name, SecretString=json.dumps({key: "t0ken"}))["ARN"]
        for name, key in [("own/buildkite", "BUILDKITE_API_TOKEN"), ("own/wandb", "WANDB_API_KEY")]
    )
    subnet, group = network(cloud)
    parameters = {"Image": "team/tool:1", "SubnetIds": subnet, "SecurityGroupIds": group}
    template = INFRA / "training.yaml"
    made = deploy(cloud, template, "own", **parameters, BuildkiteSecretArn=buildkite, WandbSecretArn=wandb)
    assert made.returncode == 0, made.stderr
    show = "echo $BUILDKITE_API_TOKEN; aws s3 ls"
    job = cloud.submit(
        "modelbuild-head", queue="modelbuild-head", containerOverrides={"command": ["sh", "-c", show]}
    )
    lines = cloud.log(cloud.ended(job))
    assert lines[0] == "t0ken"
    assert any("modelbuild-123456789012" in line for line in lines)


@pytest.mark.parametrize(
    ("given_values", "expected"),
    [({}, {"L": "a,b", "N": "4"}), ({"L": ["x", "y"], "N": 5, "R": "r"}, {"L": "x,y", "N": "5", "R": "r"})],
)
def test_parameters_are_text_with_defaults(given_values: dict[str, Any], expected: dict[str, str]) -> None:
    """What was not given has its default, lists are joined, and what has neither is left out."""
    template = {"Parameters": {"L": {"Default": "a,b"}, "N": {"Default": 4}, "R": {}}}
    assert with_defaults(template, given_values) == expected


names = st.from_regex("[A-Za-z][A-Za-z0-9]{0,8}", fullmatch=True)
secret_variants = st.recursive(
    st.builds(lambda name: {"Ref": name}, names) | st.builds(lambda name: f"a ${{{name}.Arn}} b", names),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(secret_variants, names)
def test_references_are_found_however_deep(piece: Any, name: str) -> None:
    """Ref and the names inside Fn::Sub count, wherever they stand."""
    assert name in references([piece, {"Fn::Join": ["", [{"Fn::Sub": f"x-${{{name}}}"}]]}])
    assert name in references({"A": piece, "B": {"C": [{"Ref": name}]}})


KEPT = """
Parameters: {Computes: {Type: String}}
Resources:
  Bucket:
    Type: AWS::S3::Bucket
    DeletionPolicy: RetainExceptOnCreate
    Properties: {BucketName: kept-except-on-create}
  Queue:
    Type: AWS::Batch::JobQueue
    DependsOn: Bucket
    Properties:
      JobQueueName: kept
      Priority: 1
      ComputeEnvironmentOrder: [{Order: 1, ComputeEnvironment: !Ref Computes}]
"""


def test_first_deployment_that_failed_can_be_repeated(cloud: Any, tmp_path: Path) -> None:
    """What a first deployment made is deleted when it fails, so that its name is free for the next one."""
    template = tmp_path / "kept.yaml"
    template.write_text(KEPT)
    client, s3 = cloud.client("cloudformation"), cloud.client("s3")

    def deployed(computes: str) -> int:
        command = [
            "aws",
            "cloudformation",
            "deploy",
            "--stack-name",
            "kept",
            "--template-file",
            str(template),
        ]
        command += ["--parameter-overrides", f"Computes={computes}"]
        return subprocess.run(command, env=cloud.environment(), capture_output=True, check=False).returncode

    assert deployed("none") != 0
    assert client.describe_stacks(StackName="kept")["Stacks"][0]["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "kept-except-on-create" not in {bucket["Name"] for bucket in s3.list_buckets()["Buckets"]}
    client.delete_stack(StackName="kept")
    assert deployed("work") == 0
