"""The training's annotation on the build page, when the training ends.

The head updates the annotation while the training runs. Its last update must be over before the delivery
unblocks the step, and where no later step replaces the annotation, :func:`correct_page` does.
"""

from __future__ import annotations

from modelbuild import log
from modelbuild.buildkite.access import ApiAccess
from modelbuild.buildkite.rate_limiter import RateLimiter
from modelbuild.buildkite.rest import Rest
from modelbuild.clock import SYSTEM_CLOCK, Clock
from modelbuild.contract import RUNNING_STYLE, RUNNING_TEXT, TRAINING_ANNOTATION, TrainingRequest
from modelbuild.errors import AwsError, BuildkiteError, ConfigurationError, VerificationFailed
from modelbuild.store.attempts import Attempt

PAGE_SECONDS = 30.0
"""How long a result waits for the head's last annotation; a request takes at most a third of it."""

_LOOK_AGAIN_SECONDS = 0.5


def wait_for_page(attempt: Attempt, clock: Clock = SYSTEM_CLOCK) -> None:
    """Wait until the head sends no annotation any more, so that none replaces the one of notify.

    The result of the attempt must be in S3: the head sends nothing after that. The function waits at most
    ``PAGE_SECONDS`` for a request without an answer.

    Args:
        attempt: the attempt, whose step is about to be unblocked.
        clock: what time is and how it passes.
    """
    until = clock.now() + PAGE_SECONDS
    try:
        while attempt.has_open_page_update():
            if clock.now() > until:
                log.info(
                    "callback: the head's request for the annotation has no answer; unblocking all the same"
                )
                return
            clock.sleep(_LOOK_AGAIN_SECONDS)
    except (AwsError, VerificationFailed) as error:
        log.info(f"callback: it is not known whether the head is sending the annotation: {error}")


def correct_page(
    request: TrainingRequest,
    body: str,
    style: str,
    *,
    access: ApiAccess,
    rate_limiter: RateLimiter | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> None:
    """Replace an annotation that still says that the training runs, when no later step will replace it.

    No program reads the annotation, so an error is only logged, and the call is not repeated.

    Args:
        request: the request of the training; it names the build.
        body: how the training ended.
        style: of the annotation.
        access: the API of Buildkite.
        rate_limiter: the rate limiter.
        clock: what time is and how it passes.
    """
    try:
        rest = Rest.of(access)
        clock.sleep(rate_limiter.next() if rate_limiter else 0.0)
        context = request.meta_data_key(TRAINING_ANNOTATION)
        notes = [note for note in rest.annotations(request.build) if note.context == context]
        # The annotation of notify may have the same style.
        if any(note.style == RUNNING_STYLE and RUNNING_TEXT in note.body_html for note in notes):
            clock.sleep(rate_limiter.next() if rate_limiter else 0.0)
            rest.annotate(request.build, body, context=context, style=style)
    except (AwsError, BuildkiteError, ConfigurationError) as error:
        log.info(f"callback: the page of the build still says that the training is under way: {error}")
