"""The deployments of an endpoint, in the order in which they came to be served."""

from __future__ import annotations

from modelbuild.contract import Deployment
from modelbuild.store import records
from modelbuild.store.objects import Objects

_FOLDER = "_endpoints"
"""Beside the models; no pipeline has an underscore in its slug."""


class DeploymentHistory:
    """``<root>/_endpoints/<endpoint>/`` in production's bucket.

    ``<number>.json`` is the deployment of that number, from 1, written once; ``current.json`` is a copy of
    the newest one. Every method raises ``AwsError`` when S3 refuses, ``VerificationFailed`` for a file that
    is not a deployment.
    """

    def __init__(self, objects: Objects, root: str, endpoint: str) -> None:
        """Find the history of an endpoint.

        Args:
            objects: S3 as an identity sees it that may read there, and write to append.
            root: where models lie in production (option ``artifacts`` of deploy).
            endpoint: the endpoint's name.
        """
        self._objects = objects
        self.folder = f"{root.rstrip('/')}/{_FOLDER}/{endpoint}"

    def current(self) -> Deployment | None:
        """What the endpoint serves, in one read; None before its first deployment."""
        return self._read("current")

    def read(self, number: int) -> Deployment | None:
        """The deployment of that number, if there is one."""
        return self._read(str(number))

    def append(self, deployment: Deployment, *, changed: bool) -> Deployment:
        """Append a deployment to the history, unless the newest entry is the same deployment.

        Args:
            deployment: what the endpoint serves now; its number is replaced.
            changed: whether the endpoint was changed for it. Where it was not, and the newest deployment has
                the same configuration, this is a step that was retried: the newest one stays.

        Returns:
            The deployment that is on record, with its number.
        """
        newest = self._newest()
        if newest is not None and not changed and newest.endpoint_config == deployment.endpoint_config:
            recorded = newest
        else:
            recorded = self._write(deployment, newest.number + 1 if newest else 1)
        self._point_to(recorded)
        return recorded

    def _newest(self) -> Deployment | None:
        """The newest deployment, also where its writer was stopped before ``current.json``."""
        newest = self.current()
        while (following := self.read(newest.number + 1 if newest else 1)) is not None:
            newest = following
        return newest

    def _write(self, deployment: Deployment, number: int) -> Deployment:
        while True:
            numbered = deployment.model_copy(update={"number": number})
            if self._objects.write_once(self._uri(str(number)), numbered.to_json().encode()):
                return numbered
            number += 1

    def _point_to(self, newest: Deployment) -> None:
        # Of two steps that write at the same time, the one with the lower number may come here last.
        following: Deployment | None = newest
        while following is not None:
            self._objects.write(self._uri("current"), following.to_json().encode())
            following = self.read(following.number + 1)

    def _read(self, name: str) -> Deployment | None:
        return records.find(self._objects, self._uri(name), Deployment)

    def _uri(self, name: str) -> str:
        return f"{self.folder}/{name}.json"


def root_of(deployment: Deployment) -> str:
    """The prefix of the models in the production account of a deployment."""
    return deployment.model_path.rsplit("/", 4)[0]
