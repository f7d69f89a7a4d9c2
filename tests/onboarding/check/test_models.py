"""Several models in one build."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from pipeline_files import GOOD, TRAINING, Write, texts
from standins import ROOT

OWN = ROOT / ".buildkite" / "pipeline.yml"


def models(*names: str, **changes: dict[str, Any]) -> list[Any]:
    """Steps that train models of these names, each with its block and a step that follows it."""
    steps: list[Any] = []
    for name in names:
        train, block = json.loads(json.dumps(TRAINING))
        ((_, options),) = train["plugins"][0].items()
        train["key"], block["key"] = f"train-{name}", f"{name}-finished"
        options |= {"model": name, "unblock": block["key"], **changes.get(name, {})}
        block["depends_on"] = train["key"]
        for field in block["fields"]:
            field["key"] = f"{name}/{field['key']}"
        notify = {"plugins": [{"./plugins/notify": {"model": name}}], "depends_on": block["key"]}
        steps += [train, block, notify]
    return steps


def test_several_models_of_a_build_are_right(write: Write) -> None:
    """Each has a name, a block step with fields of its own, and a step that follows it."""
    assert texts(write(yaml.safe_dump({"steps": models("sentiment", "topics")}, sort_keys=False))) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda steps: steps[5].update(plugins=["./plugins/notify"]), "say with option model which of them"),
        (lambda steps: _options(steps[5]).update(model="topic"), "no step trains: did you mean topics?"),
        (lambda steps: _options(steps[3]).update(unblock="sentiment-finished"), "unblocks the same step"),
        (lambda steps: _options(steps[3]).pop("model"), "trains model sentiment too"),
        (lambda steps: _options(steps[3]).update(model="sentiment"), "trains model sentiment too"),
        (lambda steps: _set_key(steps[4], 0, "training/status"), "did you mean topics/training/status?"),
        (lambda steps: _set_key(steps[4], 0, "topics/train/job/id"), "would change what train and notify"),
    ],
)
def test_models_that_collide_are_found(change: Any, message: str, write: Write) -> None:
    """A step without a name, with the name or the block of another, or that follows none is named."""
    steps = models("sentiment", "topics")
    change(steps)
    found = texts(write(yaml.safe_dump({"steps": steps}, sort_keys=False)))
    assert any(message in text for text in found), found


def test_two_models_need_two_endpoints(write: Write) -> None:
    """Two deployments of one endpoint are found where they deploy different models."""

    def text(*models: str) -> str:
        steps: list[Any] = ["wait", {"block": "deploy?"}]
        for model in models:
            options = yaml.safe_load(GOOD)["steps"][-1]["plugins"][0]
            ((name, plugin_options),) = options.items()
            steps.append({"label": model, "plugins": [{name: {**plugin_options, "model": model}}]})
        return yaml.safe_dump({"steps": steps}, sort_keys=False)

    (found,) = texts(write(text("a", "b")))
    assert "deploys another model to endpoint" in found
    assert texts(write(text("a", "a"))) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"matrix": ["eu", "us"]},
            "matrix makes several jobs that all deploy to endpoint a: remove matrix, or",
        ),
        ({"parallelism": 2}, "parallelism makes several jobs that all deploy to endpoint a: remove"),
        ({"parallelism": 1}, ""),
    ],
)
def test_jobs_of_a_step_do_not_deploy_the_same(change: dict[str, Any], said: str, write: Write) -> None:
    """Each would update the endpoint, and record a deployment."""
    steps = chains("a")
    steps["a_deploy"] |= change
    found = texts(write(yaml.safe_dump({"steps": list(steps.values())}, sort_keys=False)))
    assert [said in text for text in found] == ([True] if said else [])


def test_endpoints_of_two_accounts_have_two_names(write: Write) -> None:
    """A build keeps a decision, a page and a number for each name; of steps of different builds that is one
    each.
    """
    steps = chains("a")
    again = json.loads(json.dumps(steps["a_deploy"])) | {"key": "again"}
    _options(again)["artifacts"] = "s3://modelbuild-eu/models"
    steps["again"] = again
    (found,) = texts(write(yaml.safe_dump({"steps": list(steps.values())}, sort_keys=False)))
    assert "step again: step a_deploy deploys to an endpoint a with other artifacts: give" in found
    for key, branches in (("a_deploy", "main"), ("again", "!main")):
        steps[key]["branches"] = branches
    assert texts(write(yaml.safe_dump({"steps": list(steps.values())}, sort_keys=False))) == []


@pytest.mark.parametrize(
    ("model", "said"), [("b", "deploys another model to endpoint a"), ("a", "write a, or")]
)
def test_endpoints_whose_names_differ_in_capitals_are_one(model: str, said: str, write: Write) -> None:
    """SageMaker compares the names of endpoints without regard to case."""
    steps = chains("a", "b")
    _options(steps["b_deploy"])["endpoint"] = "A"
    if model == "a":
        steps["b_deploy"] = {**steps["a_deploy"], "key": "again", "plugins": steps["b_deploy"]["plugins"]}
        _options(steps["b_deploy"])["model"] = "a"
    found = texts(write(yaml.safe_dump({"steps": list(steps.values())}, sort_keys=False)))
    assert any(said in text for text in found), found


def _set_key(step: Any, field: int, key: str) -> None:
    step["fields"][field]["key"] = key


def _options(step: Any) -> Any:
    """The options of a step's one plugin."""
    return next(iter(step["plugins"][0].values()))


def chains(*names: str) -> dict[str, dict[str, Any]]:
    """The steps of trainings with a name, each with its own deployment, by their keys."""
    [deploy] = (one for one in yaml.safe_load(GOOD)["steps"] if one.get("key") == "deploy")
    ((plugin, options),) = deploy["plugins"][0].items()
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        train, block = models(name)[:2]
        found[train["key"]] = train
        found[block["key"]] = block
        found[f"{name}_notify"] = {
            "key": f"{name}_notify",
            "depends_on": block["key"],
            "plugins": [{"./plugins/notify": {"model": name}}],
        }
        found[f"{name}_approve"] = {
            "block": f"deploy {name}?",
            "key": f"{name}_approve",
            "depends_on": f"{name}_notify",
        }
        found[f"{name}_deploy"] = {
            **deploy,
            "key": f"{name}_deploy",
            "depends_on": f"{name}_approve",
            "plugins": [{plugin: {**options, "model": name, "endpoint": name}}],
        }
    return found


@pytest.mark.parametrize(
    ("key", "depends_on", "said"),
    [
        (
            "a_deploy",
            "b_approve",
            "step a_deploy: it does not wait for step a-finished, which the training of model a unblocks",
        ),
        (
            "a_notify",
            "b-finished",
            "step a_notify: it does not wait for step a-finished, which the training of model a unblocks",
        ),
        (
            "a_deploy",
            ["b_approve", "a_notify"],
            "step b_approve does not wait for step a_notify, so a person",
        ),
        ("a_approve", "a-finished", "step a_approve does not wait for step a_notify, so a person decides"),
        ("a_approve", ["b_notify", "a-finished"], "step a_approve does not wait for step a_notify"),
    ],
)
def test_crossed_chains_are_found(key: str, depends_on: Any, said: str, write: Write) -> None:
    """A person decides on the model that was shown, and that model is deployed, also beside another one."""
    steps = chains("a", "b")
    steps[key]["depends_on"] = depends_on
    found = texts(write(yaml.safe_dump({"steps": list(steps.values())}, sort_keys=False)))
    assert any(said in text for text in found), found


@pytest.mark.parametrize(
    ("options", "after", "is_right"),
    [
        ({}, "a-finished", False),
        ({"on-failure": "block"}, "a-finished", False),
        ({}, "a_notify", True),
        ({"on-failure": "warn"}, "a-finished", True),
        ({"gates": []}, "a-finished", True),
    ],
)
def test_gates_of_one_model_are_noted_one_after_the_other(
    options: dict[str, Any], after: str, is_right: bool, write: Write
) -> None:
    """A build has one note of the gates that a model does not meet: a step that ends at the same time would
    replace it, and the model need no reason to be deployed.
    """
    steps = chains("a")
    gates = {"gates": [{"metric": "macro_f1", "minimum": 0.6}]}
    _options(steps["a_notify"]).update(gates)
    again = {"./plugins/notify": {"model": "a", "context": "other", **gates, **options}}
    steps["again"] = {"key": "again", "depends_on": after, "plugins": [again]}
    found = texts(write(yaml.safe_dump({"steps": list(steps.values())}, sort_keys=False)))
    assert ["step again: it and step a_notify check gates of one model" in text for text in found] == (
        [] if is_right else [True]
    )


def test_models_of_the_own_pipeline_go_their_own_ways() -> None:
    """Of this repository's own pipeline, the steps of a model wait for what all need and for each other, and
    a person decides on each model, which has its own endpoint and its own turn to be deployed.
    """
    steps = {step["key"]: step for step in yaml.safe_load(OWN.read_text())["steps"]}
    for model in ("sentiment", "topics"):
        own = {f"{model}_{what}" for what in ("train", "finished", "notify", "approve", "deploy")}
        assert before(steps, f"{model}_deploy") | {f"{model}_deploy"} == own | {"images", "stack", "lake"}
        deploy = steps[f"{model}_deploy"]
        assert deploy["depends_on"] == f"{model}_approve"
        assert deploy["concurrency_group"] == f"deploy/{model}"
        assert _options(deploy)["endpoint"] == model


def before(steps: dict[str, Any], key: str) -> set[str]:
    """The keys of the steps that a step waits for, also through others."""
    waited = steps[key].get("depends_on", [])
    direct = {waited} if isinstance(waited, str) else set(waited)
    return direct.union(*(before(steps, one) for one in direct))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"b_deploy": ["a_deploy", "b_approve"]},
        {"a_approve": ["a_notify", "b_notify"], "b_deploy": "a_approve"},
        {"train-b": "a_deploy"},
    ],
)
def test_chains_that_share_a_decision_or_an_order_are_right(change: dict[str, Any], write: Write) -> None:
    """One person may decide on both models, and one model may be deployed after the other."""
    steps = chains("a", "b")
    for key, depends_on in change.items():
        steps[key]["depends_on"] = depends_on
    assert texts(write(yaml.safe_dump({"steps": list(steps.values())}, sort_keys=False))) == []


def endpoints(*names: str, fields: dict[str, list[str]], **depends_on: Any) -> list[Any]:
    """Steps that train one model and deploy it to several endpoints, each after a block step of its own.

    Args:
        names: the endpoints.
        fields: the keys of the fields of the block step for an endpoint.
        depends_on: what a step depends on, by its key, where it is not the usual.
    """
    steps: list[Any] = list(chains("a").values())
    (deploy,) = (step for step in steps if step.get("key") == "a_deploy")
    ((plugin, options),) = deploy["plugins"][0].items()
    steps = steps[:3]
    for name in names:
        steps.append(
            {
                "block": f"deploy to {name}?",
                "key": f"approve_{name}",
                "depends_on": "a_notify",
                "fields": [{"text": key, "key": key, "required": False} for key in fields.get(name, [])],
            }
        )
        own = [{plugin: {**options, "endpoint": name}}]
        steps.append(
            {**deploy, "key": f"deploy_{name}", "depends_on": f"approve_{name}", "plugins": own},
        )
    for step in steps:
        step["depends_on"] = depends_on.get(step["key"], step.get("depends_on"))
    return steps


PLAIN = ["a/deploy/decision", "a/deploy/reason"]


@pytest.mark.parametrize(
    ("fields", "depends_on", "asking"),
    [
        ({"eu": PLAIN, "us": PLAIN}, {}, {"approve_us", "approve_eu"}),
        ({"eu": PLAIN, "us": PLAIN}, {"deploy_us": ["approve_us", "deploy_eu"]}, {"approve_us"}),
        ({"eu": PLAIN, "us": []}, {}, {"approve_eu"}),
        ({"eu": ["a/deploy/candidate"], "us": []}, {}, {"approve_eu"}),
        (
            {"eu": ["a/deploy/eu/decision"], "us": ["a/deploy/reason", "a/deploy/eu/reason"]},
            {},
            {"approve_us"},
        ),
    ],
)
def test_deployments_that_read_the_same_fields_are_found(
    fields: dict[str, list[str]], depends_on: dict[str, Any], asking: set[str], write: Write
) -> None:
    """A person who decides for one endpoint must not change what was decided for another that has not been
    deployed to.
    """
    steps = endpoints("eu", "us", fields=fields, **depends_on)
    found = texts(write(yaml.safe_dump({"steps": steps}, sort_keys=False)))
    shared = [
        text for text in found if re.search(r"may find changed: .* such as a/deploy/(eu|us)/reason$", text)
    ]
    assert {text.split(":")[0].removeprefix("step ") for text in shared} == asking, found


@pytest.mark.parametrize(
    ("fields", "depends_on"),
    [
        ({"eu": ["a/deploy/eu/decision"], "us": ["a/deploy/us/decision", "a/deploy/us/reason"]}, {}),
        ({"eu": PLAIN, "us": ["a/deploy/us/decision"]}, {}),
        ({"eu": PLAIN, "us": PLAIN}, {"approve_us": "deploy_eu"}),
        ({"eu": PLAIN}, {"deploy_us": "approve_eu", "approve_us": "deploy_eu"}),
        ({}, {}),
    ],
)
def test_deployments_with_decisions_of_their_own_are_right(
    fields: dict[str, list[str]], depends_on: dict[str, Any], write: Write
) -> None:
    """Keys with the endpoint, one deployment after the other, one decision for both, or no fields at all."""
    steps = endpoints("eu", "us", fields=fields, **depends_on)
    assert texts(write(yaml.safe_dump({"steps": steps}, sort_keys=False))) == []


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("a/deploy/ue/decision", "a/deploy/eu/decision"),
        ("deploy/decision", "a/deploy/decision"),
        ("b/deploy/reason", "a/deploy/reason"),
    ],
)
def test_a_decision_that_no_deployment_reads_is_found(key: str, meant: str, write: Write) -> None:
    """A rejection in such a field would be lost, and the model deployed."""
    steps = endpoints("eu", fields={"eu": [key]})
    (found,) = texts(write(yaml.safe_dump({"steps": steps}, sort_keys=False)))
    assert found.endswith(f"no deploy step after it reads field {key}: did you mean {meant}?")
