"""Faults of AWS that a test or a user can cause here, by requests below ``/laptop``."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterable
from typing import Any

from moto.batch.models import batch_backends

from modelbuild_local.aws.access import control, signature
from modelbuild_local.aws.batch.job import Job
from modelbuild_local.aws.errors import Start, drain, refuse
from modelbuild_local.service import faults
from modelbuild_local.service.faults import Fault, Faults

Application = Callable[[dict[str, Any], Start], Iterable[bytes]]

_LOSE_HOST = re.compile(r"/laptop/batch/(?P<job_id>[^/]+)/lose-host")
_NO_CAPACITY = re.compile(r"/laptop/batch/(?P<queue>[^/]+)/no-capacity")


def with_faults(application: Application) -> Application:
    """Wrap the application: refuse unsigned requests, disturb requests with faults, and serve the paths below
    ``/laptop``.

    ``POST /laptop/batch/<job id>/lose-host`` ends the host of a running job; it answers 204, or 404 if no
    such job runs. ``PUT /laptop/batch/<queue>/no-capacity`` leaves the waiting jobs of a queue without
    instances until ``DELETE``; it answers 204. The other paths are those of
    ``modelbuild_local.service.faults`` and of ``access.control``. All require the run's secret access key as
    a bearer token.
    """
    injected = Faults()

    def answer(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if path.startswith(control.ADMINISTRATION):
            # A container requests its keys with its own token.
            if not (control.may_administer(environ) or (path == control.PATH and method == "GET")):
                message = (
                    "Send the secret access key of this run: Authorization: Bearer $AWS_SECRET_ACCESS_KEY"
                )
                return refuse(environ, start_response, "laptop", 401, "Unauthorized", message)
            if path.startswith("/moto-api"):
                return application(environ, start_response)
            if path == faults.PATH:
                return _administer(injected, environ, start_response)
            if path == control.PATH:
                return control.answer(environ, start_response)
            match = _LOSE_HOST.fullmatch(path)
            if match is not None and method == "POST":
                lost = any(job.lose_host() for job in _jobs(match["job_id"]))
                start_response("204 No Content" if lost else "404 Not Found", [("Content-Length", "0")])
                return []
            match = _NO_CAPACITY.fullmatch(path)
            if match is not None and method in ("PUT", "DELETE"):
                sold_out = Job.machines.sold_out
                (sold_out.add if method == "PUT" else sold_out.discard)(match["queue"])
                start_response("204 No Content", [("Content-Length", "0")])
                return []
        refused = control.refused(environ, start_response)
        if refused is not None:
            return refused
        fault = injected.strike(_request(environ))
        if fault is not None:
            return _disturb(fault, application, environ, start_response)
        return application(environ, start_response)

    return answer


def _administer(injected: Faults, environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    body = drain(environ)
    status, shown = injected.administer(environ["REQUEST_METHOD"], environ.get("CONTENT_TYPE", ""), body)
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(shown)))]
    start_response(f"{status} {'OK' if status == 200 else 'Refused'}", headers)
    return [shown]


def _request(environ: dict[str, Any]) -> str:
    """A request in the form that the patterns of faults match."""
    target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    query = f"?{environ['QUERY_STRING']}" if environ.get("QUERY_STRING") else ""
    path = f"/{target}" if target else f"{environ.get('PATH_INFO', '')}{query}"
    return f"{_service(environ)} {environ['REQUEST_METHOD']} {path}"


def _service(environ: dict[str, Any]) -> str:
    signed = signature.read(environ)
    return signed.service if signed else "-"


def _disturb(
    fault: Fault, application: Application, environ: dict[str, Any], start_response: Start
) -> Iterable[bytes]:
    if fault.lost:
        answered = application(environ, lambda *_: lambda _: None)
        for _ in answered:
            pass
    time.sleep(fault.silence)
    if fault.status is None:
        environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        raise ConnectionError("a fault that was asked for")
    code = fault.code or "InternalFailure"
    service, message = _service(environ), "A fault that was asked for."
    return refuse(environ, start_response, service, fault.status, code, message, fault.headers)


def _jobs(job_id: str) -> list[Job]:
    """The job with this id, in any account and region."""
    found = (
        backend._jobs.get(job_id)
        for regions in list(batch_backends.values())
        for backend in list(regions.values())
    )
    return [job for job in found if isinstance(job, Job)]
