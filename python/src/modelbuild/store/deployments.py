"""The deployments of an endpoint, in order of time."""

from __future__ import annotations

from modelbuild.aws.failures import NotFound
from modelbuild.contract import Deployment
from modelbuild.store import records
from modelbuild.store.objects import Objects

_FOLDER = "_endpoints"
"""This folder is beside those of pipelines, whose slugs contain no underscore."""

_RESTORE = (
    "restore the earlier version of this object, which the bucket keeps, or use the version of modelbuild "
    "that wrote it"
)


class DeploymentHistory:
    """``<root>/_endpoints/<endpoint>/`` in production's bucket.

    ``<number>.json`` is the deployment of that number, from 1, written once; ``current.json`` is a copy of
    the newest one when it was written. Every method raises ``AwsError`` when S3 refuses, and
    ``VerificationFailed`` for a file that is not a deployment.

    A history outlives versions of modelbuild: the deploy step of an old build, with which an earlier model
    comes back, has the version of that build. So fields that this version does not know are ignored.
    """

    def __init__(self, objects: Objects, root: str, endpoint: str) -> None:
        """Find the history of an endpoint.

        Args:
            objects: S3 with an identity that may read the history, and write it for :meth:`append`.
            root: the prefix of models in production (option ``artifacts`` of deploy).
            endpoint: the endpoint's name.
        """
        self._objects = objects
        self.folder = f"{root.rstrip('/')}/{_FOLDER}/{endpoint}"

    def current(self) -> Deployment | None:
        """The deployment in ``current.json``, in one read; None before the first one.

        It is not the newest where its writer was stopped before it wrote the file: see :meth:`newest`.
        """
        return self._read("current")

    def newest(self) -> Deployment | None:
        """The newest deployment, also if its writer was stopped before it wrote ``current.json``."""
        newest = self.current()
        while (following := self.read(newest.number + 1 if newest else 1)) is not None:
            newest = following
        return newest

    def read(self, number: int) -> Deployment | None:
        """The deployment of that number, if there is one."""
        return self._read(str(number))

    def append(self, deployment: Deployment, *, changed: bool) -> Deployment:
        """Append a deployment to the history, unless the newest entry is the same deployment.

        Args:
            deployment: the deployment that the endpoint serves now; its number is replaced.
            changed: whether the endpoint was changed for it. If not, and the newest entry has the same
                configuration, the step was retried, and nothing is appended.

        Returns:
            The recorded deployment, with its number.
        """
        newest = self.newest()
        if newest is not None and not changed and newest.endpoint_config == deployment.endpoint_config:
            recorded = newest
        else:
            recorded = self._write(deployment, newest.number + 1 if newest else 1)
        self._point_to(recorded.number)
        return recorded

    def _write(self, deployment: Deployment, number: int) -> Deployment:
        while True:
            numbered = deployment.model_copy(update={"number": number})
            written = self._objects.write_once(self._uri(str(number)), numbered.to_json().encode())
            # If the answer to the first request is lost, S3 refuses the one that is sent again.
            if written or self.read(number) == numbered:
                return numbered
            number += 1

    def _point_to(self, number: int) -> None:
        # Two steps may write at the same time: the one with the lower number must not write last.
        while (content := self._content(str(number))) is not None:
            self._objects.write(self._uri("current"), content)
            number += 1

    def _read(self, name: str) -> Deployment | None:
        content = self._content(name)
        if content is None:
            return None
        return records.parse(content, self._uri(name), Deployment, any_version=True, fix=_RESTORE)

    def _content(self, name: str) -> bytes | None:
        try:
            return records.content(self._objects, self._uri(name))
        except NotFound:
            return None

    def _uri(self, name: str) -> str:
        return f"{self.folder}/{name}.json"


def root_of(deployment: Deployment) -> str:
    """The prefix of models in the production account of a deployment."""
    return deployment.model_path.rsplit("/", 4)[0]
