"""The checks of a server that runs, in their order; here are those of its predictions and of its name."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator

from modelbuild.answers import difference, shortened
from modelbuild.errors import VerificationFailed
from modelbuild.image_check.load_check import ping_under_load
from modelbuild.image_check.model import CheckedModel
from modelbuild.image_check.outcome import NotChecked, Outcome, run_check
from modelbuild.image_check.refusal_checks import bad_bodies, empty_body, largest_body, wrong_type
from modelbuild.image_check.server import NoAnswer, instances_body
from modelbuild.image_check.session import Output, Session, instances_of

IDENTITY = "model id"
_FIRST = "first request"
_LOADED = "answer /ping with 503 until the model is loaded and has predicted once"
_SLOW_SECONDS = 0.5
"""A first answer that takes longer is compared with a second one."""
_REPETITIONS = 5
_RECOVERY_SECONDS = 10.0


def examine(session: Session, seconds: float) -> Iterator[Outcome]:
    """Check a server whose ``/ping`` was answered with 200 for the first time just now.

    Args:
        session: the server.
        seconds: how long it may take until it predicts, where it answered ``/ping`` too early.
    """
    first = run_check(_FIRST, lambda: _answer_at_once(session))
    yield first
    if first.status == "failed" and not _await_predictions(session, seconds):
        text = "the server does not predict; correct that first"
        yield from (Outcome("not checked", subject, text) for subject in (*_CHECKS, IDENTITY))
        return
    alive = True
    for subject, check in _CHECKS.items():
        if not alive:
            yield Outcome("not checked", subject, "the server does not answer any more; correct that first")
            continue
        outcome = run_check(subject, lambda check=check: check(session))  # type: ignore[misc]
        yield outcome
        alive = outcome.status != "failed" or session.server.await_health(_RECOVERY_SECONDS)
    yield run_check(IDENTITY, lambda: _identity(session))


def _answer_at_once(session: Session) -> str:
    instances = instances_of(session.model)[:1]
    try:
        answer = session.server.invoke(instances_body(instances))
        (output,) = session.read(answer, 1)
        _require_own_answer(session.model, output)
    except VerificationFailed as error:
        raise VerificationFailed(
            f"the first /invocations after the first 200 of /ping failed: {error}; {_LOADED}"
        ) from error
    if answer.seconds > _SLOW_SECONDS:
        again = session.server.invoke(instances_body(instances))
        if again.seconds < answer.seconds / 10:
            raise VerificationFailed(
                f"the first /invocations after the first 200 of /ping took {answer.seconds:.1f} s, and the "
                f"same one again {again.seconds:.2f} s; {_LOADED}"
            )
    return "answered right after the first 200 of /ping"


def _require_own_answer(model: CheckedModel, output: Output) -> None:
    """Refuse an answer that the model would not give to the first instance."""
    if model.golden and (wrong := difference(model.golden[0].output, output, model.golden[0].tolerance)):
        raise VerificationFailed(f"it answered {shortened(output)} ({wrong})")
    if model.description is not None and (wrong := model.description.output.problem(output)):
        raise VerificationFailed(f"it answered {shortened(output)}, but {wrong}")


def _await_predictions(session: Session, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            answer = session.server.invoke(instances_body(session.model.instances[:1]))
            if 400 <= answer.status < 500:
                # One that is not ready answers with 503; this one will not take the instance later, either.
                return False
            session.read(answer, 1)
        except NoAnswer:
            if not session.server.await_health(_RECOVERY_SECONDS):
                return False
        except VerificationFailed:
            time.sleep(0.1)
        else:
            return True
    return False


def _recorded(session: Session) -> str:
    model = session.model
    if not model.golden:
        raise NotChecked("no golden predictions are known: give --manifest FILE")
    for number, golden in enumerate(model.golden, 1):
        (output,) = session.predict([golden.input])
        if wrong := difference(golden.output, output, golden.tolerance):
            raise VerificationFailed(
                f"golden prediction {number} of {len(model.golden)} is answered with {shortened(output)}, "
                f"and the trained model answered {shortened(golden.output)} ({wrong}); serve the model with "
                "the code that evaluated it"
            )
    return f"{len(model.golden)} golden predictions, all within the tolerance"


def _declared(session: Session) -> str:
    instances = instances_of(session.model)
    description = session.model.description
    if description is None:
        raise NotChecked(f"{session.model.unknown}, so the form of an answer is not known")
    for instance in instances:
        (output,) = session.predict([instance])
        if wrong := description.output.problem(output):
            raise VerificationFailed(
                f"an instance is answered with {shortened(output)}, but {wrong}: model.json declares output "
                f"{description.output.type}"
            )
    return f"{len(instances)} answers have the fields of output {description.output.type}"


def _repeated(session: Session) -> str:
    instances = instances_of(session.model)[:8]
    first = [session.predict([instance])[0] for instance in instances]
    for _ in range(_REPETITIONS - 1):
        again = [session.predict([instance])[0] for instance in instances]
        session.require_same(first, again, "when it is sent again")
    return f"{len(instances)} instances sent {_REPETITIONS} times have the same answers"


def _batched(session: Session) -> str:
    instances = instances_of(session.model)[:8]
    alone = [session.predict([instance])[0] for instance in instances]
    batch = list(itertools.islice(itertools.cycle(instances), 2 * len(instances) + 1))
    expected = list(itertools.islice(itertools.cycle(alone), len(batch)))
    session.require_same(expected, session.predict(batch), f"in a batch of {len(batch)}")
    same = " (all of them the same, so their order was not seen)" if len(instances) == 1 else ""
    return f"a batch of {len(batch)} has the answers of its instances one by one{same}"


def _identity(session: Session) -> str:
    instances_of(session.model)
    return session.describe_identity()


_CHECKS: dict[str, Callable[[Session], str]] = {
    "golden predictions": _recorded,
    "declared output": _declared,
    "repetition": _repeated,
    "batch": _batched,
    "/ping under load": ping_under_load,
    "bad body": bad_bodies,
    "empty body": empty_body,
    "wrong content type": wrong_type,
    "largest body": largest_body,
}
