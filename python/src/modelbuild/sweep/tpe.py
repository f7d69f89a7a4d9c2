"""Method ``tpe``: Optuna's Parzen estimator chooses candidates by how good the earlier ones are.

Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 2011;
https://optuna.readthedocs.io/en/stable/reference/samplers/generated/optuna.samplers.TPESampler.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import optuna
from pydantic import JsonValue

from modelbuild.contract import Candidate, Dimension, Sweep
from modelbuild.sweep import space


class TpeSampler:
    """Optuna's sampler for the space of a sweep; the same calls give the same candidates.

    Args:
        sweep: what to try.
        defaults: the parameters that apply where a candidate sets none, by dotted name.
    """

    def __init__(self, sweep: Sweep, defaults: Mapping[str, JsonValue]) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sweep = sweep
        self._defaults = defaults
        self._names = space.ordered(sweep.space)
        # Candidates of a round are chosen together: for those without a result the sampler assumes the worst,
        # and so does not choose the same again.
        sampler = optuna.samplers.TPESampler(seed=sweep.seed, constant_liar=True)
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._open: dict[str, optuna.Trial] = {}

    def tell(self, candidate: Candidate, value: float | None) -> None:
        """Take the objective of a candidate, where more is better; None for one that failed."""
        trial = self._open.pop(_key(candidate.values), None)
        failed = optuna.trial.TrialState.FAIL
        if trial is not None:
            self._study.tell(trial, value, state=failed if value is None else None)
        elif value is not None:
            distributions = {name: _distribution(self._sweep.space[name]) for name in candidate.values}
            params = {
                name: _to_optuna(self._sweep.space[name], found) for name, found in candidate.values.items()
            }
            self._study.add_trial(
                optuna.trial.create_trial(params=params, distributions=distributions, value=value)
            )

    def ask(self, count: int) -> list[Mapping[str, JsonValue]]:
        """The values of so many candidates."""
        return [self._ask() for _ in range(count)]

    def _ask(self) -> Mapping[str, JsonValue]:
        trial = self._study.ask()
        applying, tried = dict(self._defaults), dict[str, JsonValue]()
        for name in self._names:
            dimension = self._sweep.space[name]
            if space.applies(dimension, applying):
                tried[name] = applying[name] = _suggest(trial, name, dimension)
        values = dict(sorted(tried.items()))
        self._open[_key(values)] = trial
        return values


def _distribution(dimension: Dimension) -> optuna.distributions.BaseDistribution:
    if dimension.values:
        return optuna.distributions.CategoricalDistribution(range(len(dimension.values)))
    log = dimension.scale == "log"
    if dimension.is_whole:
        low, high = dimension.minimum, dimension.maximum
        assert isinstance(low, int)
        assert isinstance(high, int)
        return optuna.distributions.IntDistribution(low, high, log=log)
    assert dimension.minimum is not None
    assert dimension.maximum is not None
    return optuna.distributions.FloatDistribution(dimension.minimum, dimension.maximum, log=log)


def _suggest(trial: optuna.Trial, name: str, dimension: Dimension) -> JsonValue:
    distribution = _distribution(dimension)
    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        # Optuna takes no lists and maps as choices, so it chooses a position.
        position: Any = trial.suggest_categorical(name, distribution.choices)
        return dimension.values[int(position)]
    if isinstance(distribution, optuna.distributions.IntDistribution):
        return int(trial.suggest_int(name, distribution.low, distribution.high, log=distribution.log))
    assert isinstance(distribution, optuna.distributions.FloatDistribution)
    value = trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    return space.rounded(dimension, value)


def _to_optuna(dimension: Dimension, value: JsonValue) -> Any:
    return dimension.values.index(value) if dimension.values else value


def _key(values: Mapping[str, JsonValue]) -> str:
    return json.dumps(values, sort_keys=True)
