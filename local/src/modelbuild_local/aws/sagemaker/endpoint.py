"""An endpoint: its state, the processes behind it, and how they replace each other."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from moto.core.utils import utcnow

from modelbuild_local.aws.sagemaker.model_files import StartFailed
from modelbuild_local.aws.sagemaker.server import INVOKE_SECONDS, Plan, Server
from modelbuild_local.aws.settings import Settings

log = logging.getLogger(__name__)

IN_PROGRESS = ("Creating", "Updating", "RollingBack", "Deleting")


class NoSuchVariant(Exception):
    """The endpoint has no variant of the requested name."""


class Fleet:
    """The processes of one endpoint configuration, which start and end together."""

    def __init__(self, plans: Sequence[Plan], settings: Settings) -> None:
        self._servers = {plan.variant: Server(plan, settings) for plan in plans}
        self._idle = threading.Condition()
        self._calls = 0

    def start(self) -> None:
        """Start every variant and return once all are healthy.

        Raises:
            StartFailed: a variant is not healthy; all processes are stopped.
        """
        failures: list[StartFailed] = []

        def start(server: Server) -> None:
            try:
                server.start()
            except StartFailed as failure:
                failures.append(failure)
            except Exception as error:
                log.exception("A variant failed inside the stand-in.")
                failures.append(StartFailed(f"The AWS stand-in failed: {error}"))

        _run_in_parallel([partial(start, server) for server in self._servers.values()])
        if failures:
            self.stop()
            raise failures[0]

    @contextmanager
    def serving(self, variant: str) -> Iterator[Server]:
        """The variant's process; it is not stopped before the call has its answer."""
        try:
            yield self._servers[variant]
        finally:
            with self._idle:
                self._calls -= 1
                self._idle.notify_all()

    def begin_call(self) -> None:
        """Count a call that will use ``serving``."""
        with self._idle:
            self._calls += 1

    def image(self, variant: str) -> str:
        """The image that a variant was started from."""
        return self._servers[variant].plan.image

    def prevent_restarts(self) -> None:
        """Prevent restarts of the processes."""
        for server in self._servers.values():
            server.prevent_restarts()

    def stop(self) -> None:
        """End the processes after the running calls have their answers."""
        with self._idle:
            self._idle.wait_for(lambda: self._calls == 0, INVOKE_SECONDS)
        _run_in_parallel([server.stop for server in self._servers.values()])


class Endpoint:
    """An endpoint with a fleet of processes. It is stored in moto's backend, which lists it by its
    attributes.

    Attributes:
        endpoint_name: Its name.
        arn: Its ARN.
        endpoint_config_name: The configuration that it runs or is created with.
        endpoint_status: SageMaker's status, such as ``InService``.
        production_variants: The variants in service as DescribeEndpoint shows them.
        tags: Its tags.
        creation_time: When it was asked for.
        last_modified_time: When its state last changed.
    """

    def __init__(self, settings: Settings, account: str, region: str, name: str, tags: Any) -> None:
        self.endpoint_name = name
        self.arn = f"arn:aws:sagemaker:{region}:{account}:endpoint/{name}"
        self.tags: list[dict[str, str]] = list(tags or [])
        self.endpoint_config_name = ""
        self.endpoint_status = "Creating"
        self.production_variants: list[dict[str, Any]] = []
        self.creation_time = self.last_modified_time = utcnow()
        self._data_capture: Mapping[str, Any] | None = None
        self._settings = settings
        self._lock = threading.Lock()
        self._fleet: Fleet | None = None
        self._next: Fleet | None = None
        self._pending: dict[str, Any] | None = None
        self._deployment: Any = None
        self._reason: str | None = None

    def summary(self) -> dict[str, Any]:
        """What ListEndpoints shows."""
        return {
            "EndpointName": self.endpoint_name,
            "EndpointArn": self.arn,
            "CreationTime": self.creation_time,
            "LastModifiedTime": self.last_modified_time,
            "EndpointStatus": self.endpoint_status,
        }

    def describe(self) -> dict[str, Any]:
        """What DescribeEndpoint shows."""
        with self._lock:
            shown: dict[str, Any] = {
                **self.summary(),
                "EndpointConfigName": self.endpoint_config_name,
                "ProductionVariants": self.production_variants or None,
                "FailureReason": self._reason,
                "LastDeploymentConfig": self._deployment,
                "PendingDeploymentSummary": self._pending,
                "DataCaptureConfig": self._data_capture or None,
            }
        return {key: value for key, value in shown.items() if value is not None}

    def create(self, config: Any, plans: Sequence[Plan]) -> None:
        """Start the processes of a configuration, in the background."""
        self.endpoint_config_name = config.endpoint_config_name
        self._set("Creating")
        self._in_background(lambda: self._create(config, plans))

    def update(self, config: Any, plans: Sequence[Plan], deployment: Any, retain: bool) -> None:
        """Replace the processes by those of another configuration, in the background.

        The new ones get calls only after they are healthy; if they do not become healthy, the endpoint keeps
        the old configuration.

        Args:
            config: moto's endpoint configuration.
            plans: The plans of its variants.
            deployment: DeploymentConfig, which is only described: all traffic shifts at once.
            retain: Whether variants keep their current weights and instance counts.
        """
        with self._lock:
            self._deployment = deployment
            self._pending = {
                "EndpointConfigName": config.endpoint_config_name,
                "ProductionVariants": [{"VariantName": plan.variant} for plan in plans],
                "StartTime": utcnow(),
            }
        self._set("Updating")
        self._in_background(lambda: self._update(config, plans, retain))

    def delete(self, on_deleted: Callable[[], None]) -> None:
        """End the processes in the background, then call ``on_deleted``."""
        self._set("Deleting")

        def delete() -> None:
            with self._lock:
                fleet, self._fleet = self._fleet, None
            if fleet is not None:
                fleet.stop()
            on_deleted()

        self._in_background(delete)

    def prevent_restarts(self) -> None:
        """Prevent restarts of the processes, because the stand-in stops."""
        for fleet in (self._fleet, self._next):
            if fleet is not None:
                fleet.prevent_restarts()

    @contextmanager
    def serving(self, requested: str | None) -> Iterator[tuple[str, Server] | None]:
        """A variant's name and process, the ``requested`` one or one by weight; None if the endpoint does not
        serve.

        Raises:
            NoSuchVariant: the endpoint has no variant ``requested``.
        """
        with self._lock:
            fleet = self._fleet
            if fleet is not None:
                variant = requested or self._by_weight()
                if all(item["VariantName"] != variant for item in self.production_variants):
                    raise NoSuchVariant(variant)
                fleet.begin_call()  # under the lock, so that a fleet that is replaced waits for this call
        if fleet is None:
            yield None
            return
        with fleet.serving(variant) as server:
            yield variant, server

    def _by_weight(self) -> str:
        names = [str(item["VariantName"]) for item in self.production_variants]
        weights = [float(item["CurrentWeight"]) for item in self.production_variants]
        return random.choices(names, weights)[0] if sum(weights) > 0 else names[0]

    def _create(self, config: Any, plans: Sequence[Plan]) -> None:
        try:
            fleet = self._started(plans)
        except StartFailed as failure:
            self._set("Failed", str(failure))
            return
        with self._lock:
            self._switch(fleet, config, retain=False)
        self._set("InService")

    def _update(self, config: Any, plans: Sequence[Plan], retain: bool) -> None:
        try:
            fleet = self._started(plans)
        except StartFailed as failure:
            self._set("RollingBack")
            with self._lock:
                self._pending = None
            self._set("InService", str(failure))
            return
        with self._lock:
            old = self._fleet
            self._switch(fleet, config, retain)
        if old is not None:
            old.stop()
        with self._lock:
            self._pending = None
        self._set("InService")

    def _started(self, plans: Sequence[Plan]) -> Fleet:
        self._next = Fleet(plans, self._settings)
        try:
            self._next.start()
            return self._next
        finally:
            self._next = None

    def _switch(self, fleet: Fleet, config: Any, retain: bool) -> None:
        before = {item["VariantName"]: item for item in self.production_variants} if retain else {}
        self._fleet = fleet
        self.endpoint_config_name = config.endpoint_config_name
        self._data_capture = config.data_capture_config
        self.production_variants = [
            _describe_variant(variant, fleet, before.get(variant["VariantName"], {}))
            for variant in config.production_variants
        ]

    def _set(self, status: str, reason: str | None = None) -> None:
        with self._lock:
            self._reason = reason
            self.last_modified_time = utcnow()
            self.endpoint_status = status

    def _in_background(self, work: Callable[[], None]) -> None:
        threading.Thread(target=work, daemon=True).start()


def _describe_variant(variant: Mapping[str, Any], fleet: Fleet, before: Mapping[str, Any]) -> dict[str, Any]:
    weight = before.get("DesiredWeight", variant.get("InitialVariantWeight", 1.0))
    count = before.get("DesiredInstanceCount", variant.get("InitialInstanceCount"))
    image, now = fleet.image(variant["VariantName"]), utcnow()
    shown: dict[str, Any] = {
        "VariantName": variant["VariantName"],
        "DeployedImages": [{"SpecifiedImage": image, "ResolvedImage": image, "ResolutionTime": now}],
        "CurrentWeight": weight,
        "DesiredWeight": weight,
    }
    if count is not None:
        shown |= {"CurrentInstanceCount": count, "DesiredInstanceCount": count}
    if variant.get("ServerlessConfig"):
        shown |= {f"{when}ServerlessConfig": variant["ServerlessConfig"] for when in ("Current", "Desired")}
    return shown


def _run_in_parallel(calls: Sequence[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
