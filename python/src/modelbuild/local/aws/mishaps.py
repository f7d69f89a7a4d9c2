"""What goes wrong on AWS and cannot be asked for there: requests below ``/laptop`` make it happen here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from moto.batch.models import batch_backends

from modelbuild.local.aws.job import Job

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_LOSE_HOST = re.compile(r"/laptop/batch/(?P<job_id>[^/]+)/lose-host")


def beside(application: Application) -> Application:
    """The application, and before it ``POST /laptop/batch/<job id>/lose-host``.

    That takes the host of a running job away. The answer is 204, and 404 where no such job runs.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        match = _LOSE_HOST.fullmatch(environ.get("PATH_INFO", ""))
        if match is None or environ.get("REQUEST_METHOD") != "POST":
            return application(environ, start_response)
        lost = any(job.lose_host() for job in _jobs(match["job_id"]))
        start_response("204 No Content" if lost else "404 Not Found", [("Content-Length", "0")])
        return []

    return answer


def _jobs(job_id: str) -> list[Job]:
    """The job with this id, in whatever account and region."""
    found = (
        backend._jobs.get(job_id)
        for regions in list(batch_backends.values())
        for backend in list(regions.values())
    )
    return [job for job in found if isinstance(job, Job)]
