"""The checks that need an image: how its container starts and ends, and which models it must refuse."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from modelbuild.answers import Identity
from modelbuild.contract import DESCRIPTION_FILE
from modelbuild.errors import VerificationFailed
from modelbuild.image_check import server_checks
from modelbuild.image_check.engine import MODEL_DIRECTORY, Container, Engine
from modelbuild.image_check.model import CheckedModel, describes, replace, variables
from modelbuild.image_check.outcome import NotChecked, Outcome, run_check
from modelbuild.image_check.pickled import packed_like, printing
from modelbuild.image_check.server import Server, instances_body
from modelbuild.image_check.session import Session, instances_of

TERM_SECONDS = 30.0
"""How long SageMaker waits after SIGTERM before it kills a container."""

_OTHER = Identity(model="another-model", model_id="987654321.2", pipeline="another-pipeline")
_REFUSAL_SECONDS = 10.0
"""How long a container that neither ends nor answers /ping with 200 is watched, at least."""


@dataclass(frozen=True)
class Image:
    """An image, and the model that its containers get.

    Attributes:
        engine: what runs it.
        name: its name.
        model: what MODEL_DIR holds.
        original: a copy of MODEL_DIR that every user can read.
        scratch: an existing folder for changed copies.
        seconds: how long ``/ping`` may take to be answered with 200.
    """

    engine: Engine
    name: str
    model: CheckedModel
    original: Path
    scratch: Path
    seconds: float


def examine(image: Image) -> Generator[Outcome, None, None]:
    """Check an image with its model, then with another model id, and with models that it must refuse."""
    begin = time.monotonic()
    own = variables(image.model.identity, image.original)
    with ExitStack() as stack:
        try:
            container = stack.enter_context(image.engine.container(image.name, image.original, own))
            server = _await_service(container, image.seconds)
        except VerificationFailed as error:
            yield Outcome("failed", "start", str(error))
            reason = "the image does not come into service with its own model; correct that first"
            yield from (Outcome("not checked", subject, reason) for subject in ("the server", *CHECKS))
            return
        started = time.monotonic() - begin
        yield Outcome("ok", "start", f"in service after {started:.1f} s, with a read-only {MODEL_DIRECTORY}")
        yield from server_checks.examine(Session(server, image.model, image.model.identity), image.seconds)
        yield run_check("SIGTERM", lambda: _end(container))
    watched = min(image.seconds, max(_REFUSAL_SECONDS, 3 * started))
    for subject, check in CHECKS.items():
        yield run_check(subject, lambda check=check: check(image, watched))  # type: ignore[misc]


def _await_service(container: Container, seconds: float) -> Server:
    server = container.server()
    if server is not None and server.await_health(seconds, container.has_ended):
        return server
    if server is None or container.has_ended():
        raise VerificationFailed(
            f"the container does not come into service: {container.describe_end()}; it must serve with the "
            f"argument serve and a {MODEL_DIRECTORY} that it cannot write to"
        )
    raise VerificationFailed(
        f"/ping on port 8080 was not answered with 200 within {seconds:g} s; listen on 0.0.0.0:8080, or "
        "raise --timeout"
    )


def _end(container: Container) -> str:
    if container.has_ended():
        raise NotChecked(f"the container had ended before: {container.describe_end()}")
    seconds = container.terminate(TERM_SECONDS)
    if seconds is None:
        raise VerificationFailed(
            f"the container still runs {TERM_SECONDS:g} s after SIGTERM, when SageMaker kills it; end the "
            "server on SIGTERM, and write ENTRYPOINT as a list, so that no shell keeps the signal from it"
        )
    return f"the container ended {seconds:.1f} s after it"


def _follow_variables(image: Image, watched: float) -> str:
    del watched
    instances = instances_of(image.model)[:1]
    environment = variables(_OTHER, image.original)
    with image.engine.container(image.name, image.original, environment) as container:
        session = Session(_await_service(container, image.seconds), image.model, _OTHER)
        session.predict(instances)
        session.describe_identity()
    return f"started as {_OTHER}, the server answers so"


def _refuse_changed_description(image: Image, watched: float) -> str:
    path = image.original / DESCRIPTION_FILE
    if not path.is_file():
        raise NotChecked(f"MODEL_DIR has no {DESCRIPTION_FILE}, whose hash the server could verify")
    _require_refusal(image, DESCRIPTION_FILE, path.read_bytes() + b"\n", watched)
    return "a model.json that is not the one of MODEL_DESCRIPTION_SHA256 does not come into service"


def _refuse_changed_files(image: Image, watched: float) -> str:
    verifiable = [name for name in image.model.weights if describes(image.original, name)]
    if not verifiable:
        raise NotChecked(
            f"{DESCRIPTION_FILE} has the SHA-256 of no file beside it, so that no server can see a change: "
            "put the hashes there"
        )
    for name in verifiable:
        _require_refusal(image, name, _change((image.original / name).read_bytes()), watched)
    return f"with one other byte in {', '.join(verifiable)} the model does not come into service"


def _require_refusal(image: Image, name: str, content: bytes, watched: float) -> None:
    directory = replace(image.original, image.model.files, {name: content}, _folder(image), hashes=False)
    environment = variables(image.model.identity, image.original)
    with image.engine.container(image.name, directory, environment) as container:
        if _comes_into_service(container, watched):
            raise VerificationFailed(
                f"the server serves a model whose {name} was changed after the approval; compare the SHA-256 "
                f"of {DESCRIPTION_FILE} with MODEL_DESCRIPTION_SHA256, and that of each other file with "
                f"{DESCRIPTION_FILE}, and exit if one differs"
            )


def _refuse_pickles(image: Image, watched: float) -> str:
    files = image.model.weights
    if not files:
        raise NotChecked(f"MODEL_DIR has no file beside {DESCRIPTION_FILE}")
    came_into_service = False
    # A server may exit at the first file that it cannot read, so each file is also replaced alone.
    for replaced in (files, *((name,) for name in files if len(files) > 1)):
        for contents, marker in _pickles(image, replaced):
            directory = replace(image.original, image.model.files, contents, _folder(image), hashes=True)
            environment = variables(image.model.identity, directory)
            with image.engine.container(image.name, directory, environment) as container:
                if _comes_into_service(container, watched):
                    # With one file replaced this is no fault: the server may not need that file.
                    came_into_service |= replaced == files
                    _load_lazily(container, image.model)
                if marker in container.output():
                    raise VerificationFailed(
                        f"the server executes the code of a pickle in place of {', '.join(replaced)}; never "
                        "unpickle a file of a model: use a format of numbers and text only, such as "
                        "safetensors or ONNX"
                    )
    if came_into_service:
        raise VerificationFailed(
            f"the server comes into service with pickles in place of {', '.join(files)}; load the model "
            "before /ping is answered with 200, and exit if a file is not in its format"
        )
    if not any(describes(image.original, name) for name in files):
        raise NotChecked(
            f"{DESCRIPTION_FILE} has the SHA-256 of no file beside it in hexadecimal, so a server that "
            "compares hashes may not have read the pickles: put the hashes there"
        )
    return f"a pickle in place of {', '.join(files)} is not executed, and does not come into service"


def _pickles(image: Image, names: Sequence[str]) -> Iterator[tuple[dict[str, bytes], str]]:
    """Pickles in place of some files, as they are and in the format of each file, and what they print."""
    originals = {name: (image.original / name).read_bytes() for name in names}
    pickled, marker = printing()
    yield dict.fromkeys(names, pickled), marker
    packed = {name: packed_like(original, pickled) for name, original in originals.items()}
    if any(content != pickled for content in packed.values()):
        yield packed, marker


def _comes_into_service(container: Container, seconds: float) -> bool:
    server = container.server()
    return server is not None and server.await_health(seconds, container.has_ended)


def _load_lazily(container: Container, model: CheckedModel) -> None:
    """Send a request: a server may read its model only then."""
    server = container.server()
    if server is not None and model.instances:
        with suppress(VerificationFailed):
            server.invoke(instances_body(model.instances[:1]))


def _change(content: bytes) -> bytes:
    """The content with one other byte, such that it can still be read where its format allows that."""
    try:
        content.decode()
    except UnicodeDecodeError:
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    return content + b"\n"


def _folder(image: Image) -> Path:
    return image.scratch / str(sum(1 for _ in image.scratch.iterdir()))


CHECKS: dict[str, Callable[[Image, float], str]] = {
    "other model id": _follow_variables,
    "changed model.json": _refuse_changed_description,
    "changed file": _refuse_changed_files,
    "pickle": _refuse_pickles,
}
