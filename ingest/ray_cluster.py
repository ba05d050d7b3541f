"""Ray, which spreads an ingest over the GPUs and CPUs of one machine or of many: found, started, told what to say.

Only `ingest --ray` imports it. Nothing is sent anywhere but to the nodes of the cluster.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from ..catalogue.errors import FeatdexError, UsageError
from ..catalogue.ray_connection import join
from .ray_blocks import CPU_BLOCK_FEATURES, CUDA_BLOCK_FEATURES


class Cluster(NamedTuple):
    """A cluster that is connected: what its tasks ask for, and how many of them run at once."""

    device: str
    num_gpus: int
    n_slots: int

    @property
    def resources(self) -> dict[str, int]:
        """Options of a task that computes."""
        # By itself Ray ends a process after one task on a GPU; the next would import torch all over again.
        return {"num_gpus": self.num_gpus, "num_cpus": 1, "max_calls": 0}

    @property
    def block_features(self) -> int:
        """Features of a block."""
        return CUDA_BLOCK_FEATURES if self.num_gpus else CPU_BLOCK_FEATURES


def load_ray() -> Any:
    """Return the module.

    Raises:
        FeatdexError: It is not installed.
    """
    # What it says of usage goes to its makers, and what it says of GPUs is for schedulers of others.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
    except ImportError as error:
        raise FeatdexError(f"--ray needs Ray ({error}); pip install 'featdex[ray]'") from error
    return ray


@contextmanager
def connected(address: str, device: str) -> Iterator[Cluster]:
    """Connect to the cluster at an address, and leave it at the end; one of this machine alone ends with it.

    Args:
        address: `local`, `auto` (the cluster that this machine is part of), or HOST:PORT; see `ray_connection.join`.
        device: auto, cpu or cuda: what the tasks compute on.

    Raises:
        FeatdexError: Ray is not installed, or there is no cluster.
        UsageError: A device that a cluster does not have.
    """
    if device not in ("auto", "cpu", "cuda", "cuda:all"):
        raise UsageError(f"--device {device} is of one machine; with --ray it is auto, cpu or cuda")
    ray = load_ray()
    is_ours = not ray.is_initialized()
    join(ray, address)
    try:
        yield _cluster(ray, device)
    finally:
        if is_ours:
            ray.shutdown()


def _cluster(ray: Any, device: str) -> Cluster:
    has = ray.cluster_resources()
    n_gpus, n_cpus = int(has.get("GPU", 0)), int(has.get("CPU", 1))
    if device.startswith("cuda") and not n_gpus:
        raise UsageError("the cluster has no GPU; use --device cpu")
    if device == "cpu" or not n_gpus:
        return Cluster("cpu", 0, n_cpus)
    return Cluster("cuda", 1, n_gpus)
