"""Reads the class of a flow from its file, without running it.

As a program, it writes what the jobs of the flow's steps ask for into a file, as JSON: ``python -m
modelbuild.flow.sweep.load flow.py sizes.json``.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

from modelbuild.errors import ConfigurationError
from modelbuild.flow import training
from modelbuild.flow.base import ModelFlow
from modelbuild.flow.process.step_runs import resources


def flow_class(file: Path) -> type[ModelFlow]:
    """The flow in a file, whose folder the file imports its own modules from.

    Raises:
        ConfigurationError: the file has no flow, or several, or a step has a name that the flow inherits.
    """
    sys.path.insert(0, str(file.parent.resolve()))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ModelFlow) and value.__module__ == file.stem
    ]
    if len(found) != 1:
        raise ConfigurationError(
            f"{file.name} has {len(found)} subclasses of ModelFlow: a sweep needs a file with exactly one"
        )
    training.steps(found[0])
    return found[0]


if __name__ == "__main__":
    found = resources(flow_class(Path(sys.argv[1])))
    Path(sys.argv[2]).write_text(json.dumps(found), encoding="utf-8")
