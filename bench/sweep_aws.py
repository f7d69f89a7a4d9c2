"""The AWS stand-in of laptop mode, with a line about each request in the file that ``REQUESTS`` names.

A line is the service and the operation, such as ``S3 PUT`` or ``Batch submitjob``. Requests whose user agent
names ``bench`` are those of the bench itself and left out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import werkzeug.serving

_S3_LISTS = ("list-type=", "prefix=", "delimiter=")


def operation(environ: Mapping[str, Any]) -> str:
    """The service and the operation of a request."""
    path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
    if path.startswith("/v1/"):
        return f"Batch {path.split('/')[2]}"
    if "/s3/aws4" not in environ.get("HTTP_AUTHORIZATION", ""):
        return f"other {environ.get('HTTP_X_AMZ_TARGET', path)}"
    return f"S3 {'LIST' if any(part in query for part in _S3_LISTS) else environ['REQUEST_METHOD']}"


def counted(application: Callable[..., Iterable[bytes]], file: int) -> Callable[..., Iterable[bytes]]:
    """The application, with a line in a file about each request."""

    def answer(environ: Mapping[str, Any], start: Any) -> Iterable[bytes]:
        if "bench" not in environ.get("HTTP_USER_AGENT", ""):
            os.write(file, f"{operation(environ)}\n".encode())
        return application(environ, start)

    return answer


def main() -> None:
    """Serve."""
    file = os.open(os.environ["REQUESTS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    make = werkzeug.serving.make_server

    def make_counting(host: str, port: int, application: Any, **options: Any) -> Any:
        return make(host, port, counted(application, file), **options)

    werkzeug.serving.make_server = make_counting  # type: ignore[assignment]
    # Imported here, so that it finds the server above.
    from modelbuild_local.aws.__main__ import main as serve

    serve()


if __name__ == "__main__":
    main()
