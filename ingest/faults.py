"""Which faults are one dictionary's own, so that an unattended ingest may go on with the next one."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

import duckdb
import torch

from ..catalogue.errors import FeatdexError, NotFoundError, QueryError, WeightsError


def is_of_one_dictionary(fault: FeatdexError) -> bool:
    """Whether the next dictionary may well do better: not where the catalogue, the request or the disk is at fault."""
    cause = fault.__cause__
    is_of_disk = isinstance(cause, duckdb.IOException | duckdb.FatalException) or (
        isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    )
    return isinstance(fault, WeightsError | NotFoundError | QueryError) and not is_of_disk


@contextlib.contextmanager
def within_memory(slug: str) -> Iterator[None]:
    """Turn a lack of memory, which a smaller dictionary may not meet, into a `WeightsError`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        is_of_memory = isinstance(error, MemoryError | torch.cuda.OutOfMemoryError)
        # So torch says it of the CPU.
        if not is_of_memory and "can't allocate memory" not in str(error):
            raise
        raise WeightsError(
            f"{slug} needs more memory than there is; give blocks less with --memory SIZE, or try --device cpu"
        ) from error
