"""How a process joins a Ray cluster: quietly, and without waiting minutes for one that is not there."""

from __future__ import annotations

import logging
import re
import socket
import warnings
from typing import Any

from .errors import FeatdexError, UsageError

THIS_MACHINE = "local"
"""The address that stands for a cluster of this machine alone, started for this process."""

_SECONDS = 5


def join(ray: Any, address: str, environment: dict[str, str] | None = None) -> None:
    """Join the cluster at an address, unless this process is in one.

    Args:
        ray: The module.
        address: `local`, `auto` (the cluster that this machine is part of), HOST:PORT, or ray://HOST:PORT.
        environment: Variables of the cluster's tasks.

    Raises:
        UsageError: It is no address.
        FeatdexError: There is no cluster.
    """
    if ray.is_initialized():
        return
    _require_somebody(address)
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": logging.ERROR}
    if environment:
        options["runtime_env"] = {"env_vars": environment}
    if address == THIS_MACHINE:
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(**options)
    except Exception as error:
        raise FeatdexError(_no_cluster(address, " ".join(str(error).split())[:200])) from error


def _require_somebody(address: str) -> None:
    """Raise `FeatdexError` where nobody listens at an address: Ray itself would try for two minutes."""
    if address in (THIS_MACHINE, "auto"):
        return
    place = re.fullmatch(r"(?:ray://)?\[?([^\s/\]]+?)\]?:(\d{1,5})", address)
    if not place or int(place[2]) > 65535:
        raise UsageError(f"--ray {address!r} is no address; name HOST:PORT, ray://HOST:PORT, auto or {THIS_MACHINE}")
    try:
        socket.create_connection((place[1], int(place[2])), _SECONDS).close()
    except OSError as error:
        raise FeatdexError(_no_cluster(address, error.strerror or str(error))) from error


def _no_cluster(address: str, reason: str) -> str:
    return f"no Ray cluster at {address} ({reason}); 'ray status' on one of its machines tells, 'ray start' starts one"
