"""Batch's events on the default bus, and the functions that rules call with them."""

from __future__ import annotations

import json
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.events.models import Rule

from modelbuild_local.aws.events.schedule import Schedule

# A function in the way of any image: it speaks with the runtime API and says what it was given.
PROGRAM = """
import json, os, sys, urllib.request
base = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation"
while True:
    given = urllib.request.urlopen(base + "/next")
    event, own = json.load(given), given.headers["Lambda-Runtime-Aws-Request-Id"]
    about = {"event": event, "id": own, "word": sys.argv[1], "level": os.environ["LEVEL"]}
    print(json.dumps(about), flush=True)
    say = event.get("say", sys.argv[1])
    if say == "exit":
        sys.exit(3)
    if say == "sleep":
        import time; time.sleep(60)
    kind = "error" if say == "fail" else "response"
    body = {"errorMessage": "no", "errorType": "Refused"} if say == "fail" else {"said": say}
    urllib.request.urlopen(base + "/" + own + "/" + kind, data=json.dumps(body).encode()).read()
"""

TEMPLATE = """
Parameters:
  Name: {Type: String}
  Queue: {Type: String}
  Word: {Type: String}
  Image: {Type: String, Default: "team/tool:1"}
  Level: {Type: String, Default: low}
Resources:
  Left:
    Type: AWS::SQS::Queue
    Properties: {QueueName: !Sub "${Name}-left"}
  Service:
    Type: AWS::IAM::Role
    Properties: {RoleName: !Sub "${Name}-role", AssumeRolePolicyDocument: {}}
  Function:
    Type: AWS::Lambda::Function
    Properties:
      FunctionName: !Ref Name
      Role: !GetAtt Service.Arn
      PackageType: Image
      Code: {ImageUri: !Ref Image}
      ImageConfig: {EntryPoint: [python, -c, PROGRAM], Command: [!Ref Word]}
      Timeout: 60
      DeadLetterConfig: {TargetArn: !GetAtt Left.Arn}
      Environment: {Variables: {LEVEL: !Ref Level}}
  Rule:
    Type: AWS::Events::Rule
    Properties:
      Name: !Sub "${Name}-ended"
      EventPattern:
        source: [aws.batch]
        detail-type: [Batch Job State Change]
        detail: {status: [FAILED, SUCCEEDED], jobQueue: [!Ref Queue]}
      Targets: [{Id: listener, Arn: !GetAtt Function.Arn}]
  Permission:
    Type: AWS::Lambda::Permission
    Properties:
      FunctionName: !Ref Function
      Action: lambda:InvokeFunction
      Principal: events.amazonaws.com
      SourceArn: !GetAtt Rule.Arn
""".replace("PROGRAM", json.dumps(textwrap.dedent(PROGRAM)))


def deploy_listener(cloud: Any, folder: Path, name: str = "listener", **parameters: str) -> str:
    """``aws cloudformation deploy`` of a listener; what it printed."""
    template = folder / "listener.yaml"
    template.write_text(TEMPLATE, encoding="utf-8")
    values = {"Name": name, "Queue": queue_arn(cloud), **parameters}
    overrides = [f"{key}={value}" for key, value in values.items()]
    done = subprocess.run(
        [
            *("aws", "cloudformation", "deploy", "--stack-name", name, "--no-fail-on-empty-changeset"),
            *("--capabilities", "CAPABILITY_NAMED_IAM", "--template-file", str(template)),
            *("--parameter-overrides", *overrides),
        ],
        env=cloud.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def deployed_listener(cloud: Any) -> str:
    """The ARN of the listener, deployed anew."""
    deploy_listener(cloud, cloud.scratch.parent, Word="hello")
    return str(cloud.client("lambda").get_function(FunctionName="listener")["Configuration"]["FunctionArn"])


def queue_arn(cloud: Any) -> str:
    """The ARN of the queue ``work``."""
    [queue] = cloud.client("batch").describe_job_queues(jobQueues=["work"])["jobQueues"]
    return str(queue["jobQueueArn"])


def invocations(cloud: Any, name: str = "listener") -> list[dict[str, Any]]:
    """What a listener has printed, in all of its log streams."""
    logs, group = cloud.client("logs"), f"/aws/lambda/{name}"
    groups = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    events = logs.filter_log_events(logGroupName=group)["events"] if groups else []
    return [json.loads(event["message"]) for event in events]


@pytest.fixture(scope="module")
def listener(cloud: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The stand-in with the listener deployed, saying ``hello``."""
    deploy_listener(cloud, tmp_path_factory.mktemp("listener"), Word="hello")
    yield cloud
    # Else it would run at the end of every job of the other tests.
    cloud.client("cloudformation").delete_stack(StackName="listener")


def test_function_hears_of_the_ends_of_jobs_and_of_nothing_else(
    listener: Any, wait: Callable[..., Any]
) -> None:
    """The rule's pattern counts; the event has Batch's documented shape, with the whole job in it."""
    cloud = listener
    variables = [{"name": "A", "value": "b"}]
    job = cloud.run("fails", ["sh", "-c", "exit 7"], properties={"environment": variables})
    elsewhere = cloud.ended(cloud.submit("fails", queue="other"))
    ours = {job["jobId"], elsewhere["jobId"]}
    lines = wait(
        lambda: [one for one in invocations(cloud) if one["event"].get("detail", {}).get("jobId") in ours]
    )
    assert len(lines) == 1
    event = lines[0]["event"]
    assert (event["source"], event["detail-type"]) == ("aws.batch", "Batch Job State Change")
    assert (event["account"], event["region"], event["version"]) == ("123456789012", "us-east-1", "0")
    assert event["resources"] == [job["jobArn"]]
    assert event["time"].endswith("Z")
    detail = event["detail"]
    assert (detail["jobId"], detail["status"]) == (job["jobId"], "FAILED")
    assert detail["jobQueue"] == queue_arn(cloud)
    assert detail["container"]["exitCode"] == 7
    assert detail["container"]["environment"] == variables
    assert detail["statusReason"] == job["statusReason"]
    assert (lines[0]["word"], lines[0]["level"]) == ("hello", "low")


def test_every_transition_is_an_event(cloud: Any, wait: Callable[..., Any]) -> None:
    """Each state of a job is on the bus, in order, for whatever else listens; a disabled rule does not."""
    sqs, events = cloud.client("sqs"), cloud.client("events")
    url = sqs.create_queue(QueueName="all")["QueueUrl"]
    for name, state in (("all", "ENABLED"), ("off", "DISABLED")):
        events.put_rule(Name=name, State=state, EventPattern=json.dumps({"source": ["aws.batch"]}))
        arn = "arn:aws:sqs:us-east-1:123456789012:all"
        events.put_targets(Rule=name, Targets=[{"Id": "q", "Arn": arn}])
    job = cloud.run("passes", ["true"])
    states: list[str] = []

    def ended() -> bool:
        for message in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", []):
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
            detail = json.loads(message["Body"])["detail"]
            if detail["jobId"] == job["jobId"]:
                states.append(detail["status"])
        return "SUCCEEDED" in states

    wait(ended)
    assert states == ["SUBMITTED", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED"]
    events.remove_targets(Rule="all", Ids=["q"])


def test_rules_on_a_schedule_run(new_cloud: Callable[..., Any], wait: Callable[..., Any]) -> None:
    """Each minute, which is short here, a rule sends its target an event, or what the target names instead;
    a job's state is none of theirs, a rule that is disabled rests, and one that could not run is refused.
    """
    cloud = new_cloud("--minute", "0.5")
    sqs, events = cloud.client("sqs"), cloud.client("events")
    url = sqs.create_queue(QueueName="ticks")["QueueUrl"]
    for name, target in (
        ("ticks", {"Id": "q", "Arn": "arn:aws:sqs:us-east-1:123456789012:ticks"}),
        ("calls", {"Id": "f", "Arn": deployed_listener(cloud), "Input": '{"look": "there"}'}),
    ):
        events.put_rule(Name=name, ScheduleExpression="rate(1 minute)")
        events.put_targets(Rule=name, Targets=[target])
    wait(lambda: any(one["event"] == {"look": "there"} for one in invocations(cloud)))
    events.disable_rule(Name="calls")
    cloud.run("passes", ["true"])

    def ticks() -> list[dict[str, Any]]:
        answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        return [json.loads(message["Body"]) for message in answer.get("Messages", [])]

    [tick, *others] = wait(ticks)
    assert (tick["source"], tick["detail-type"]) == ("aws.events", "Scheduled Event")
    assert tick["resources"] == ["arn:aws:events:us-east-1:123456789012:rule/ticks"]
    assert all(other["source"] == "aws.events" for other in others)
    for unknown in ("cron(0 12 * * ? *)", "rate(1 minutes)", "rate(0 hours)"):
        with pytest.raises(ClientError, match="ScheduleExpression is not valid"):
            events.put_rule(Name="never", ScheduleExpression=unknown)
    assert "never" not in {rule["Name"] for rule in events.list_rules()["Rules"]}


def test_rates_are_kept() -> None:
    """A rule is due after each whole period, once however late the look is, and anew when it was disabled."""
    made: Any = Rule

    def rule(name: str, expression: str) -> Any:
        return made(name, "1", "us-east-1", None, None, expression, None, "default", None)

    often, seldom = rule("often", "rate(1 minute)"), rule("seldom", "rate(2 hours)")
    schedule = Schedule(60)

    def due(now: float) -> set[str]:
        return {one.name for one in schedule.due([often, seldom], now)}

    assert [due(0), due(59), due(60), due(119)] == [set(), set(), {"often"}, set()]
    assert [due(250), due(299), due(300)] == [{"often"}, set(), {"often"}]
    often.disable()
    assert [due(7199), due(7200)] == [set(), {"seldom"}]
    often.enable()
    assert [due(7201), due(7260), due(7261)] == [set(), set(), {"often"}]


def test_failed_invocation_is_tried_twice_more_and_then_put_aside(
    listener: Any, wait: Callable[..., Any]
) -> None:
    """Three attempts at one event, under one id; then it lies in the dead-letter queue."""
    cloud = listener
    payload = json.dumps({"say": "fail", "which": "retried"})
    answer = cloud.client("lambda").invoke(FunctionName="listener", InvocationType="Event", Payload=payload)
    assert answer["StatusCode"] == 202
    sqs = cloud.client("sqs")
    url = sqs.get_queue_url(QueueName="listener-left")["QueueUrl"]
    [message] = wait(lambda: sqs.receive_message(QueueUrl=url).get("Messages"))
    assert json.loads(message["Body"]) == json.loads(payload)
    attempts = [one for one in invocations(cloud) if one["event"].get("which") == "retried"]
    assert len(attempts) == 3
    assert len({one["id"] for one in attempts}) == 1


@pytest.mark.parametrize(
    ("say", "kind"),
    [("exit", "Runtime.ExitError"), ("sleep", "Sandbox.Timedout"), ("fail", "Refused")],
)
def test_failure_is_reported_to_the_caller(listener: Any, say: str, kind: str) -> None:
    """An exit, a timeout and an error of the function are the function's, not the caller's."""
    function = listener.client("lambda")
    # Only what is to run out of time has little: on a busy machine, a start alone takes seconds.
    function.update_function_configuration(FunctionName="listener", Timeout=2 if say == "sleep" else 60)
    answer = function.invoke(FunctionName="listener", Payload=json.dumps({"say": say}))
    function.update_function_configuration(FunctionName="listener", Timeout=60)
    assert answer["FunctionError"]
    assert json.loads(answer["Payload"].read())["errorType"] == kind


def test_second_deployment_changes_what_runs(cloud: Any, tmp_path: Path) -> None:
    """The same deployment is no change; another command, variable and image are the function's at once; a
    deleted stack leaves no function.
    """
    function = cloud.client("lambda")

    def called() -> Any:
        return json.loads(function.invoke(FunctionName="changes", Payload="{}")["Payload"].read())

    deploy_listener(cloud, tmp_path, "changes", Word="hello")
    assert called() == {"said": "hello"}
    assert "No changes to deploy" in deploy_listener(cloud, tmp_path, "changes", Word="hello")
    deploy_listener(cloud, tmp_path, "changes", Word="again", Level="high", Image="team/gone:1")
    assert "CannotPullContainerError" in called()["errorMessage"]
    deploy_listener(cloud, tmp_path, "changes", Word="again", Level="high", Image="team/tool:2")
    assert called() == {"said": "again"}
    assert invocations(cloud, "changes")[-1]["level"] == "high"
    [rule] = cloud.client("events").list_rules(NamePrefix="changes-ended")["Rules"]
    assert rule["State"] == "ENABLED"
    cloud.client("cloudformation").delete_stack(StackName="changes")
    left = function.list_functions()["Functions"]
    assert "changes" not in {one["FunctionName"] for one in left}
