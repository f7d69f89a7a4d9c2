"""SageMaker whose endpoints serve: moto's store with AWS's rules, and a process behind each variant."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from moto.core.responses import ActionResult
from moto.iam.models import iam_backends
from moto.sagemaker.exceptions import ValidationError
from moto.sagemaker.models import (
    FakeEndpointConfig,
    SageMakerModelBackend,
    sagemaker_backends,
)
from moto.sagemaker.responses import SageMakerResponse
from moto.sagemakerruntime.responses import SageMakerRuntimeResponse

from modelbuild_local.aws import process
from modelbuild_local.aws.patching import replace
from modelbuild_local.aws.sagemaker import model_files, rules
from modelbuild_local.aws.sagemaker.endpoint import IN_PROGRESS, Endpoint
from modelbuild_local.aws.sagemaker.runtime import invoke_endpoint
from modelbuild_local.aws.sagemaker.server import Plan
from modelbuild_local.aws.settings import Settings

STARTUP_SECONDS = 240

_STOP_SECONDS = 5.0
_MOST_VARIANTS = 10

_changing = threading.Lock()  # the result of a check must stay true until the change is made


def install(settings: Settings) -> None:
    """Patch moto's SageMaker to run endpoints; call this once, before the server answers."""
    create_model = replace(SageMakerModelBackend, "create_model", None)
    create_config = replace(SageMakerModelBackend, "create_endpoint_config", None)

    def checked_model(self: Any, model_name: str, **options: Any) -> Any:
        _check_model(self, model_name, options)
        return create_model(self, model_name, **options)

    def checked_config(self: Any, endpoint_config_name: str, **options: Any) -> Any:
        _check_config(self, endpoint_config_name, options)
        return create_config(self, endpoint_config_name, **options)

    def create_endpoint(self: Any, endpoint_name: str, endpoint_config_name: str, tags: Any) -> Endpoint:
        rules.check_name(endpoint_name, "endpointName")
        rules.check_tags(tags or [])
        _refuse_existing(self, "endpoint", "endpoint", endpoint_name, self.endpoints)
        config = _find(
            self, "endpoint configuration", "endpoint-config", endpoint_config_name, self.endpoint_configs
        )
        plans = _plans(self, endpoint_name, config)
        endpoint = Endpoint(settings, self.account_id, self.region_name, endpoint_name, tags)
        self.endpoints[endpoint_name] = endpoint
        endpoint.create(config, plans)
        return endpoint

    replace(SageMakerModelBackend, "create_model", _one_at_a_time(checked_model))
    replace(SageMakerModelBackend, "create_endpoint_config", _one_at_a_time(checked_config))
    replace(SageMakerModelBackend, "create_endpoint", _one_at_a_time(create_endpoint))
    replace(SageMakerModelBackend, "delete_endpoint", _one_at_a_time(_delete_endpoint))
    replace(SageMakerModelBackend, "describe_endpoint", _describe_endpoint)
    replace(SageMakerModelBackend, "_get_resource_from_arn", _by_arn)
    replace(SageMakerModelBackend, "add_tags", _add_tags)
    replace(FakeEndpointConfig, "validate_instance_type", lambda _, value: rules.check_instance_type(value))
    replace(SageMakerResponse, "describe_model", _describe_model)
    unknown_to_moto: Any = SageMakerResponse
    unknown_to_moto.update_endpoint = _one_at_a_time(_update_endpoint)
    replace(SageMakerRuntimeResponse, "invoke_endpoint", invoke_endpoint)
    replace(SageMakerRuntimeResponse, "use_raw_body", True)


def stop() -> None:
    """End the processes of all endpoints."""
    for regions in sagemaker_backends.values():
        for backend in regions.values():
            endpoints: list[Any] = list(backend.endpoints.values())
            for endpoint in endpoints:
                endpoint.prevent_restarts()
    process.stop_all(_STOP_SECONDS)


def _one_at_a_time(change: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(change)
    def alone(*arguments: Any, **options: Any) -> Any:
        with _changing:
            return change(*arguments, **options)

    return alone


def _check_model(backend: Any, name: str, options: Mapping[str, Any]) -> None:
    rules.check_name(name, "modelName")
    rules.check_role(options.get("execution_role_arn"))
    rules.check_tags(options.get("tags") or [])
    single, several = options.get("primary_container"), options.get("containers") or []
    if bool(single) == bool(several):
        raise ValidationError("Exactly one of PrimaryContainer and Containers must be given.")
    if len(several) > 1:
        raise ValidationError("The laptop's SageMaker runs models of one container.")
    rules.check_container(single or several[0])
    _refuse_existing(backend, "model", "model", name, backend._models)
    role = options["execution_role_arn"]
    roles = iam_backends[backend.account_id]["aws"].roles.values()
    if all(candidate.arn != role for candidate in roles):
        raise ValidationError(
            f"Could not assume role {role}. Please ensure that the role exists and allows principal "
            "'sagemaker.amazonaws.com' to assume the role."
        )
    data = _data(single or several[0])
    if data is not None and not model_files.is_there(backend.account_id, data):
        raise ValidationError(f"Could not find model data at {data}.")


def _check_config(backend: Any, name: str, options: Mapping[str, Any]) -> None:
    rules.check_name(name, "endpointConfigName")
    rules.check_tags(options.get("tags") or [])
    variants: Sequence[Mapping[str, Any]] = options.get("production_variants") or []
    rules.check_range(len(variants), "productionVariants", 1, _MOST_VARIANTS)
    for variant in variants:
        rules.check_name(variant["VariantName"], "productionVariants.1.member.variantName")
        where = "productionVariants.1.member."
        rules.check_range(variant.get("InitialInstanceCount"), f"{where}initialInstanceCount", 1, 1000)
        rules.check_range(variant.get("InitialVariantWeight"), f"{where}initialVariantWeight", 0, 1e9)
        for name_of_timeout in ("ContainerStartupHealthCheckTimeout", "ModelDataDownloadTimeout"):
            field = f"{where}{name_of_timeout[0].lower()}{name_of_timeout[1:]}InSeconds"
            rules.check_range(variant.get(f"{name_of_timeout}InSeconds"), field, 60, 3600)
        _find(backend, "model", "model", variant["ModelName"], backend._models)
    if len({variant["VariantName"] for variant in variants}) < len(variants):
        raise ValidationError("Production variant names must be unique within an endpoint configuration.")
    _refuse_existing(backend, "endpoint configuration", "endpoint-config", name, backend.endpoint_configs)


def _update_endpoint(self: Any) -> ActionResult:
    backend, name = self.sagemaker_backend, self._get_param("EndpointName")
    endpoint = _find(backend, "endpoint", "endpoint", name, backend.endpoints)
    config = _find(
        backend,
        "endpoint configuration",
        "endpoint-config",
        self._get_param("EndpointConfigName"),
        backend.endpoint_configs,
    )
    _refuse_in_progress(endpoint)
    if endpoint.endpoint_status != "InService":
        raise ValidationError(
            f'Cannot update endpoint "{endpoint.arn}" with status {endpoint.endpoint_status}; delete it.'
        )
    plans = _plans(backend, name, config)
    retain = bool(self._get_param("RetainAllVariantProperties"))
    endpoint.update(config, plans, self._get_param("DeploymentConfig"), retain)
    return ActionResult({"EndpointArn": endpoint.arn})


def _delete_endpoint(self: Any, endpoint_name: str) -> None:
    endpoint = _find(self, "endpoint", "endpoint", endpoint_name, self.endpoints)
    _refuse_in_progress(endpoint)

    def remove_from_store() -> None:
        self.endpoints.pop(endpoint_name, None)

    endpoint.delete(remove_from_store)


def _describe_endpoint(self: Any, endpoint_name: str) -> dict[str, Any]:
    endpoint: Endpoint = _find(self, "endpoint", "endpoint", endpoint_name, self.endpoints)
    return endpoint.describe()


def _describe_model(self: Any) -> ActionResult:
    backend = self.sagemaker_backend
    model = _find(backend, "model", "model", self._get_param("ModelName"), backend._models)
    shown = {
        "ModelName": model.model_name,
        "ModelArn": model.arn,
        "PrimaryContainer": model.primary_container,
        "Containers": model.containers,
        "ExecutionRoleArn": model.execution_role_arn,
        "VpcConfig": model.vpc_config,
        "CreationTime": model.creation_time,
    }
    present = {key: value for key, value in shown.items() if value}
    return ActionResult({**present, "EnableNetworkIsolation": model.enable_network_isolation})


def _by_arn(self: Any, arn: str) -> Any:
    stores = {
        "model": ("model", self._models),
        "endpoint": ("endpoint", self.endpoints),
        "endpoint-config": ("endpoint configuration", self.endpoint_configs),
    }
    kind, _, name = arn.split(":")[-1].partition("/")
    if kind not in stores:
        raise ValidationError(
            f"The laptop's SageMaker tags models, endpoints and their configurations, not {arn}."
        )
    description, store = stores[kind]
    return _find(self, description, kind, name, store)


def _add_tags(self: Any, arn: str, tags: list[dict[str, str]]) -> list[dict[str, str]]:
    """Moto adds a second tag of the same key; AWS replaces it."""
    resource = _by_arn(self, arn)
    rules.check_tags(tags)
    merged = {tag["Key"]: tag["Value"] for tag in [*resource.tags, *tags]}
    resource.tags = [{"Key": key, "Value": value} for key, value in merged.items()]
    rules.check_tags(resource.tags)
    return list(resource.tags)


def _plans(backend: Any, endpoint: str, config: Any) -> list[Plan]:
    return list(_planned(backend, endpoint, config))


def _planned(backend: Any, endpoint: str, config: Any) -> Iterator[Plan]:
    for variant in config.production_variants:
        model = _find(backend, "model", "model", variant["ModelName"], backend._models)
        container = model.primary_container or model.containers[0]
        yield Plan(
            account=backend.account_id,
            region=backend.region_name,
            endpoint=endpoint,
            config=config.endpoint_config_name,
            variant=variant["VariantName"],
            image=container["Image"],
            data=_data(container),
            environment=container.get("Environment") or {},
            role=model.execution_role_arn,
            isolated=model.enable_network_isolation,
            startup_seconds=variant.get("ContainerStartupHealthCheckTimeoutInSeconds") or STARTUP_SECONDS,
        )


def _data(container: Mapping[str, Any]) -> str | None:
    source = (container.get("ModelDataSource") or {}).get("S3DataSource") or {}
    found = container.get("ModelDataUrl") or source.get("S3Uri")
    return str(found) if found else None


def _arn(backend: Any, kind: str, name: str) -> str:
    return f"arn:aws:sagemaker:{backend.region_name}:{backend.account_id}:{kind}/{name}"


def _find(backend: Any, description: str, kind: str, name: str, store: Mapping[str, Any]) -> Any:
    if name not in store:
        raise ValidationError(f'Could not find {description} "{_arn(backend, kind, name)}".')
    return store[name]


def _refuse_existing(backend: Any, description: str, kind: str, name: str, store: Mapping[str, Any]) -> None:
    """Names are compared without regard to case."""
    if name.lower() in {existing.lower() for existing in store}:
        raise ValidationError(f'Cannot create already existing {description} "{_arn(backend, kind, name)}".')


def _refuse_in_progress(endpoint: Endpoint) -> None:
    if endpoint.endpoint_status in IN_PROGRESS:
        raise ValidationError(f'Cannot update in-progress endpoint "{endpoint.arn}".')
