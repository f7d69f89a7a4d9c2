"""Where a training computes, in which precision, and whether it gives the same each time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def best() -> torch.device:
    """The GPU, or the CPU without one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(device: torch.device, *, mixed: bool) -> torch.dtype:
    """The type that matrices are multiplied in: float32, or with mixed precision a shorter one on a GPU.

    bfloat16 has the range of float32; float16, for GPUs that compute no bfloat16, needs its losses scaled.
    """
    if not mixed or device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def name(dtype: torch.dtype) -> str:
    """The name of a type of numbers, such as float32."""
    return str(dtype).removeprefix("torch.")


@contextmanager
def computing(device: torch.device, precision: torch.dtype) -> Iterator[None]:
    """Compute a model in this precision, and by deterministic operations where these were chosen."""
    with ExitStack() as stack:
        if precision is not torch.float32:
            stack.enter_context(torch.autocast(device.type, dtype=precision))
        if device.type == "cuda" and torch.are_deterministic_algorithms_enabled():
            # The memory-efficient attention adds up its gradients in any order.
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
        yield


def set_deterministic(deterministic: bool) -> None:
    """Allow only operations that give the same bits each time, or all."""
    if deterministic:
        # cuBLAS reads this when it starts; without it, it may choose another algorithm from run to run.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
