"""What real AWS needs of the two stacks, as properties of their templates."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cfnlint.data import AdditionalSpecs  # type: ignore[import-untyped]
from cfnlint.decode import cfn_yaml  # type: ignore[import-untyped]
from cfnlint.helpers import load_resource  # type: ignore[import-untyped]

from modelbuild.train.recovery.cancelled import CancelledBuild

ROOT = Path(__file__).parents[2]
TEMPLATES = {path.stem: cfn_yaml.load(str(path)) for path in sorted((ROOT / "infra").glob("*.yaml"))}
TRAINING = TEMPLATES["training"]["Resources"]


def resources(kind: str, *templates: str) -> dict[str, Any]:
    """The resources of a type, by template and logical name."""
    return {
        f"{name}.{logical}": resource
        for name in templates or TEMPLATES
        for logical, resource in TEMPLATES[name]["Resources"].items()
        if resource["Type"] == kind
    }


def environments() -> dict[str, Any]:
    """The properties of the compute environments by logical name."""
    found = resources("AWS::Batch::ComputeEnvironment", "training")
    return {name.partition(".")[2]: resource["Properties"] for name, resource in found.items()}


def branches(value: Any, has_key: bool) -> Any:
    """A piece of a template with or without a KMS key: each ``Fn::If`` decided, and the rest as it is."""
    if isinstance(value, dict):
        if "Fn::If" in value:
            return branches(value["Fn::If"][1 if has_key else 2], has_key)
        found = {key: branches(item, has_key) for key, item in value.items()}
        return {key: item for key, item in found.items() if item != {"Ref": "AWS::NoValue"}}
    if isinstance(value, list):
        return [one for item in value if (one := branches(item, has_key)) != {"Ref": "AWS::NoValue"}]
    return value


def statements(role: str, has_key: bool = False, template: str = "training") -> list[dict[str, Any]]:
    """The statements of the policies that a role has inline."""
    properties = branches(TEMPLATES[template]["Resources"][role]["Properties"], has_key)
    return [one for policy in properties["Policies"] for one in policy["PolicyDocument"]["Statement"]]


def actions(found: list[dict[str, Any]]) -> set[str]:
    """What statements allow."""
    listed = (one["Action"] if isinstance(one["Action"], list) else [one["Action"]] for one in found)
    return {action for some in listed for action in some}


def test_a_first_deployment_that_fails_leaves_nothing_behind() -> None:
    """What is kept when a stack is deleted is not kept when its creation fails: its fixed name would be
    taken when the deployment is repeated.
    """
    kept = [
        resource["DeletionPolicy"]
        for template in TEMPLATES.values()
        for resource in template["Resources"].values()
        if resource.get("DeletionPolicy", "Delete") != "Delete"
    ]
    assert len(kept) == 2
    assert set(kept) == {"RetainExceptOnCreate"}


@pytest.mark.parametrize("name", list(resources("AWS::S3::Bucket")))
def test_buckets_do_not_grow_for_ever(name: str) -> None:
    """Each bucket keeps old versions for some weeks, so that a mistake can be undone, and what uploads left
    that were broken off for some days. What has no other end stays.
    """
    rules = resources("AWS::S3::Bucket")[name]["Properties"]["LifecycleConfiguration"]["Rules"]
    [everywhere] = [rule for rule in rules if not rule.get("Prefix") and rule["Status"] == "Enabled"]
    assert everywhere["NoncurrentVersionExpiration"]["NoncurrentDays"] >= 30
    assert everywhere["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] >= 1
    assert "ExpirationInDays" not in everywhere


def test_every_log_ends() -> None:
    """Each log group has a retention, and jobs and the function write into groups of the stack."""
    groups = [one["Properties"] for one in resources("AWS::Logs::LogGroup").values()]
    assert all(group["RetentionInDays"] for group in groups)
    names = {group["LogGroupName"] for group in groups}
    function = TRAINING["EndedFunction"]["Properties"]["FunctionName"]
    for job in resources("AWS::Batch::JobDefinition").values():
        log = job["Properties"]["ContainerProperties"]["LogConfiguration"]
        assert log["Options"]["awslogs-group"] in names
    assert f"/aws/lambda/{function}" in names


@pytest.mark.parametrize("name", list(environments()))
def test_compute_environments_can_be_updated_in_place(name: str) -> None:
    """Batch updates the instances of an environment in place under these conditions only: its service-linked
    role, an allocation strategy other than BEST_FIT, and no replacement. Running jobs are not ended.
    """
    found = environments()[name]
    assert "ServiceRole" not in found
    assert found["ReplaceComputeEnvironment"] is False
    assert found["UpdatePolicy"]["TerminateJobsOnUpdate"] is False
    # As long as a training may run by default; the most that Batch takes is five days.
    timeout = TRAINING["HeadJobDefinition"]["Properties"]["Timeout"]["AttemptDurationSeconds"]
    assert timeout <= found["UpdatePolicy"]["JobExecutionTimeoutMinutes"] * 60 <= 7200 * 60
    strategies = {"EC2": "BEST_FIT_PROGRESSIVE", "SPOT": "SPOT_PRICE_CAPACITY_OPTIMIZED"}
    computes = found["ComputeResources"]
    assert computes["AllocationStrategy"] == strategies[computes["Type"]]
    assert computes["MinvCpus"] == 0


@pytest.mark.parametrize("name", list(environments()))
def test_hosts_give_their_credentials_for_a_token_on_the_host_only(name: str) -> None:
    """Each environment has a launch template that asks for tokens, which do not leave the host."""
    template = environments()[name]["ComputeResources"]["LaunchTemplate"]
    logical = template["LaunchTemplateId"]["Ref"]
    # A change of the template then is a change of the environment.
    assert template["Version"] == {"Fn::GetAtt": [logical, "LatestVersionNumber"]}
    options = TRAINING[logical]["Properties"]["LaunchTemplateData"]["MetadataOptions"]
    assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)


def test_images_and_types_of_hosts_fit() -> None:
    """Environments for GPUs have the image with drivers, which the oldest types cannot run; each has several
    types of instances to choose from, and heads the smallest.
    """
    parameters = TEMPLATES["training"]["Parameters"]
    for name, found in environments().items():
        computes = found["ComputeResources"]
        types = parameters[computes["InstanceTypes"]["Ref"]]["Default"].split(",")
        gpu = all(re.match(r"[gp]\d", one) for one in types)
        assert len(types) >= 3
        assert computes["Ec2Configuration"] == [{"ImageType": f"ECS_AL2023{'_NVIDIA' if gpu else ''}"}]
        assert gpu is name.startswith("Gpu")
        assert not any(one.startswith(("p3", "g3")) for one in types)
    heads = parameters["HeadInstanceTypes"]["Default"].split(",")
    assert all(one.endswith(".large") for one in heads)
    assert "m5.large" in parameters["DefaultInstanceTypes"]["Default"].split(",")


def test_steps_run_on_spot_instances_first_and_heads_never() -> None:
    """The queues of steps go from spot instances to others, and the queue of heads has no spot instances; a
    head whose host is lost is repeated.
    """
    queues = {
        one["Properties"]["JobQueueName"]: [
            environments()[entry["ComputeEnvironment"]["Ref"]]["ComputeResources"]["Type"]
            for entry in sorted(
                one["Properties"]["ComputeEnvironmentOrder"], key=lambda entry: entry["Order"]
            )
        ]
        for one in resources("AWS::Batch::JobQueue").values()
    }
    assert queues == {
        "modelbuild-head": ["EC2"],
        "modelbuild-default": ["SPOT", "EC2"],
        "modelbuild-gpu": ["SPOT", "EC2"],
    }
    rules = TRAINING["HeadJobDefinition"]["Properties"]["RetryStrategy"]["EvaluateOnExit"]
    assert rules[0] == {"OnStatusReason": "Host EC2*", "Action": "RETRY"}


@pytest.mark.parametrize("name", list(resources("AWS::Batch::JobDefinition")))
def test_the_region_is_in_the_definition(name: str) -> None:
    """Batch sets no region, and programs read this variable."""
    definition = resources("AWS::Batch::JobDefinition")[name]["Properties"]
    entries = definition["ContainerProperties"]["Environment"]
    assert {"Name": "AWS_DEFAULT_REGION", "Value": {"Ref": "AWS::Region"}} in entries


def test_a_job_that_scores_has_little() -> None:
    """A model's own code runs in it: no secret, no role of Batch, and a role for objects alone. Its host may
    be lost.
    """
    definition = TRAINING["ScoreJobDefinition"]["Properties"]
    container = definition["ContainerProperties"]
    assert "Secrets" not in container
    assert "ExecutionRoleArn" not in container
    assert container["JobRoleArn"] == {"Fn::GetAtt": ["ScoreRole", "Arn"]}
    assert actions(statements("ScoreRole")) == {"s3:GetObject", "s3:PutObject"}
    assert definition["RetryStrategy"] == TRAINING["HeadJobDefinition"]["Properties"]["RetryStrategy"]


def test_the_smallest_host_of_steps_can_score() -> None:
    """An m5.large has 2 vCPUs and 8 GiB, of which the host itself needs some."""
    wants = TRAINING["ScoreJobDefinition"]["Properties"]["ContainerProperties"]["ResourceRequirements"]
    sizes = {one["Type"]: int(one["Value"]) for one in wants}
    assert sizes["VCPU"] <= 2
    assert sizes["MEMORY"] <= 7 * 1024


def test_the_function_finds_its_program() -> None:
    """Lambda takes absolute paths, and CloudFormation all three properties of an image's configuration."""
    [function] = resources("AWS::Lambda::Function").values()
    found = function["Properties"]["ImageConfig"]
    assert found.keys() == {"EntryPoint", "Command", "WorkingDirectory"}
    assert Path(found["EntryPoint"][0]).is_absolute()
    assert Path(found["WorkingDirectory"]).is_absolute()


def test_policies_of_submitters_name_the_job() -> None:
    """The authorization reference of Batch has the job among the resources of SubmitJob."""
    train, notify = (
        json.loads((ROOT / "docs" / "iam" / f"{name}.json").read_text())["Statement"]
        for name in ("train", "notify")
    )
    for found in (statements("JobRole"), train, notify):
        [submit] = [one for one in found if "batch:SubmitJob" in actions([one])]
        named = [json.dumps(resource) for resource in submit["Resource"]]
        assert all(
            any(f":{kind}/" in one for one in named) for kind in ("job", "job-queue", "job-definition")
        )


def test_only_jobs_of_trainings_may_be_ended() -> None:
    """Nobody may terminate a job of the account without the tag that jobs of trainings have."""
    files = (json.loads(path.read_text())["Statement"] for path in (ROOT / "docs" / "iam").glob("*.json"))
    found = [*statements("JobRole"), *statements("EndedRole"), *itertools.chain(*files)]
    ends = [one for one in found if "batch:TerminateJob" in actions([one])]
    assert len(ends) == 4
    for one in ends:
        assert one["Condition"] == {"Null": {"aws:ResourceTag/modelbuild:model-id": "false"}}


def test_sagemaker_may_write_its_logs() -> None:
    """The execution role of a model has each of the actions on logs that SageMaker asks for."""
    wanted = {"CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "PutLogEvents"}
    assert {f"logs:{action}" for action in wanted} <= actions(
        statements("SageMakerRole", False, "production")
    )


def test_without_a_key_the_keys_of_the_services_encrypt() -> None:
    """Without a KMS key no policy speaks of one, and bucket and queue are encrypted all the same."""
    for template in TEMPLATES.values():
        text = json.dumps(branches(template["Resources"], has_key=False))
        assert '"aws:kms"' not in text
        assert '"kms:' not in text
        assert '"AES256"' in text
    queue = branches(TRAINING["EndedLeft"]["Properties"], has_key=False)
    assert (queue["SqsManagedSseEnabled"], "KmsMasterKeyId" in queue) == (True, False)


def test_with_a_key_it_encrypts_and_its_users_may_use_it() -> None:
    """With a KMS key, bucket and queue are encrypted with it. Roles that read objects or secrets may decrypt,
    those that write objects or messages may make data keys, and endpoints may be given the key.
    """
    key = {"Ref": "KmsKeyArn"}
    for bucket in resources("AWS::S3::Bucket").values():
        [rule] = branches(bucket["Properties"]["BucketEncryption"], True)["ServerSideEncryptionConfiguration"]
        expected = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
        assert rule == {"ServerSideEncryptionByDefault": expected, "BucketKeyEnabled": True}
    queue = branches(TRAINING["EndedLeft"]["Properties"], True)
    assert (queue["KmsMasterKeyId"], "SqsManagedSseEnabled" in queue) == (key, False)
    roles = {("production", name) for name in ("SageMakerRole", "DeployRole")}
    roles |= {("training", name) for name in ("JobRole", "EndedRole", "ExecutionRole", "ScoreRole")}
    for template, role in roles:
        found = statements(role, True, template)
        used = actions(found)
        assert all(one["Resource"] == key for one in found if any("kms:" in name for name in actions([one])))
        assert "kms:Decrypt" in used
        if used & {"s3:PutObject", "sqs:SendMessage"}:
            assert "kms:GenerateDataKey" in used
        if template == "production":
            assert "kms:CreateGrant" in used


def documented() -> Iterator[tuple[str, dict[str, Any]]]:
    """The statements of the policies in ``docs/iam``, with their files."""
    for path in sorted((ROOT / "docs" / "iam").glob("*.json")):
        for statement in json.loads(path.read_text())["Statement"]:
            yield path.name, statement


def test_documented_actions_exist() -> None:
    """IAM ignores an action that it does not know: each one is in AWS's own list."""
    allowed = load_resource(AdditionalSpecs, "Policies.json")
    for file, statement in documented():
        for action in actions([statement]):
            service, _, name = action.partition(":")
            assert name.lower() in allowed[service]["Actions"], f"{action} in {file}"


def test_documented_policies_fit_into_one() -> None:
    """A managed policy has at most 6,144 characters that are not white space."""
    for path in (ROOT / "docs" / "iam").glob("*.json"):
        assert len("".join(path.read_text().split())) <= 6144, path.name


def test_shared_things_are_changed_by_one_build_at_a_time_from_some_branches() -> None:
    """Two deployments of a stack at once fail, and no branch but those named changes stack or lake."""
    steps = yaml.safe_load((ROOT / ".buildkite" / "pipeline.yml").read_text())["steps"]
    found = {step["key"]: step for step in steps if step.get("key") in ("images", "stack", "lake")}
    assert all(step["concurrency"] == 1 and step["concurrency_group"] for step in found.values())
    assert len({step["concurrency_group"] for step in found.values()}) == 3
    for key in ("stack", "lake"):
        assert found[key]["branches"] == "${STACK_BRANCHES:-main}"


def test_policy_of_stack_deployments_allows_its_resources() -> None:
    """For each type of resource in the template, the documented policy allows to create and to delete it, and
    each name that the template gives is among the resources.
    """
    policy = json.loads((ROOT / "docs" / "iam" / "stack.json").read_text())["Statement"]
    allowed = {action.lower() for action in actions(policy)}
    made_by = {
        "AWS::Batch::JobDefinition": ("batch:registerjobdefinition", "batch:deregisterjobdefinition"),
        "AWS::Events::Rule": ("events:putrule", "events:deleterule"),
        "AWS::Lambda::Permission": ("lambda:addpermission", "lambda:removepermission"),
        "AWS::SQS::QueuePolicy": ("sqs:setqueueattributes",),
    }
    prefix = {"EC2": "ec2", "Logs": "logs", "SQS": "sqs"}
    for resource in TRAINING.values():
        _, service, kind = resource["Type"].split("::")
        own = f"{prefix.get(service, service.lower())}:{{}}{kind.lower()}"
        wanted = made_by.get(resource["Type"], (own.format("create"), own.format("delete")))
        assert set(wanted) <= allowed, resource["Type"]
    named = json.dumps([one["Resource"] for one in policy])
    for resource in TRAINING.values():
        for key in ("RoleName", "InstanceProfileName", "LogGroupName", "QueueName", "FunctionName"):
            if isinstance(name := resource["Properties"].get(key), str):
                assert name in named, name


def test_rule_gives_the_time_of_the_event() -> None:
    """What the rule of cancelled builds makes of an event is what the function reads."""
    [target] = TRAINING["CancelledRule"]["Properties"]["Targets"]
    made = target["InputTransformer"]
    paths, text = made["InputPathsMap"], made["InputTemplate"]["Fn::Sub"]
    assert paths["time"] == "$.time"
    values = {"organization": "acme", "pipeline": "demo", "number": "7", "time": "2026-01-31T12:00:00Z"}
    for name in paths:
        text = text.replace(f"<{name}>", values[name])
    build = CancelledBuild.model_validate(json.loads(text)["cancelled"])
    assert (build.number, build.time.isoformat()) == (7, "2026-01-31T12:00:00+00:00")
