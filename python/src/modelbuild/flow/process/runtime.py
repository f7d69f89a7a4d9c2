"""The runtime that the weights of a model were computed with."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from typing import Any

from modelbuild.contract import Runtime

_PACKAGES = {
    "metaflow": "metaflow",
    "numpy": "numpy",
    "pyarrow": "pyarrow",
    "safetensors": "safetensors",
    "scikit-learn": "sklearn",
    "torch": "torch",
}
"""The module of each package."""


def describe(image: str) -> Runtime:
    """The versions, device and settings of this process; call it after the training in it.

    A process that has not imported torch computes with numpy, on one thread and deterministically.
    """
    torch: Any = sys.modules.get("torch")
    has_gpu = torch is not None and torch.cuda.is_available()
    return Runtime(
        image=image,
        python=platform.python_version(),
        packages={
            name: importlib.metadata.version(name)
            for name, module in _PACKAGES.items()
            if module in sys.modules
        },
        gpu=torch.cuda.get_device_name() if has_gpu else "",
        driver=_driver() if has_gpu else "",
        deterministic=torch is None or torch.are_deterministic_algorithms_enabled(),
        threads=1 if torch is None else torch.get_num_threads(),
    )


def _driver() -> str:
    """The version of NVIDIA's driver; empty if ``nvidia-smi`` is missing."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        result = subprocess.run(
            query, capture_output=True, encoding="utf-8", errors="replace", timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.split("\n")[0].strip()
