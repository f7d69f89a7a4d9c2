"""Each folder beside this file has the tests of the flow of that name.

A flow's modules import each other by plain names such as ``parameters``, and two flows may have modules of
one name. So the tests of a flow are collected and run with its folder on ``sys.path``, and without the
modules of other flows in ``sys.modules``.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
FLOWS = HERE.parents[1] / "flows"

_modules: dict[Path, dict[str, ModuleType]] = {}
"""What was imported from the folder of each flow."""


@contextmanager
def modules_of_flow(tests: Path) -> Iterator[None]:
    """Let imports find the modules of the flow that ``tests``, a path below this folder, is about."""
    if HERE not in tests.parents:
        # pytest calls the hooks below for all tests of a run.
        yield
        return
    flow = FLOWS / tests.relative_to(HERE).parts[0]
    sys.path.insert(0, str(flow))
    sys.modules.update(_modules.get(flow, {}))
    try:
        yield
    finally:
        sys.path.remove(str(flow))
        _modules[flow] = {
            name: module
            for name, module in sys.modules.items()
            if str(getattr(module, "__file__", "")).startswith(f"{flow}/")
        }
        for name in _modules[flow]:
            del sys.modules[name]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, Any]:
    """Import the files of tests with their flow's modules."""
    with modules_of_flow(collector.path):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Run tests and their fixtures with their flow's modules."""
    with modules_of_flow(item.path):
        return (yield)
