from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import samples
from modelbuild.errors import ConfigurationError
from modelbuild.settings.deploy import DeploySettings
from modelbuild.settings.notify import NotifySettings
from modelbuild.settings.options import CONFIGURATION
from modelbuild.settings.train import TrainSettings
from modelbuild.train.submit import submission

ROLE = "arn:aws:iam::123456789012:role/a"
TRAIN: dict[str, Any] = {
    "flow": "flows/flow.py",
    "artifacts": "s3://bucket/models",
    "unblock": "training_finished",
    "image": {"default": "a", "train-gpu": "b", "serve": "c"},
}


def train(**changes: Any) -> TrainSettings:
    """The settings that the agent's variable gives."""
    return TrainSettings.from_environment({CONFIGURATION: json.dumps({**TRAIN, **changes})})


def test_options_are_read_by_their_names() -> None:
    """Options are found under the names of plugin.yml, and the others have their defaults."""
    read = train(aws={"role-arn": "arn:aws:iam::123456789012:role/a"}, params={"a.b": [1, {"c": None}]})
    assert read.image.train_gpu == "b"
    assert read.aws.role_arn == "arn:aws:iam::123456789012:role/a"
    assert read.aws.region is None
    assert read.params == {"a.b": [1, {"c": None}]}
    assert (read.queue, read.timeout, read.environment) == ("modelbuild-head", 86400, {})


@pytest.mark.parametrize("flow", ["./flows/x/flow.py", "flows//x/flow.py", "flows/./y/../x/flow.py"])
def test_the_flow_has_one_path(flow: str) -> None:
    """However a path is written, it is the one that the commit has, and names the same model."""
    read = train(flow=flow)
    assert (read.flow, read.model_name) == ("flows/x/flow.py", "x")


def test_wandb_entity_is_set_by_its_option_only() -> None:
    """The option becomes W&B's own variable in the job of the head; the variable itself is refused, with the
    option's name, and without the option nothing is set.
    """
    request = samples.request_for("s3://bucket/models/demo/sentiment/7")
    of_team = submission.variables(request, train(**{"wandb-entity": "the-team"}))
    assert of_team["WANDB_ENTITY"] == "the-team"
    assert "WANDB_ENTITY" not in submission.variables(request, train())
    with pytest.raises(ConfigurationError, match="set by option wandb-entity"):
        train(environment={"WANDB_ENTITY": "the-team"})


@pytest.mark.parametrize("model", ["param", "Param", "param-x"])
def test_model_whose_variables_would_have_no_name_is_refused(model: str) -> None:
    """A training without a name reads all variables PARAM_…, so one with a name may not read any."""
    with pytest.raises(ConfigurationError, match=f"option model is '{model}', and the variables PARAM_"):
        assert train(model=model).model_name
    assert train(model="params-2").model_name == "params-2"
    assert train(flow="flows/param/flow.py").model_name == "param"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"gates": [{"metrik": "macro_f1"}]},
            "option gates.0.metrik .* does not exist: did you mean metric?",
        ),
        ({"gates": [{"minimum": 0.5}]}, "option gates.0.metric .* is missing"),
        (
            {"compare-with": {"endpont": "x"}},
            "compare-with.endpont .* does not exist: did you mean endpoint?",
        ),
        ({"compare-with": {}}, "option compare-with.endpoint .* is missing"),
        ({"compare-with": {"aws": {"role": "x"}}}, "compare-with.aws.role .* did you mean role-arn?"),
        ({"wandb": {"entty": "x"}}, "option wandb.entty .* did you mean entity?"),
        ({"github": {"tokn": "X"}}, "option github.tokn .* did you mean token?"),
    ],
)
def test_names_inside_of_an_option(options: dict[str, Any], expected: str) -> None:
    """A misspelt or missing name in a list, or in a map that may be left out, has its place in the error."""
    with pytest.raises(ConfigurationError, match=expected.replace("?", r"\?")):
        NotifySettings.from_environment({CONFIGURATION: json.dumps(options)})


def test_options_that_are_nested_too_often_are_refused() -> None:
    """What Python can parse, but not walk, ends in a sentence."""
    with pytest.raises(ConfigurationError, match="nested too often"):
        TrainSettings.from_environment({CONFIGURATION: '{"params": {"a": ' + 600 * "[" + 600 * "]" + "}}"})


def test_two_identities_of_deploy() -> None:
    """Deploy has one identity that reads and one that writes."""
    options = {
        "endpoint": "sentiment",
        "artifacts": "s3://production/models",
        "role": "arn:aws:iam::222222222222:role/sagemaker",
        "aws": {"destination": {"region": "eu-west-1"}},
    }
    read = DeploySettings.from_environment({CONFIGURATION: json.dumps(options)})
    assert (read.aws.source.region, read.aws.destination.region) == (None, "eu-west-1")
    assert (read.instance_type, read.timeout) == ("ml.m5.large", 3600)


@pytest.mark.parametrize("text", ["{}", "null"])
def test_plugin_without_options(text: str) -> None:
    """A plugin that is named without options has none, however the agent says so."""
    assert NotifySettings.from_environment({CONFIGURATION: text}) == NotifySettings()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flo": "x"}, "option flo of the train plugin does not exist: did you mean flow?"),
        ({"image": {"default": "a", "train_gpu": "b", "serve": "c"}}, "did you mean train-gpu?"),
        (
            {"aws": {"colour": "x"}},
            "option aws.colour of the train plugin does not exist: the options here are region, role-arn, "
            "role-session-name, "
            "role-session-duration, oidc, session-tags, external-id",
        ),
        ({"timeout": 30}, "option timeout of the train plugin is 30: it must be at least 60"),
        ({"timeout": "100"}, 'option timeout of the train plugin is "100": it must be a whole number'),
        ({"timeout": True}, "option timeout of the train plugin is true: it must be a whole number"),
        ({"params-file": "a/b.yaml"}, 'option params-file of the train plugin is "a/b.yaml": it must match'),
        ({"params": 3}, "option params of the train plugin is 3: it must be a map"),
        ({"image": "a"}, 'option image of the train plugin is "a": it must be a map'),
        (
            {"image": {"default": "a"}},
            "option image.train-gpu of the train plugin is missing: image of the steps",
        ),
        ({"unblock": ""}, 'option unblock of the train plugin is "": it must not be empty'),
        ({"artifacts": "models"}, 'option artifacts of the train plugin is "models": it must match ^s3://'),
        (
            {"resources": {"train": {"cpus": 2}}},
            "option resources.train.cpus of the train plugin does not exist",
        ),
        ({"resources": {"train": {"cpus": 2}}}, "did you mean cpu?"),
        (
            {"resources": {"train": {"cpu": 0}}},
            "option resources.train.cpu of the train plugin is 0: it must",
        ),
        ({"resources": {"train": 2}}, "option resources.train of the train plugin is 2: it must be a map"),
        ({"tags": {"modelbuild:build": "x"}}, "it must not begin with aws:, modelbuild: or metaflow."),
        (
            {"tags": {"team": "AWS:x"}},
            'option tags.team of the train plugin is "AWS:x": it must not begin with',
        ),
        ({"tags": {f"k{n}": "v" for n in range(36)}}, "it must have at most 35 entries"),
        ({"tags": {"team": "a=b"}}, 'option tags.team of the train plugin is "a=b": it must match'),
        ({"flow": None}, "option flow of the train plugin is null: it must be text; put it in quotes"),
    ],
)
def test_wrong_option_is_one_sentence(changes: dict[str, Any], message: str) -> None:
    """An error has the option, its value, and what was expected or the nearest name."""
    with pytest.raises(ConfigurationError) as caught:
        train(**changes)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("aws", "message"),
    [
        ({"oidc": True}, "oidc needs role-arn"),
        ({"external-id": "abc"}, "external-id needs role-arn"),
        ({"role-arn": ROLE, "session-tags": ["pipeline_slug"]}, "session-tags needs oidc: true"),
        ({"role-arn": ROLE, "oidc": True, "external-id": "abc"}, "external-id and oidc exclude each other"),
    ],
)
def test_identity_that_would_do_nothing_is_refused(aws: dict[str, Any], message: str) -> None:
    """An option of the identity without the one that it belongs to is an error."""
    with pytest.raises(ConfigurationError, match=message):
        train(aws=aws)


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ({"metric": "model_bytes", "slice": "a=b", "maximum": 9}, "is of the model and not of a slice"),
        ({"metric": "latency_seconds", "maximum-drop": 1}, "is not compared with the live model"),
        ({"metric": "macro_f1", "slice": "domain=tweets"}, "a gate needs minimum, maximum or maximum-drop"),
        (
            {"metric": "macro_f1", "minimum": 0.9, "maximum": 0.6},
            "minimum 0.9 is above maximum 0.6, so no model meets the gate",
        ),
        ({"metric": "macro_f1", "maximum-drop": 0.02}, "gates .*: maximum-drop needs compare-with"),
    ],
)
def test_a_gate_that_would_check_something_else_is_refused(gate: dict[str, Any], message: str) -> None:
    """A part of a gate that its metric does not have, or that is never checked, is an error."""
    with pytest.raises(ConfigurationError, match=message):
        NotifySettings.from_options({"gates": [gate]})


@pytest.mark.parametrize("name", ["WANDB_API_KEY", "MY_TOKEN", "db_password", "AWS_SECRET_ACCESS_KEY"])
def test_secret_in_a_variable_is_refused_unseen(name: str) -> None:
    """A variable that is named like a secret is refused, and its value is not printed."""
    with pytest.raises(ConfigurationError, match="looks like a secret") as caught:
        train(environment={name: "hunter2"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["MODEL_ID", "ARTIFACTS", "UNBLOCK_STEP", "AWS_BATCH_JOB_ID", "STEP_VARIABLES", "SWEEP_WORK"]
)
def test_own_variables_cannot_be_changed(name: str) -> None:
    """What every training gets set is not the pipeline's to set."""
    with pytest.raises(ConfigurationError, match="cannot be changed"):
        train(environment={name: "x"})


@pytest.mark.parametrize(
    "name",
    [
        *(
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "PATH",
            "PYTHONPATH",
            "PYTHONSTARTUP",
            "BASH_ENV",
            "GCONV_PATH",
            "HOME",
        ),
        *(
            "BUILDKITE_API_URL",
            "BUILDKITE_AGENT_ENDPOINT",
            "WANDB_BASE_URL",
            "AWS_ENDPOINT_URL",
            "AWS_PROFILE",
        ),
        *("AWS_ACCESS_KEY_ID", "AWS_CA_BUNDLE", "METAFLOW_DEFAULT_DATASTORE", "HTTPS_PROXY", "https_proxy"),
        *("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "GPU_JOB_QUEUE", "MODELBUILD_PYTHON", "USER"),
        *(
            "OPENSSL_CONF",
            "GIT_SSH_COMMAND",
            "GIT_CONFIG_KEY_0",
            "GIT_DIR",
            "CUDA_INJECTION64_PATH",
            "OMP_TOOL_LIBRARIES",
        ),
        *("SSLKEYLOGFILE", "NETRC", "HOSTALIASES", "RES_OPTIONS", "grpc_proxy", "XDG_CONFIG_HOME"),
        *("WANDB_INSECURE_DISABLE_SSL", "WANDB_CONFIG_DIR", "WANDB_X_EXTRA_HTTP_HEADERS"),
    ],
)
def test_what_decides_about_code_and_services_is_refused(name: str) -> None:
    """Which code runs, and whom the token of the head reaches, is not the pipeline's to set."""
    with pytest.raises(ConfigurationError, match=f"{name} decides which code .* set it in the image"):
        train(environment={name: "x"})


@pytest.mark.parametrize(
    "name",
    [
        *("OMP_NUM_THREADS", "WANDB_PROJECT", "WANDB_MODE", "MAX_TOKENS", "TZ", "CUDA_VISIBLE_DEVICES"),
        *("ENV", "GIT_COMMIT", "GIT_SHA", "GIT_BRANCH", "HF_HOME", "NCCL_DEBUG", "TOKENIZERS_PARALLELISM"),
    ],
)
def test_other_variables_are_the_pipelines(name: str) -> None:
    """Everything else may be set."""
    assert train(environment={name: "x"}).environment == {name: "x"}


def test_password_in_a_value_is_refused_unseen() -> None:
    """A variable of any name may not hold an address with a password."""
    with pytest.raises(ConfigurationError, match="holds a password or a private key") as caught:
        train(environment={"DATABASE_URL": "postgres://ada:hunter2@db/x"})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["\ud800", "a\0b"])
@pytest.mark.parametrize("options", [{"params": {"a": [{"b": "?"}]}}, {"unblock": "?"}, {"params": {"?": 1}}])
def test_option_that_no_document_can_hold_is_refused(options: dict[str, Any], text: str) -> None:
    """Half a letter or a NUL in an option would be refused by the reader of the request."""
    written = json.loads(json.dumps(options).replace("?", json.dumps(text)[1:-1]))
    with pytest.raises(
        ConfigurationError, match=r"option (params|unblock)\S* of the train plugin holds"
    ) as caught:
        train(**written)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"params": {"a": NaN}}', '{"params": {"a": -Infinity}}'])
def test_what_only_python_takes_for_json_is_refused(text: str) -> None:
    """Endless nesting and numbers that JSON does not have are a sentence."""
    with pytest.raises(ConfigurationError, match="is not JSON"):
        TrainSettings.from_environment({CONFIGURATION: text})


def test_value_of_a_variable_is_never_printed() -> None:
    """A variable may hold what should have been secret, so a wrong one is named without its value."""
    with pytest.raises(ConfigurationError, match=r"environment\.A .* put it in quotes") as caught:
        train(environment={"A": 424242})
    assert "424242" not in str(caught.value)


def test_missing_configuration_is_reported() -> None:
    """Without the agent's variable the message says where the command belongs, and what null does."""
    with pytest.raises(ConfigurationError, match=r"BUILDKITE_PLUGIN_CONFIGURATION is not set.*null"):
        TrainSettings.from_environment({})


@given(st.text())
def test_any_text_is_settings_or_a_sentence(text: str) -> None:
    """Whatever stands in the variable, the answer is settings or one line."""
    try:
        found: object = NotifySettings.from_environment({CONFIGURATION: text})
    except ConfigurationError as error:
        found = str(error)
    assert isinstance(found, NotifySettings) or (isinstance(found, str) and found)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from([*TrainSettings.model_fields, "image", "train-gpu", "x"]), json_values)
)
def test_any_options_are_settings_or_a_sentence(options: dict[str, Any]) -> None:
    """Whatever the options are, a wrong one is a sentence and never a traceback."""
    try:
        found: object = train(**options)
    except ConfigurationError as error:
        found = str(error)
    assert isinstance(found, TrainSettings) or (isinstance(found, str) and "train plugin" in found)
