from __future__ import annotations

import email.utils
import random
import socket
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelbuild.buildkite.access import ApiAccess
from modelbuild.callback.delivery import deliver
from modelbuild.clock import Clock
from modelbuild.contract import TrainingRequest, TrainingResult
from modelbuild.errors import BuildkiteError, ConfigurationError

RESULT = TrainingResult(status="succeeded", manifest="s3://bucket/manifest.json", env={"MODEL_ID": "7"})


@pytest.fixture
def deliver_to(training: TrainingRequest, names: Any) -> Callable[..., None]:
    """Deliver the result to a service, in the service's own time."""

    def run(service: Any, *, deadline: float = 3600.0, jitter: Callable[[], float] = lambda: 0.5) -> None:
        deliver(
            training,
            RESULT,
            access=ApiAccess(service.url, names.token),
            deadline=deadline,
            clock=Clock(now=lambda: service.now, sleep=service.sleep, jitter=jitter),
        )

    return run


@pytest.fixture
def answer(training: TrainingRequest, names: Any) -> Callable[..., Any]:
    """Deliver a result to a service; what became of it."""

    def run(service: Any, result: TrainingResult = RESULT, **options: Any) -> Any:
        clock = Clock(now=lambda: service.now, sleep=service.sleep, jitter=lambda: 0.5)
        return deliver(
            training,
            result,
            access=ApiAccess(service.url, names.token),
            deadline=3600.0,
            clock=clock,
            **options,
        )

    return run


def puts(service: Any) -> list[Any]:
    """The calls that unblock."""
    return [call for call in service.calls if call[1] == "PUT"]


def test_fields_reach_the_blocked_step(serve: Any, deliver_to: Any, names: Any) -> None:
    """A blocked step is unblocked at once, with the result's fields and the token as Bearer."""
    service = serve(names.service())
    deliver_to(service)
    assert service.applied == [RESULT.to_fields()]
    assert {call[3] for call in service.calls} == {f"Bearer {names.token}"}
    assert service.now == 0


def test_waits_until_really_blocked(serve: Any, deliver_to: Any, names: Any) -> None:
    """A step that is not there, or not blocked yet, is waited for; nothing is sent before."""
    service = serve(names.service(blocked_at=300))
    deliver_to(service)
    assert service.applied == [RESULT.to_fields()]
    assert all(call[0] >= 300 for call in puts(service))
    # Politely: every half a minute, two calls, once it has waited a while.
    assert len(service.calls) < 50


def test_repeating_changes_nothing(serve: Any, deliver_to: Any, names: Any) -> None:
    """A second delivery reads that the step is unblocked, and sends nothing."""
    service = serve(names.service())
    deliver_to(service)
    deliver_to(service)
    assert len(puts(service)) == 1


def test_step_that_a_person_unblocked_is_left(serve: Any, deliver_to: Any, names: Any, capsys: Any) -> None:
    """A step that a person has unblocked is left, and the log says by whom."""
    service = serve(names.service(unblocked_by="Grace"))
    deliver_to(service)
    assert puts(service) == []
    assert "unblocked already by Grace" in capsys.readouterr().out


def test_over_build_is_left(serve: Any, deliver_to: Any, names: Any, capsys: Any) -> None:
    """No step waits in a cancelled build: the callback says so and stops."""
    service = serve(names.service(blocked_at=1000, over_at=100))
    deliver_to(service)
    assert service.applied == []
    assert "the build is canceled" in capsys.readouterr().out
    assert service.now < 200


def test_delivery_says_whether_the_step_is_unblocked(serve: Any, answer: Any, names: Any) -> None:
    """Unblocked now and unblocked before are one; a build that was over before was not unblocked."""
    service = serve(names.service())
    assert [answer(service).unblocked, answer(service).unblocked] == [True, True]
    assert answer(serve(names.service(unblocked_by="Grace"))).unblocked
    assert not answer(serve(names.service(blocked_at=1000, over_at=100))).unblocked


def test_step_behind_a_lost_answer_was_unblocked_by_this_call(serve: Any, answer: Any, names: Any) -> None:
    """Only a refusal says that another program or person was first."""
    lost = serve(names.service(faults=[names.fault(), names.fault(lost=True)]))
    assert answer(lost).end == "unblocked"
    assert answer(lost).end == "before"


def test_outdated_result_unblocks_nothing(serve: Any, answer: Any, names: Any) -> None:
    """A delivery that still waits when a later attempt is made leaves the step to that attempt."""
    service = serve(names.service(blocked_at=300))
    delivery = answer(service, outdated=lambda: service.now > 100)
    assert (delivery.unblocked, service.applied) == (False, [])
    assert "for a later attempt at the training to unblock" in delivery.summary
    assert service.now < 150


def test_endless_reason_is_cut(serve: Any, answer: Any, names: Any) -> None:
    """A result with a reason beyond what meta-data may be, as a flow may write, reaches the build."""
    service = serve(names.service())
    answer(service, TrainingResult(status="failed", reason="x" * 200_000))
    assert len(service.applied[0]["training/reason"]) == 10_000


def test_date_to_wait_for_is_honoured(serve: Any, deliver_to: Any, names: Any) -> None:
    """Retry-After may be a moment instead of a number of seconds; one that has passed asks for nothing."""
    later = email.utils.format_datetime(datetime.now(timezone.utc) + timedelta(seconds=90), usegmt=True)
    faults = [
        names.fault(status=503, headers={"Retry-After": later}),
        names.fault(status=503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
    ]
    service = serve(names.service(faults=faults))
    deliver_to(service)
    first, second, third = (call[0] for call in service.calls[:3])
    assert 80 <= second - first <= 91
    assert third - second <= 1


@pytest.mark.parametrize("value", ["inf", "nan", "1e300", "Sat, 01 Jan 2999 00:00:00 GMT"])
def test_wait_without_an_end_is_not_believed(serve: Any, deliver_to: Any, names: Any, value: str) -> None:
    """Whatever an answer asks for, the next call comes within the hour, and long before the deadline."""
    service = serve(names.service(faults=[names.fault(status=503, headers={"Retry-After": value})]))
    deliver_to(service, deadline=86400.0)
    assert service.calls[1][0] <= 3601
    assert len(service.applied) == 1


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "47"}, 47),
        ({"RateLimit-Reset": "12", "RateLimit-User-Reset": "33"}, 33),
        ({"RateLimit-User-Reset": "21"}, 21),
    ],
)
def test_rate_limit_is_honoured(
    serve: Any, deliver_to: Any, names: Any, headers: dict[str, str], seconds: float
) -> None:
    """After 429 the next call comes when Buildkite says, spread over the seconds after."""
    service = serve(names.service(faults=[names.fault(status=429, headers=headers)]))
    deliver_to(service)
    first, second = service.calls[0][0], service.calls[1][0]
    assert seconds <= second - first <= seconds + 16
    assert len(service.applied) == 1


@pytest.mark.parametrize("status", [401, 403, 404, 400])
def test_refusal_for_good_is_an_error(serve: Any, deliver_to: Any, names: Any, status: int) -> None:
    """What repeating cannot mend ends at once, with the status and message and without the token."""
    body = '{"message": "No such thing"}'
    service = serve(names.service(faults=[names.fault(status=status, body=body)]))
    with pytest.raises(BuildkiteError, match=f"answered {status}: No such thing") as caught:
        deliver_to(service)
    assert names.token not in str(caught.value)
    assert ("then run modelbuild reconcile" in str(caught.value)) is (status != 400)
    # What is not found may have been deleted: that is looked for.
    assert len(service.calls) == (2 if status == 404 else 1)


def test_refused_fields_are_an_error(serve: Any, deliver_to: Any, names: Any) -> None:
    """A 422 that is no race is tried once more, then raised."""
    refusal = names.fault(status=422, body='{"message": "fields are invalid"}')
    read = names.fault()
    service = serve(names.service(faults=[read, refusal, read, refusal]))
    with pytest.raises(BuildkiteError, match="422: fields are invalid"):
        deliver_to(service)
    assert len(puts(service)) == 2


def test_lost_race_is_read_again(serve: Any, deliver_to: Any, names: Any) -> None:
    """'Must be blocked' counts as done only once the step has been read as unblocked."""
    refusal = names.fault(status=422, body='{"message": "The job\'s state must be blocked"}')
    service = serve(names.service(faults=[names.fault(), refusal]))
    deliver_to(service)
    assert [call[1] for call in service.calls] == ["GET", "PUT", "GET", "PUT"]
    assert len(service.applied) == 1


def test_gives_up_at_the_deadline(serve: Any, deliver_to: Any, names: Any) -> None:
    """A Buildkite that stays away ends in one sentence with the last status, within the deadline."""
    service = serve(names.service(faults=[names.fault(status=503) for _ in range(500)]))
    with pytest.raises(BuildkiteError, match=r"could not deliver the result .* answered 503"):
        deliver_to(service, deadline=600)
    assert service.now <= 600


def test_unreachable_server_is_retried_and_reported(training: TrainingRequest, names: Any) -> None:
    """A refused connection is a passing error until the deadline."""
    service = names.service()
    clock = Clock(now=lambda: service.now, sleep=service.sleep, jitter=lambda: 1.0)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v2"
        access = ApiAccess(url, names.token)
        with pytest.raises(BuildkiteError, match="could not be reached") as caught:
            deliver(training, RESULT, access=access, deadline=60, clock=clock)
    assert names.token not in str(caught.value)
    assert service.now > 20


def test_without_token_it_says_so(training: TrainingRequest) -> None:
    """A missing token is an error before any call."""
    with pytest.raises(ConfigurationError, match="BUILDKITE_API_TOKEN is not set"):
        deliver(training, RESULT, access=ApiAccess.read({}))


def _fault(names: Any, kind: str) -> Any:
    return {
        "none": names.fault(),
        "retry-after": names.fault(status=429, headers={"Retry-After": "5"}),
        "reset": names.fault(status=429, headers={"RateLimit-Reset": "7"}),
        "bare 429": names.fault(status=429),
        "500": names.fault(status=500, body="<html>"),
        "503": names.fault(status=503, headers={"Retry-After": "nonsense"}),
        "lost": names.fault(lost=True),
        "garbage": names.fault(garbage=True),
        "reset connection": names.fault(reset=True),
    }[kind]


KINDS = ("none", "retry-after", "reset", "bare 429", "500", "503", "lost", "garbage", "reset connection")


@given(
    schedule=st.lists(st.sampled_from(KINDS), max_size=12),
    blocked_at=st.sampled_from([0.0, 10.0, 100.0]),
    over_at=st.sampled_from([None, 0.0, 50.0]),
    by_hand_at=st.sampled_from([None, 0.0, 20.0, 120.0]),
    jumps=st.lists(st.sampled_from([0.0, 7.0, 3000.0]), max_size=6),
    others=st.integers(0, 48),
    seed=st.integers(0, 1000),
)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_goes_wrong_it_happens_once(
    serve: Any,
    deliver_to: Any,
    names: Any,
    schedule: list[str],
    blocked_at: float,
    over_at: float | None,
    by_hand_at: float | None,
    jumps: list[float],
    others: int,
    seed: int,
) -> None:
    """Under any schedule of faults and jumps of the clock, and however few requests others leave, the step
    is unblocked exactly once: with this result, or by hand before, unless the build was over before.
    """
    faults = [_fault(names, kind) for kind in schedule]
    by_hand = {} if by_hand_at is None else {"unblocked_by": "Grace", "by_hand_at": by_hand_at}
    service = serve(
        names.service(
            blocked_at=blocked_at,
            over_at=over_at,
            jumps=jumps,
            limit=50,
            others=others,
            faults=faults,
            **by_hand,
        )
    )
    deliver_to(service, jitter=random.Random(seed).random, deadline=86400.0)
    assert service.over + (service.person is not None) + len(service.applied) == 1
    assert service.applied in ([], [RESULT.to_fields()])
    assert all(call[0] >= blocked_at for call in puts(service))
    # The limit was seen before a request exceeded it, unless the answer that told of it did not arrive.
    refused = sum(max(0, used - (50 - others)) for used in service.used.values())
    assert refused <= sum(kind in ("lost", "reset connection") for kind in schedule)
    asked = {"retry-after": 5.0, "reset": 7.0}
    moments = [call[0] for call in service.calls]
    for kind, before, after in zip(schedule, moments, moments[1:], strict=False):
        assert after - before >= asked.get(kind, 0.0)


def test_silence_is_retried(
    serve: Any, deliver_to: Any, names: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """A call that is not answered in time, reading or unblocking, is made again."""
    faults = [names.fault(silent=True), names.fault(), names.fault(silent=True)]
    service = serve(names.service(faults=names.faults(faults, monkeypatch)))
    deliver_to(service)
    assert [call[1] for call in service.calls] == ["GET", "GET", "PUT", "GET", "PUT"]
    assert service.applied == [RESULT.to_fields()]
    assert "could not be reached: ReadTimeout" in capsys.readouterr().out
