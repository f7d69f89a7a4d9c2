"""The checks of a server that runs: predictions, bad requests, ``/ping``, and whose answers they are."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from pydantic import JsonValue

from modelbuild.answers import difference, shortened, shortened_bytes
from modelbuild.errors import VerificationFailed
from modelbuild.image_check.model import CheckedModel
from modelbuild.image_check.outcome import NotChecked, Outcome, run_check
from modelbuild.image_check.server import Answer, NoAnswer, instances_body
from modelbuild.image_check.session import Output, Session
from modelbuild.serving.limits import MAX_BODY_BYTES, MAX_INSTANCES

IDENTITY = "model id"
_FIRST = "first request"

_LOADED = "answer /ping with 503 until the model is loaded and has predicted once"
_SLOW_SECONDS = 0.5
"""A first answer that takes longer is compared with a second one."""
_REPETITIONS = 5
_LOAD_THREADS = 4
_LOAD_SECONDS = 2.0
"""How long ``/ping`` is called; each request of the load takes about half of this."""
_RECOVERY_SECONDS = 10.0
_BAD_BODIES = {
    "text that is not JSON": b"{",
    "bytes that are not UTF-8": b"\xff\xfe\x00\x80",
    "another JSON document": b'{"modelbuild-check-image": 1}',
    "100,000 nested lists": b"[" * 100_000,
}


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


def instances_of(model: CheckedModel) -> tuple[JsonValue, ...]:
    """The instances that the checks send.

    Raises:
        NotChecked: there are none.
    """
    if not model.instances:
        raise NotChecked(
            f"{model.unknown}, so no instance is known: give --manifest FILE with golden predictions, "
            "or --instance JSON"
        )
    return model.instances


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
    """Refuse an answer to the first instance that a server gives without its model."""
    if model.golden and (wrong := difference(model.golden[0].output, output, model.golden[0].tolerance)):
        raise VerificationFailed(f"it answered {shortened(output)} ({wrong})")
    if model.description is not None and (wrong := model.description.output.problem(output)):
        raise VerificationFailed(f"it answered {shortened(output)}, but {wrong}")


def _await_predictions(session: Session, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            session.predict(session.model.instances[:1])
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


def _ping_under_load(session: Session) -> str:
    body, count = _load_body(session, instances_of(session.model))
    stop = threading.Event()
    answered = itertools.count()

    def send() -> None:
        while not stop.is_set():
            try:
                answer = session.server.invoke(body)
                if answer.status == 200:
                    session.read(answer, count)
                    next(answered)
            except VerificationFailed:
                # A server may refuse a part of the load; this check is of /ping.
                stop.wait(0.1)

    threads = [threading.Thread(target=send, daemon=True) for _ in range(_LOAD_THREADS)]
    for thread in threads:
        thread.start()
    slowest = 0.0
    try:
        end = time.monotonic() + _LOAD_SECONDS
        while time.monotonic() < end:
            slowest = max(slowest, _ping(session).seconds)
            stop.wait(0.02)
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    if not next(answered):
        raise NotChecked(f"the server answered none of {_LOAD_THREADS} requests at the same time")
    return (
        f"answered within {slowest:.2f} s while {_LOAD_THREADS} requests of {count} instances were computed "
        "at a time"
    )


def _load_body(session: Session, instances: Sequence[JsonValue]) -> tuple[bytes, int]:
    """A request that takes a few seconds at most, and its number of instances."""
    seconds = max(1e-4, session.server.invoke(instances_body(instances[:1])).seconds)
    size = len(instances_body(instances)) // len(instances)
    count = max(1, min(MAX_INSTANCES, int(_LOAD_SECONDS / 2 / seconds), MAX_BODY_BYTES // size // 2))
    body = instances_body(list(itertools.islice(itertools.cycle(instances), count)))
    if session.server.invoke(body).status != 200:
        # Another server may take fewer instances.
        return instances_body(instances[:1]), 1
    return body, count


def _ping(session: Session) -> Answer:
    try:
        answer = session.server.ping()
    except NoAnswer as error:
        raise VerificationFailed(
            f"{error} while {_LOAD_THREADS} requests are computed, and SageMaker then replaces the "
            "container; compute predictions in another thread or process than the one that answers /ping"
        ) from error
    if answer.status != 200:
        raise VerificationFailed(
            f"/ping is answered with {answer.status} while {_LOAD_THREADS} requests are computed; answer 200 "
            "as long as the model is loaded"
        )
    return answer


def _bad_bodies(session: Session) -> str:
    for kind, body in _BAD_BODIES.items():
        _refused(session, f"a body of {kind}", body, "application/json")
    return f"{', '.join(_BAD_BODIES)} are refused with a sentence, and the server goes on"


def _empty_body(session: Session) -> str:
    return _refused(session, "an empty body", b"", "application/json")


def _wrong_type(session: Session) -> str:
    body = instances_body(session.model.instances[:1] or ["text"])
    return _refused(session, "content type application/x-check-image", body, "application/x-check-image")


def _refused(session: Session, subject: str, body: bytes, content_type: str) -> str:
    try:
        answer = session.server.invoke(body, content_type)
    except NoAnswer as error:
        raise VerificationFailed(f"{subject} gets no refusal: {error}; answer it with 400") from error
    text = answer.body.decode(errors="replace")
    if not 400 <= answer.status < 500:
        raise VerificationFailed(
            f"{subject} is answered with status {answer.status} and {shortened_bytes(answer.body)}; refuse "
            "it with 400 or 415 and a sentence"
        )
    if not text.strip() or "Traceback (most recent call last)" in text:
        raise VerificationFailed(
            f"{subject} is refused with {answer.status} and {shortened_bytes(answer.body)}; say in a "
            "sentence what is wrong with the request"
        )
    _require_alive(session, subject)
    return f"{subject} is refused with {answer.status} and a sentence, and the server goes on"


def _require_alive(session: Session, subject: str) -> None:
    try:
        if session.model.instances:
            session.predict(session.model.instances[:1])
        elif session.server.ping().status != 200:
            raise VerificationFailed("/ping is not answered with 200")
    except VerificationFailed as error:
        raise VerificationFailed(f"after {subject} a valid request fails: {error}") from error


def _largest_body(session: Session) -> str:
    body = instances_body(instances_of(session.model)[:1])
    padded = body[:-1] + b" " * (MAX_BODY_BYTES - len(body)) + body[-1:]
    subject = f"a body of {MAX_BODY_BYTES:,} bytes"
    try:
        answer = session.server.invoke(padded)
    except NoAnswer as error:
        raise VerificationFailed(
            f"{subject} gets no answer: {error}; read it and answer, or refuse it with 413"
        ) from error
    if answer.status != 413:
        session.read(answer, 1)
    _require_alive(session, subject)
    return (
        f"{subject} is {'refused with 413' if answer.status == 413 else 'answered'}, and the server goes on"
    )


def _identity(session: Session) -> str:
    instances_of(session.model)
    return session.describe_identity()


_CHECKS: dict[str, Callable[[Session], str]] = {
    "golden predictions": _recorded,
    "declared output": _declared,
    "repetition": _repeated,
    "batch": _batched,
    "/ping under load": _ping_under_load,
    "bad body": _bad_bodies,
    "empty body": _empty_body,
    "wrong content type": _wrong_type,
    "largest body": _largest_body,
}
