"""What a sweep tries: many candidates for one model, of which a person deploys one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, StringConstraints, model_validator
from typing_extensions import Self

from modelbuild.contract.record import Record

MAXIMUM_CANDIDATES = 10_000
"""The most candidates of one sweep: Batch's limit of the children of an array job."""

OFFERED = 10
"""How many of the best candidates a person can choose from."""

Bound = Annotated[float, Field(allow_inf_nan=False)]
ParameterName = Annotated[str, Field(min_length=1, max_length=200)]


class Dimension(Record):
    """The values to try for one parameter: a list, or a range of numbers.

    A range between whole numbers has whole numbers only.
    """

    values: tuple[JsonValue, ...] = ()
    minimum: int | Bound | None = None
    maximum: int | Bound | None = None
    scale: Literal["linear", "log"] = "linear"
    count: int | None = Field(None, ge=2, le=MAXIMUM_CANDIDATES)
    """How many values of a range a grid has, from the minimum to the maximum."""
    when: dict[ParameterName, tuple[JsonValue, ...]] = Field(default_factory=dict)
    """Values of other parameters with which this one is tried; with others it keeps the file's value."""

    @model_validator(mode="before")
    @classmethod
    def _from_shorthand(cls, value: Any) -> Any:
        """Accept a list in place of ``values``, and one value in place of a list in ``when``."""
        if isinstance(value, list):
            return {"values": value}
        if isinstance(value, dict) and isinstance(when := value.get("when"), dict):
            some = {name: tuple(v) if isinstance(v, list | tuple) else (v,) for name, v in when.items()}
            return {**value, "when": some}
        return value

    @model_validator(mode="after")
    def _is_a_list_or_a_range(self) -> Self:
        if self.values:
            if any(other is not None for other in (self.minimum, self.maximum, self.count)):
                raise ValueError("it has values and a range: keep one of the two")
            return self
        if self.minimum is None or self.maximum is None:
            raise ValueError("it needs values, or a minimum and a maximum")
        if self.minimum >= self.maximum:
            raise ValueError(f"its minimum {self.minimum} must be below its maximum {self.maximum}")
        if self.scale == "log" and self.minimum <= 0:
            raise ValueError(f"its scale is log, so its minimum {self.minimum} must be above 0")
        return self

    @property
    def is_whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return isinstance(self.minimum, int) and isinstance(self.maximum, int)


class Objective(Record):
    """The metric by which candidates are ranked; by default the primary metric of the evaluation."""

    metric: str | None = None
    direction: Literal["maximize", "minimize"] | None = None
    """By default the direction that the evaluation states for the metric."""


_OF_THE_MODEL = ("model_bytes", "latency_seconds")
"""Figures that are no metrics of an evaluation."""


class Constraint(Record):
    """A limit that a candidate must meet to be chosen, on the validation rows."""

    metric: Annotated[str, Field(min_length=1)]
    """A metric of the evaluation, ``model_bytes`` or ``latency_seconds``."""
    slice: Annotated[str, StringConstraints(pattern=r"^[^=]+=.+$")] | None = None
    """``<column>=<value>``: the limit is for the metric of these rows."""
    minimum: Bound | None = None
    maximum: Bound | None = None

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.minimum is None and self.maximum is None:
            raise ValueError("it needs a minimum or a maximum")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(
                f"minimum {self.minimum:g} is above maximum {self.maximum:g}, so no candidate meets it: "
                "exchange them"
            )
        if self.slice is not None and self.metric in _OF_THE_MODEL:
            raise ValueError(f"{self.metric} is of the model and not of a slice: leave slice out")
        return self


class Halving(Record):
    """Successive halving: candidates begin with a small value of a parameter, and the best go on with more.

    Source: Jamieson and Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
    AISTATS 2016.
    """

    parameter: ParameterName
    """A parameter by which a training takes longer, such as the number of epochs."""
    minimum: int = Field(ge=1)
    """Its value in the first rung."""
    factor: int = Field(3, ge=2, le=10)
    """In each rung the parameter is so many times larger, and one in so many candidates goes on."""


class Sweep(Record):
    """What a sweep tries: the content of its file."""

    method: Literal["grid", "random", "tpe"]
    space: dict[ParameterName, Dimension] = Field(min_length=1)
    """The values to try, by the dotted name of the parameter."""
    seed: int = Field(1, ge=0, lt=2**32)
    candidates: int | None = Field(None, ge=1)
    """How many candidates there are at most; a grid has all of its points by default."""
    limit: int = Field(1000, ge=1, le=MAXIMUM_CANDIDATES)
    """A sweep with more candidates is refused before anything is submitted."""
    minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """No round begins after so many minutes."""
    money: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """No round begins once the candidates have cost so much, in the currency of the prices."""
    round: int = Field(20, ge=1, le=1000)
    """How many candidates method ``tpe`` chooses before it sees how good they are."""
    max_parallel: int = Field(8, alias="max-parallel", ge=1, le=1000)
    """How many candidates are trained at the same time; it does not change which ones there are."""
    objective: Objective = Objective()
    constraints: tuple[Constraint, ...] = ()
    validation_percent: int = Field(20, alias="validation-percent", ge=1, le=80)
    """How many percent of the keys of the training rows are held out to rank candidates."""
    offered: int = Field(OFFERED, ge=1, le=OFFERED)
    """How many of the best are trained on all training rows, so that a person can choose one of them."""
    early_stopping: Halving | None = Field(None, alias="early-stopping")

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if self.method == "grid":
            continuous = [name for name, found in self.space.items() if not found.values and not found.count]
            if continuous:
                raise ValueError(f"space.{continuous[0]} is a range: a grid needs its count, or values")
        elif self.candidates is None:
            raise ValueError(f"method {self.method} needs candidates, the number of candidates")
        if self.early_stopping and self.early_stopping.parameter in self.space:
            raise ValueError(f"early-stopping sets {self.early_stopping.parameter}, so space must not")
        return self


class Candidate(Record):
    """One candidate before it is trained; its id is ``<model id>.<number>``."""

    number: int = Field(ge=1, le=MAXIMUM_CANDIDATES)
    values: dict[ParameterName, JsonValue]
    """The values that differ between candidates, by the dotted name of the parameter."""
