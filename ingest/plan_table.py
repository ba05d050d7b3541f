"""A plan for people and for programs: a table on stdout, what it comes to on stderr."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..catalogue.cli_common import emit_answer
from ..catalogue.formats import Answer, Format
from .plan import Planned

_UNKNOWN = "?"
_FOR_PEOPLE = ("table", "md", "latex")
_COLUMNS = {
    "sae": "VARCHAR",
    "status": "VARCHAR",
    "features": "INTEGER",
    "sets": "INTEGER",
    "rows": "BIGINT",
    "disk_bytes": "BIGINT",
    "memory_bytes": "BIGINT",
    "seconds": "DOUBLE",
}


def emit_plan(planned: Sequence[Planned], form: Format | None) -> None:
    """Write a plan to stdout: exact numbers for programs, readable ones in a table."""
    form = form or (Format.TABLE if sys.stdout.isatty() else Format.CSV)
    is_for_people = form.value in _FOR_PEOPLE
    names = [name.removesuffix("_bytes") for name in _COLUMNS] if is_for_people else list(_COLUMNS)
    rows = _readable_rows(planned) if is_for_people else _exact_rows(planned)
    emit_answer(Answer(names, list(_COLUMNS.values()), rows, not planned), form)


def plan_lines(planned: Sequence[Planned], path: Path, folder: Path | None) -> Iterator[str]:
    """Yield what a plan comes to, a line each: how many, how much, how long.

    Args:
        planned: The plan.
        path: The catalogue or dataset.
        folder: The folder on whose disk it is to be; None in an object store.
    """
    counts = Counter(item.status for item in planned)
    yield f"{len(planned)} SAEs: {', '.join(f'{count:,} {status}' for status, count in counts.items())}"
    n_unknown = sum(item.n_features is None for item in planned)
    disk, n_rows = _total(item.disk_bytes for item in planned), _total(item.n_rows for item in planned)
    scratch = sorted(item.scratch_bytes or 0 for item in planned)[-2:]
    memory = max((item.memory_bytes or 0 for item in planned), default=0)
    if n_rows:
        # One is written while the next is computed: two of these files are there at once.
        yield (
            f"{n_rows:,} rows: about {size_text(disk)} more in {path.name}, up to {size_text(sum(scratch))} beside it"
            f" meanwhile, {size_text(memory)} of memory"
        )
        timed = [item.seconds for item in planned if item.seconds is not None]
        if len(timed) == len(planned) - n_unknown:
            yield f"about {time_text(sum(timed))}, by the newest runs in {path.name}"
        else:
            yield f"time unknown: {path.name} has no run on such a device to go by"
        free = None if folder is None else shutil.disk_usage(folder).free
        if free is not None and free < disk + sum(scratch):
            yield f"the disk has {size_text(free)} free: too little"
    if n_unknown:
        yield f"{n_unknown} of unknown size, which come on top: their number of features is in files not read yet"


def size_text(n_bytes: int) -> str:
    """Return bytes for people: 850 MB, 1.8 GB."""
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{max(n_bytes, 0) / 1e6:,.0f} MB"


def time_text(seconds: float) -> str:
    """Return a time for people: 40 s, 12 min, 2 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _total(values: Iterable[int | None]) -> int:
    return sum(value for value in values if value is not None)


def _exact_rows(planned: Sequence[Planned]) -> Iterator[tuple[Any, ...]]:
    for item in planned:
        seconds = None if item.seconds is None else round(item.seconds, 1)
        yield (
            *(item.name, item.status, item.n_features, item.n_sets, item.n_rows),
            *(item.disk_bytes, item.memory_bytes, seconds),
        )


def _readable_rows(planned: Sequence[Planned]) -> Iterator[tuple[Any, ...]]:
    for item in planned:
        yield (
            item.name,
            item.status,
            *(_shown(value, "{:,}".format) for value in (item.n_features, item.n_sets, item.n_rows)),
            *(_shown(value, size_text) for value in (item.disk_bytes, item.memory_bytes)),
            _shown(item.seconds, time_text),
        )


def _shown(value: Any, show: Callable[[Any], str]) -> str:
    return _UNKNOWN if value is None else show(value)
