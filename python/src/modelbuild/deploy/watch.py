"""Waits for an endpoint to come to a configuration."""

from __future__ import annotations

from modelbuild import log
from modelbuild.aws.sagemaker import Endpoint, SageMaker
from modelbuild.aws.storage import NotFound
from modelbuild.clock import Clock
from modelbuild.errors import EndpointFailed

_CHANGING = {"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"}
_BROKEN = {"Failed", "UpdateRollbackFailed", "OutOfService"}
_STUCK = {"UpdateRollbackFailed", "OutOfService", "Deleting"}
"""In these, an endpoint does not come to the configuration that it has."""
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 15.0
_SHOWN_SECONDS = 5.0
"""How long SageMaker may show an endpoint as it was before a change that has begun."""
_UNSEEN_SECONDS = 60.0
"""After which an endpoint that still runs what it ran before an update has undone it, between two looks."""


class StillChanging(EndpointFailed):
    """The endpoint is on its way to another configuration at the end of option ``timeout``."""


class RolledBack(EndpointFailed):
    """SageMaker has undone an update, and the endpoint runs again what it ran before."""


class Deleted(EndpointFailed):
    """Another program has deleted the endpoint."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(f"endpoint {endpoint} was deleted in the meantime: retry this step to create it")


class EndpointWatch:
    """Polls an endpoint and logs changes of its status."""

    def __init__(self, endpoint: str, config: str, sagemaker: SageMaker, clock: Clock, until: float) -> None:
        self._endpoint = endpoint
        self._config = config
        self._sagemaker = sagemaker
        self._clock = clock
        self._until = until
        self._logged_status = ""
        self._wait = _FIRST_WAIT

    def until_stable(self) -> Endpoint | None:
        """Wait until no other program changes or deletes the endpoint; returns the endpoint, or None if it
        does not exist.

        Raises:
            EndpointFailed: SageMaker can only delete the endpoint.
            StillChanging: another program changes it for longer than option ``timeout``.
            AwsError: SageMaker refused.
        """
        while True:
            try:
                found = self._poll()
            except NotFound:
                return None
            if found.status == "Failed":
                raise EndpointFailed(self._broken(found, ""))
            towards = found.pending_config or (found.config if found.status == "Creating" else "")
            if found.status not in _CHANGING or (found.status != "RollingBack" and towards == self._config):
                return found
            self._pause()

    def has_begun(self) -> bool:
        """Whether the endpoint runs the configuration, or is on its way to it."""
        until = self._clock.now() + _SHOWN_SECONDS
        while True:
            try:
                found = self._poll()
            except NotFound:
                return False
            if found.status not in _STUCK and (found.pending_config or found.config) == self._config:
                return True
            if self._clock.now() >= until:
                return False
            self._clock.sleep(1.0)

    def until_served(self, before: str) -> Endpoint:
        """Wait until the endpoint is in service with the configuration, and no deployment runs.

        Args:
            before: the configuration that it ran before, to which SageMaker returns after a failure.

        Raises:
            EndpointFailed: SageMaker could not do it, or another program has updated or deleted the endpoint.
            StillChanging: it takes longer than option ``timeout``.
            AwsError: SageMaker refused.
        """
        name = self._endpoint
        changing = False
        began = self._clock.now()
        while True:
            seconds = self._clock.now() - began
            is_before = not changing and seconds < _SHOWN_SECONDS
            try:
                found = self._poll()
            except NotFound:
                if not is_before:
                    raise Deleted(name) from None
                self._pause()
                continue
            arrived = found.status == "InService" and not found.pending_config
            if arrived and found.config == self._config:
                return found
            if found.status == "Failed" or (found.status in _BROKEN and not is_before):
                raise EndpointFailed(self._broken(found, before))
            if arrived and found.config not in (before, ""):
                raise EndpointFailed(
                    f"endpoint {name} runs {found.config}, to which another deployment has updated it in the "
                    "meantime: if this one is to be served, start a new build"
                )
            if arrived and (changing or seconds >= _UNSEEN_SECONDS):
                raise RolledBack(
                    f"endpoint {name} was rolled back to {found.config} ({_reason(found)}): look at log "
                    f"group {self._logs()}"
                )
            changing = changing or found.status in _CHANGING
            self._pause()

    def _broken(self, found: Endpoint, before: str) -> str:
        """What is wrong with an endpoint that SageMaker could not update, and what a person can do."""
        name, command = self._endpoint, "run aws sagemaker"
        says = f"endpoint {name} is {found.status} ({_reason(found)})"
        if found.status == "Failed":
            fix = f"{command} delete-endpoint --endpoint-name {name}, then retry this step"
            return f"{says}, and SageMaker can only delete it: {fix}; its log group is {self._logs()}"
        if before:
            fix = f"{command} update-endpoint --endpoint-name {name} --endpoint-config-name {before}"
            mix = f", and it serves a mix of {before} and {self._config}"
            serves = mix if found.status == "UpdateRollbackFailed" else ""
            return f"{says}{serves}: to put it back, {fix}; its log group is {self._logs()}"
        return f"{says}: look at log group {self._logs()}"

    def _poll(self) -> Endpoint:
        found = self._sagemaker.endpoint(self._endpoint)
        status = f"{found.status}, runs {found.config or 'nothing'}"
        if found.pending_config:
            status += f", on the way to {found.pending_config}"
        if status != self._logged_status:
            log.info(f"endpoint {self._endpoint}: {status}")
        self._logged_status = status
        return found

    def _pause(self) -> None:
        if self._clock.now() >= self._until:
            raise StillChanging(
                f"endpoint {self._endpoint} is still {self._logged_status} at the end of option timeout "
                f"(look at log group {self._logs()}, and raise timeout if it needs longer)"
            )
        self._clock.sleep(self._wait)
        self._wait = min(self._wait * 1.5, _LONGEST_WAIT)

    def _logs(self) -> str:
        return f"/aws/sagemaker/Endpoints/{self._endpoint}"


def _reason(endpoint: Endpoint) -> str:
    return endpoint.reason.rstrip(".") or "SageMaker gave no reason"
