"""The checks that a server refuses bad requests with a sentence, and goes on."""

from __future__ import annotations

from modelbuild.answers import shortened_bytes
from modelbuild.errors import VerificationFailed
from modelbuild.image_check.server import NoAnswer, instances_body
from modelbuild.image_check.session import Session, instances_of
from modelbuild.serving.limits import MAX_BODY_BYTES

_BAD_BODIES = {
    "text that is not JSON": b"{",
    "bytes that are not UTF-8": b"\xff\xfe\x00\x80",
    "another JSON document": b'{"modelbuild-check-image": 1}',
    "100,000 nested lists": b"[" * 100_000,
}


def bad_bodies(session: Session) -> str:
    """Require a refusal of bodies that are no request.

    Raises:
        VerificationFailed: a body was not refused, or the server stopped.
    """
    for kind, body in _BAD_BODIES.items():
        _refused(session, f"a body of {kind}", body, "application/json")
    return f"{', '.join(_BAD_BODIES)} are refused with a sentence, and the server goes on"


def empty_body(session: Session) -> str:
    """Require a refusal of an empty body.

    Raises:
        VerificationFailed: it was not refused, or the server stopped.
    """
    return _refused(session, "an empty body", b"", "application/json")


def wrong_type(session: Session) -> str:
    """Require a refusal of an unknown content type.

    Raises:
        VerificationFailed: it was not refused, or the server stopped.
    """
    body = instances_body(session.model.instances[:1] or ["text"])
    return _refused(session, "content type application/x-check-image", body, "application/x-check-image")


def largest_body(session: Session) -> str:
    """Require an answer to the largest body that SageMaker sends, or a refusal with 413.

    Raises:
        VerificationFailed: it got neither, or the server stopped.
        NotChecked: no instance is known.
    """
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
