"""Where an ingest computes, decided in one place."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from ..catalogue.errors import UsageError

CPU_BYTES_PER_LOGIT = 4
CUDA_BYTES_PER_LOGIT = 64
"""A sort needs 52: logits, values, int64 orders, and two rounds of sorted (position, row) pairs."""

CPU_LARGEST_BLOCK = 1024
"""Features a block where there is memory for more, so that progress shows."""

CUDA_LARGEST_BLOCK = 4096
"""A row is a program or two of a GPU that runs some thousands at once."""

_DEFAULT_CPU_MEMORY = 1 << 30


@dataclass(frozen=True)
class Options:
    """How to compute. Device, memory, block and threads change no result; the others do.

    Attributes:
        device: auto (CUDA where there is one), cpu, cuda, cuda:N or cuda:all.
        memory: Budget in bytes for a block of features; None takes 1 GiB, on CUDA half of the free memory.
        block: Features a block, instead of a budget.
        threads: CPU threads; None takes all.
        null: Covariance of the random directions: decoder or isotropic.
        directions: Random directions R for nes and log10_p_es; 0 leaves those NULL.
        seed: Seed of the random directions.
        weight: Exponent of |logit| that weights the hits of es; 0 is the unweighted score, 1 GSEA's.
    """

    device: str = "auto"
    memory: int | None = None
    block: int | None = None
    threads: int | None = None
    null: Literal["decoder", "isotropic"] = "decoder"
    directions: int = 2000
    seed: int = 0
    weight: float = 0.0


ALL_GPUS = "cuda:all"


def resolve_devices(name: str) -> list[torch.device]:
    """Return the devices to compute on: all GPUs for cuda:all, else the one of `resolve_device`.

    Raises:
        UsageError: An unknown name, or CUDA where there is none.
    """
    first = resolve_device(name)
    if name != ALL_GPUS:
        return [first]
    return [torch.device("cuda", index) for index in range(torch.cuda.device_count())]


def resolve_device(name: str) -> torch.device:
    """Return the torch device that `name` (auto, cpu, cuda, cuda:N) stands for here; of cuda:all, the first.

    Raises:
        UsageError: An unknown name, or CUDA where there is none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if not re.fullmatch(r"cuda(:(\d+|all))?", name):
        raise UsageError(f"unknown device {name!r}; use auto, cpu, cuda, cuda:N or cuda:all")
    index = 0 if name == ALL_GPUS else int(name.partition(":")[2] or 0)
    if not torch.cuda.is_available() or index >= torch.cuda.device_count():
        raise UsageError(f"no {name} here ({torch.cuda.device_count()} CUDA devices); use --device cpu")
    return torch.device("cuda", index)


class BlockLimits(NamedTuple):
    """What bounds a block of features: bytes in all, bytes a logit takes, and a number of features."""

    memory: int
    bytes_per_logit: int
    features: int


def block_limits(device: torch.device, asked: int | None) -> BlockLimits:
    """Return the limits of a block on a device; `asked` is a budget in bytes instead of the device's own."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What torch has kept from an earlier block is free to the next one.
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return BlockLimits(asked or free // 2, CUDA_BYTES_PER_LOGIT, CUDA_LARGEST_BLOCK)
    return BlockLimits(asked or _DEFAULT_CPU_MEMORY, CPU_BYTES_PER_LOGIT, CPU_LARGEST_BLOCK)
