"""What the steps of a training cost by a price file: a part of an EC2 instance, or what they asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from modelbuild.contract import StepInstance, StepRun
from modelbuild.contract.report import CostLine
from modelbuild.errors import ConfigurationError
from modelbuild.formats import agent_yaml
from modelbuild.formats.validation import first_error

DEFAULT = Path(__file__).with_name("prices.yaml")

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Prices(BaseModel):
    """A price file.

    Attributes:
        instance_hour: prices of whole instances by type; ``g5.xlarge spot`` is that of a spot instance.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: Annotated[str, Field(min_length=1, max_length=10)]
    vcpu_hour: Price = Field(alias="vcpu-hour")
    gib_hour: Price = Field(alias="gib-hour")
    gpu_hour: Price = Field(alias="gpu-hour")
    instance_hour: dict[str, Price] = Field({}, alias="instance-hour")

    def of_instance(self, instance: StepInstance) -> float | None:
        """The price of an hour; without a spot price, that on demand; None if there is neither."""
        on_demand = self.instance_hour.get(instance.type)
        return self.instance_hour.get(f"{instance.type} spot", on_demand) if instance.spot else on_demand


def read_prices(path: Path = DEFAULT) -> Prices:
    """Read a price file.

    Raises:
        ConfigurationError: it cannot be read, or lacks a price.
    """
    try:
        return Prices.model_validate(agent_yaml.load(path.read_bytes()))
    except OSError as error:
        raise ConfigurationError(f"the price file {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise ConfigurationError(f"the price file {path} has no prices: {first_error(error)}") from error
    except ValueError as error:
        raise ConfigurationError(f"the price file {path} is not YAML: {error}") from error


def cost(steps: Sequence[StepRun], prices: Prices) -> tuple[CostLine, ...]:
    """A line for each step, with the tasks of a foreach together; what ran in the head has no price."""
    lines: dict[tuple[str, str], CostLine] = {}
    for run in steps:
        resources = _resources(run)
        line, price = lines.get((run.step, resources)), _price(run, prices)
        if line is not None:
            price = None if price is None or line.price is None else line.price + price
        lines[run.step, resources] = CostLine(
            step=run.step,
            seconds=run.seconds + (line.seconds if line else 0.0),
            resources=resources,
            price=price,
        )
    return tuple(lines.values())


def _price(run: StepRun, prices: Prices) -> float | None:
    if run.cpu is None or run.memory is None:
        return None
    an_hour = None if run.instance is None else prices.of_instance(run.instance)
    if run.instance is not None and an_hour is not None:
        an_hour *= min(1.0, run.cpu / run.instance.vcpus)
    else:
        an_hour = run.cpu * prices.vcpu_hour + run.memory / 1024 * prices.gib_hour + run.gpu * prices.gpu_hour
    return an_hour * run.seconds / 3600


def _resources(run: StepRun) -> str:
    if run.cpu is None or run.memory is None:
        return "in the job of the head"
    size = f"{run.cpu} vCPU, {run.memory / 1024:g} GiB{f', {run.gpu} GPU' if run.gpu else ''}"
    if run.instance is None:
        return size
    return f"{size} of {run.instance.type}{' (spot)' if run.instance.spot else ''}"
