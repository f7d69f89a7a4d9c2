"""When an endpoint counts as updated to a configuration, for each transition of its status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from modelbuild.deploy.endpoint import UpdateNotFollowed, require_own, rollback_when_served
from modelbuild.errors import AwsError, EndpointFailed, VerificationFailed
from scripted_sagemaker import ARN, PLAN, Cloud, State


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """SageMaker, all of whose written answers must have been asked for in the end."""
    cloud = Cloud()
    yield cloud
    cloud.stubber.assert_no_pending_responses()


OLD, NEW = State("InService", "old"), State("InService", "new")
UPDATING = State("Updating", "old", pending="new")
ROLLING_BACK = State("RollingBack", "old", pending="old")


def test_endpoint_without_an_owner_gets_one(cloud: Cloud) -> None:
    """An endpoint that something else created is this model's from its first update on."""
    cloud.makes()
    cloud.finds(OLD)
    cloud.notes("old")
    cloud.claims()
    cloud.updates_endpoint()
    cloud.finds(NEW)
    assert cloud.ensure_endpoint().previous_config == "old"


def test_of_two_models_that_create_one_endpoint_one_is_refused(cloud: Cloud) -> None:
    """An endpoint has its owner's tags from the first moment on, so the second model finds them."""
    cloud.makes()
    cloud.finds(None)
    cloud.notes("")
    cloud.loses_creation()
    cloud.finds(State("Creating", "theirs"), State("InService", "theirs"))
    cloud.notes("theirs")
    cloud.shows_tags(pipeline="comments", model="topics")
    with pytest.raises(VerificationFailed, match="endpoint sentiment has tag modelbuild:model topics, but"):
        cloud.ensure_endpoint()


def test_of_two_builds_that_create_one_endpoint_the_second_updates_it(cloud: Cloud) -> None:
    """The endpoint is that of this model, so the deployment that came second waits and goes on."""
    cloud.makes()
    cloud.finds(None)
    cloud.notes("")
    cloud.loses_creation()
    cloud.finds(State("Creating", "old"), OLD)
    cloud.notes("old")
    cloud.updates()
    cloud.finds(UPDATING, NEW)
    assert cloud.ensure_endpoint().previous_config == "old"


def test_an_endpoint_in_other_capitals_is_named_as_the_reason(cloud: Cloud) -> None:
    """SageMaker creates no endpoint beside one whose name differs in capitals only, and does not find that
    one by this name either: a retry would never help.
    """
    cloud.makes()
    cloud.finds(None)
    cloud.notes("")
    cloud.loses_creation()
    cloud.finds(None)
    with pytest.raises(EndpointFailed, match="an endpoint of the name sentiment in other capitals"):
        cloud.ensure_endpoint()


def test_new_endpoint(cloud: Cloud) -> None:
    """What does not exist is created, and is there once it is in service."""
    cloud.makes()
    cloud.finds(None)
    cloud.notes("")
    cloud.creates()
    cloud.finds(State("Creating", "new"), State("Creating", "new"), NEW)
    served = cloud.ensure_endpoint()
    assert (served.endpoint.config, served.previous_config, served.changed) == ("new", "", True)


def test_in_service_counts_only_with_the_new_configuration_and_nothing_pending(cloud: Cloud) -> None:
    """In service with the old configuration, or with the new one before the old fleet is gone, is no end."""
    cloud.makes()
    cloud.finds(OLD)
    cloud.notes("old")
    cloud.updates()
    cloud.finds(OLD, UPDATING, State("InService", "new", pending="new"), State("SystemUpdating", "new"), NEW)
    served = cloud.ensure_endpoint()
    assert (served.endpoint.config, served.previous_config) == ("new", "old")


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (
            (UPDATING, ROLLING_BACK, State("InService", "old", reason="No /ping.")),
            ("rolled back", "No /ping"),
        ),
        ((UPDATING, OLD), ("rolled back to old",)),
        ((UPDATING, State("InService", "third")), ("runs third, to which another deployment",)),
        ((State("InService", "third"),), ("runs third, to which another deployment",)),
        (
            (UPDATING, State("UpdateRollbackFailed", "old", reason="Both.")),
            ("UpdateRollbackFailed (Both)", "a mix of old and new", "--endpoint-config-name old"),
        ),
        (
            (UPDATING, State("OutOfService", "new", reason="Health.")),
            ("OutOfService (Health)", "--endpoint-config-name old"),
        ),
        (
            (UPDATING, State("Failed", "old", reason="Capacity.")),
            ("Failed (Capacity)", "run aws sagemaker delete-endpoint --endpoint-name sentiment"),
        ),
    ],
)
def test_failed_update(cloud: Cloud, states: tuple[State, ...], message: tuple[str, ...]) -> None:
    """An update that ends elsewhere is a failure with SageMaker's reason, whatever its state is called, and
    with the command that helps where one does.
    """
    cloud.makes()
    cloud.finds(OLD)
    cloud.notes("old")
    cloud.updates()
    cloud.finds(*states)
    with pytest.raises(EndpointFailed) as caught:
        cloud.ensure_endpoint()
    for words in (*message, "sentiment"):
        assert words in str(caught.value)


def test_an_update_that_fails_between_two_looks_is_not_waited_for(cloud: Cloud) -> None:
    """An update whose archive is gone may end before it is seen to begin: the step does not wait for the end
    of option timeout, an hour, and has SageMaker's reason.
    """
    cloud.makes()
    cloud.finds(OLD)
    cloud.notes("old")
    cloud.updates()
    cloud.finds(*[State("InService", "old", reason="No archive.")] * 14)
    with pytest.raises(EndpointFailed, match=r"rolled back to old \(No archive\)"):
        cloud.ensure_endpoint()
    assert 60 <= cloud.seconds <= 75


def test_failed_creation(cloud: Cloud) -> None:
    """An endpoint that fails to come up is a failure with SageMaker's reason."""
    cloud.makes()
    cloud.finds(None)
    cloud.notes("")
    cloud.creates()
    cloud.finds(State("Creating", "new"), State("Failed", "new", reason="The image was not found."))
    with pytest.raises(EndpointFailed, match="The image was not found"):
        cloud.ensure_endpoint()


def test_timeout(cloud: Cloud) -> None:
    """An update that does not end in time is a failure that names the state, and what to go back to, because
    SageMaker goes on; looks become rarer.
    """
    cloud.makes()
    cloud.finds(OLD)
    cloud.notes("old")
    cloud.updates()
    cloud.finds(*[UPDATING] * 50)
    with pytest.raises(UpdateNotFollowed, match=r"still Updating.*timeout") as caught:
        cloud.ensure_endpoint()
    assert isinstance(caught.value.reason, EndpointFailed)
    assert caught.value.previous_config == "old"
    assert 600 <= cloud.seconds <= 615


def test_attached_to_an_update_that_is_under_way(cloud: Cloud) -> None:
    """A retried step waits for the same update instead of asking for it again."""
    cloud.makes()
    cloud.finds(UPDATING, UPDATING, NEW)
    assert cloud.ensure_endpoint().previous_config == "old"


def test_attached_to_a_creation_that_is_under_way(cloud: Cloud) -> None:
    """A retried step waits for the endpoint that it began to make."""
    cloud.makes()
    cloud.finds(State("Creating", "new"))
    cloud.has_noted("")
    cloud.finds(State("Creating", "new"), NEW)
    assert cloud.ensure_endpoint().previous_config == ""


def test_waits_for_something_else_first(cloud: Cloud) -> None:
    """An endpoint that is on its way elsewhere is updated once it has arrived there."""
    cloud.makes()
    cloud.finds(State("Updating", "older", pending="old"), ROLLING_BACK, OLD)
    cloud.notes("old")
    cloud.updates()
    cloud.finds(UPDATING, NEW)
    assert cloud.ensure_endpoint().previous_config == "old"


@pytest.mark.parametrize("noted", [("old",), ("",), ()])
def test_nothing_to_change(cloud: Cloud, capsys: pytest.CaptureFixture[str], noted: tuple[str, ...]) -> None:
    """An endpoint that runs the configuration already is left alone; the way back is still known."""
    cloud.makes()
    cloud.finds(NEW)
    cloud.has_noted(*noted)
    served = cloud.ensure_endpoint()
    assert (served.changed, served.previous_config) == (False, "".join(noted))
    assert "already" in capsys.readouterr().out


def test_the_way_back_from_a_broken_endpoint_leads_to_another_configuration(cloud: Cloud) -> None:
    """Where an endpoint that runs the configuration is out of service, what it ran before stays on record: an
    endpoint cannot be put back to the configuration whose answers are not verified.
    """
    cloud.makes()
    cloud.finds(State("OutOfService", "new"))
    cloud.has_noted("old")
    cloud.notes("old")
    cloud.updates()
    cloud.finds(State("Updating", "new", pending="new"), NEW)
    served = cloud.ensure_endpoint()
    assert (served.previous_config, served.changed) == ("old", True)


def test_failed_endpoint_is_not_updated(cloud: Cloud) -> None:
    """An endpoint that can only be deleted is left to a person, with the command to do so."""
    cloud.makes()
    cloud.finds(State("Failed", "old", reason="Capacity."))
    with pytest.raises(EndpointFailed, match=r"Capacity.*aws sagemaker delete-endpoint"):
        cloud.ensure_endpoint()


def test_an_endpoint_that_is_being_deleted_is_waited_for(cloud: Cloud) -> None:
    """SageMaker takes a minute to delete an endpoint, and refuses every other request about it meanwhile: a
    step that is retried right after the deletion creates the endpoint when the old one is gone.
    """
    cloud.makes()
    cloud.finds(*[State("Deleting", "new")] * 3, None)
    cloud.notes("")
    cloud.creates()
    cloud.finds(State("Creating", "new"), NEW)
    assert cloud.ensure_endpoint().previous_config == ""


def test_an_endpoint_that_is_deleted_meanwhile_is_named_as_such(cloud: Cloud) -> None:
    """A person may delete an endpoint that a step waits for; no command about its configuration helps."""
    cloud.makes()
    cloud.finds(OLD)
    cloud.notes("old")
    cloud.updates()
    cloud.finds(UPDATING, State("Deleting", "new"), None)
    with pytest.raises(EndpointFailed, match="sentiment was deleted in the meantime: retry this step"):
        cloud.ensure_endpoint()


@pytest.mark.parametrize("state", [None, State("Deleting", "new")])
def test_an_endpoint_that_was_deleted_is_not_put_back(cloud: Cloud, state: State | None) -> None:
    """There is nothing to put back, and nothing that answers."""
    cloud.finds(state)
    with pytest.raises(EndpointFailed, match="sentiment was deleted in the meantime: retry this step"):
        cloud.rollback()


@pytest.mark.parametrize("status", ["OutOfService", "UpdateRollbackFailed"])
def test_an_update_that_is_refused_is_not_taken_for_one_that_has_begun(cloud: Cloud, status: str) -> None:
    """An endpoint that is out of service with the planned configuration has it from before."""
    cloud.makes()
    cloud.finds(State(status, "new"))
    cloud.has_noted("old")
    cloud.notes("old")
    cloud.refuses_update("The role modelbuild-sagemaker cannot be assumed.")
    cloud.finds(*[State(status, "new")] * 6)
    with pytest.raises(AwsError, match="modelbuild-sagemaker cannot be assumed"):
        cloud.ensure_endpoint()


@pytest.mark.parametrize("status", ["OutOfService", "UpdateRollbackFailed"])
def test_a_state_from_before_an_update_is_not_its_end(cloud: Cloud, status: str) -> None:
    """SageMaker may show an endpoint as it was for a moment, and an update can bring it into service."""
    cloud.makes()
    cloud.finds(State(status, "old"))
    cloud.notes("old")
    cloud.updates()
    cloud.finds(State(status, "old"), UPDATING, NEW)
    assert cloud.ensure_endpoint().changed


def test_what_is_missing_for_an_update_is_named(cloud: Cloud) -> None:
    """A missing resource may be another one than the endpoint, so the error has SageMaker's own words."""
    arn = f"{ARN}:endpoint-config/new"
    cloud.makes()
    cloud.finds(OLD)
    cloud.notes("old")
    cloud.refuses_update(f'Could not find endpoint configuration "{arn}".')
    for _ in range(10):
        cloud.refuses_to_put_back(f'Could not find endpoint configuration "{arn}".')
    with pytest.raises(AwsError, match=f'update endpoint sentiment to new .*configuration "{arn}"'):
        cloud.ensure_endpoint()


def test_a_configuration_that_sagemaker_does_not_see_yet_is_no_failure(cloud: Cloud) -> None:
    """SageMaker reads a configuration with eventual consistency: a request that follows its creation may miss
    it, and succeeds a moment later.
    """
    missing = f'Could not find endpoint configuration "{ARN}:endpoint-config/new".'
    cloud.makes()
    cloud.finds(None)
    cloud.notes("")
    cloud.stubber.add_client_error("create_endpoint", "ValidationException", missing)
    cloud.creates()
    cloud.finds(NEW)
    assert cloud.ensure_endpoint().changed


def test_only_changed_states_are_logged(cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    """The log has a line for each state, not for each look."""
    cloud.makes()
    cloud.finds(OLD)
    cloud.notes("old")
    cloud.updates()
    cloud.finds(*[UPDATING] * 9, *[State("InService", "new", pending="new")] * 3, NEW)
    cloud.ensure_endpoint()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("endpoint sentiment:")]
    assert len(lines) == len(set(lines)) == 4


def test_another_model_under_the_name(cloud: Cloud) -> None:
    """A model of the planned name that is not the planned one is not served."""
    cloud.makes(model={"Image": "team/other:1"})
    with pytest.raises(VerificationFailed, match="team/other:1"):
        cloud.ensure_endpoint()


def test_another_configuration_under_the_name(cloud: Cloud) -> None:
    """A configuration of the planned name that is not the planned one is not served."""
    cloud.makes(config={"InstanceType": "ml.c6i.large"})
    with pytest.raises(VerificationFailed, match=r"ml\.c6i\.large"):
        cloud.ensure_endpoint()


def test_an_update_that_cannot_be_followed_names_the_way_back(cloud: Cloud) -> None:
    """SageMaker ends an update whether or not this step may look; the error has what was served before."""
    cloud.makes()
    cloud.finds(OLD)
    cloud.notes("old")
    cloud.updates()
    cloud.finds(UPDATING)
    cloud.refuses_looks()
    with pytest.raises(UpdateNotFollowed, match="could not look at endpoint sentiment") as caught:
        cloud.ensure_endpoint()
    assert caught.value.previous_config == "old"


@pytest.mark.parametrize("looks", [(UPDATING, NEW), (OLD, OLD, UPDATING, NEW), (NEW, NEW)])
def test_an_update_whose_answer_is_lost_is_followed(cloud: Cloud, looks: tuple[State, ...]) -> None:
    """The request that is sent again is refused, because the update runs: the endpoint tells that it is ours,
    also where SageMaker shows the state before for a moment.
    """
    cloud.makes()
    cloud.finds(OLD)
    cloud.notes("old")
    cloud.loses_update()
    cloud.finds(*looks)
    served = cloud.ensure_endpoint()
    assert (served.endpoint.config, served.previous_config, served.changed) == ("new", "old", True)


def test_a_creation_whose_answer_is_lost_is_followed(cloud: Cloud) -> None:
    """Where the request is not sent again, the error is that of the connection."""
    cloud.makes()
    cloud.finds(None)
    cloud.notes("")
    cloud.stubber.add_client_error("create_endpoint", "InternalFailure", "Try again.")
    cloud.finds(State("Creating", "new"), State("Creating", "new"), NEW)
    assert cloud.ensure_endpoint().changed


@pytest.mark.parametrize("state", [OLD, State("Updating", "old", pending="third"), ROLLING_BACK])
def test_an_update_that_is_refused_is_no_update(cloud: Cloud, state: State) -> None:
    """Where the endpoint stays as it was, or another deployment changes it, the error is SageMaker's."""
    cloud.makes()
    cloud.finds(OLD)
    cloud.notes("old")
    cloud.loses_update()
    cloud.finds(*[state] * 6)
    with pytest.raises(AwsError, match=r"Cannot update in-progress endpoint .*: another program .* retry"):
        cloud.ensure_endpoint()


def test_an_update_that_may_have_begun_names_the_way_back(cloud: Cloud) -> None:
    """AWS refuses the update and the look after it, so SageMaker may be about to serve the plan."""
    cloud.makes()
    cloud.finds(OLD)
    cloud.notes("old")
    cloud.loses_update()
    cloud.refuses_looks()
    with pytest.raises(UpdateNotFollowed, match=r"in-progress.*not known.*The token has expired") as caught:
        cloud.ensure_endpoint()
    assert isinstance(caught.value.reason, AwsError)
    assert caught.value.previous_config == "old"


def test_the_way_back_whose_answer_is_lost_is_followed(cloud: Cloud) -> None:
    """An endpoint that is on its way back is waited for."""
    cloud.finds(NEW)
    cloud.loses_update(claimed=True)
    cloud.finds(State("Updating", "new", pending="old"), OLD)
    cloud.rollback()


def test_put_back_after_an_update_that_could_not_be_followed(cloud: Cloud) -> None:
    """SageMaker takes no update while one runs, and may show the state before it for a moment."""
    cloud.finds(OLD, UPDATING, NEW, NEW)
    cloud.updates_endpoint("old")
    cloud.finds(State("Updating", "new", pending="old"), OLD)
    with cloud.stubber:
        rollback_when_served(PLAN, "old", cloud.sagemaker, 600, cloud.clock)


@pytest.mark.parametrize(
    "looks",
    [
        (UPDATING, ROLLING_BACK, State("InService", "old", reason="No /ping."), OLD),
        (*[OLD] * 6, OLD),
    ],
)
def test_nothing_to_put_back(cloud: Cloud, looks: tuple[State, ...]) -> None:
    """SageMaker has undone the update itself, or has never begun it: the endpoint runs what it ran before."""
    cloud.finds(*looks)
    with cloud.stubber:
        rollback_when_served(PLAN, "old", cloud.sagemaker, 600, cloud.clock)
    assert cloud.seconds < 60


def test_put_back(cloud: Cloud) -> None:
    """Going back has an end only when the previous configuration is in service and nothing is pending."""
    cloud.finds(NEW)
    cloud.updates("old")
    cloud.finds(NEW, State("Updating", "new", pending="old"), State("InService", "old", pending="old"), OLD)
    cloud.rollback()


@pytest.mark.parametrize("found", [State("InService", "third"), State("Updating", "new", pending="third")])
def test_rollback_leaves_a_configuration_that_another_change_set(cloud: Cloud, found: State) -> None:
    """An endpoint that was given another configuration in the meantime keeps it."""
    cloud.finds(found)
    with pytest.raises(EndpointFailed, match=r"another program has updated.*to third.*not changed"):
        cloud.rollback()


def test_failed_rollback_is_reported(cloud: Cloud) -> None:
    """A previous configuration that no longer starts is a failure with SageMaker's reason."""
    cloud.finds(NEW)
    cloud.updates("old")
    cloud.finds(State("Updating", "new", pending="old"), State("InService", "new", reason="No image."))
    with pytest.raises(EndpointFailed, match=r"rolled back to new \(No image\)"):
        cloud.rollback()


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({}, ""),
        ({"modelbuild:pipeline": "shops", "modelbuild:flow": "flows/shop/flow.py"}, ""),
        (
            {"modelbuild:pipeline": "shops", "modelbuild:flow": "flows/mail/flow.py"},
            r"endpoint shop has tag modelbuild:flow flows/mail/flow\.py, but .* has flows/shop/flow\.py",
        ),
        (
            {"modelbuild:pipeline": "mails"},
            r"tag modelbuild:pipeline mails, but .* has shops",
        ),
    ],
)
def test_endpoint_of_another_training_is_refused(cloud: Cloud, tags: dict[str, str], message: str) -> None:
    """An endpoint serves one flow of one pipeline; a deployment of another makes nothing."""
    owner_tags = {"modelbuild:pipeline": "shops", "modelbuild:flow": "flows/shop/flow.py"}
    cloud.finds(OLD)
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    cloud.stubber.add_response("list_tags", {"Tags": listed})
    with cloud.stubber, pytest.raises(VerificationFailed, match=message) if message else nullcontext():
        require_own("shop", owner_tags, cloud.sagemaker)


def test_new_endpoint_is_anyones(cloud: Cloud) -> None:
    """What is not there yet belongs to no training."""
    cloud.finds(None)
    with cloud.stubber:
        require_own("shop", {"modelbuild:pipeline": "shops"}, cloud.sagemaker)
