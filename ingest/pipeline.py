"""From a model, its dictionaries of features and token sets to rows in a catalogue, one dictionary at a time.

Nothing is open while numbers are computed; each dictionary is written whole, in one transaction, or not at all. What
the ledger shows as current is not computed again.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

from ..catalogue.file import DEFAULT_WAIT_SECONDS, create, require_writable_folder, writing
from ..catalogue.write import LedgerEntry, SaeRows, ledger, require_same_model, write_sae
from .device import Options, resolve_device
from .inputs import FeatureDictionary, LanguageModel, TokenSet
from .rows import ModelFacts, Work, computed_rows, is_current, run_params, within_universe

_WRITE_WAIT_SECONDS = 3600.0


@dataclass(frozen=True)
class Job:
    """One dictionary to ingest: `load` reads its weights when its turn comes."""

    label: str
    load: Callable[[], FeatureDictionary]


@runtime_checkable
class Reporter(Protocol):
    """What an ingest tells while it works."""

    def start(self, label: str, position: int, n_jobs: int) -> None:
        """A dictionary's turn has come."""

    def loaded(self, slug: str, n_features: int) -> None:
        """Its weights are read."""

    def advance(self, n_features: int) -> None:
        """So many of its features are done."""

    def finish(self, slug: str, line: str) -> None:
        """It is written, or skipped; `line` says which."""


@dataclass(frozen=True)
class Outcome:
    """How many dictionaries an ingest wrote and how many were current already."""

    written: int
    current: int


def ingest(
    path: str | os.PathLike[str],
    model: LanguageModel,
    jobs: Sequence[Job],
    sets: Sequence[TokenSet],
    *,
    options: Options,
    reporter: Reporter,
    narrate: Callable[[str], None],
    force: bool = False,
    wait: float = DEFAULT_WAIT_SECONDS,
) -> Outcome:
    """Compute and write every job's dictionary; what the ledger has is skipped unless `force`.

    Args:
        path: The catalogue; made if it is not there.
        wait: Seconds to wait at the start for whoever holds the catalogue. A computed dictionary waits an hour.

    Raises:
        FeatdexError: Of any part, in one line; dictionaries written before stay, and nothing else changes.
    """
    resolve_device(options.device)
    work = Work(path, model, ModelFacts.of(model), [within_universe(item, model.universe) for item in sets], options)
    known = _prepare(work, wait, narrate)
    outcome = Outcome(0, 0)
    # DuckDB writes one dictionary while the next is computed; no more than one waits to be written.
    pending = _Pending(reporter)
    with ThreadPoolExecutor(max_workers=1) as writer, contextlib.closing(pending):
        for position, job in enumerate(jobs, start=1):
            reporter.start(job.label, position, len(jobs))
            dictionary = job.load()
            reporter.loaded(dictionary.slug, dictionary.d_sae)
            params = run_params(work, dictionary)
            if not force and is_current(known.get(dictionary.slug), params):
                reporter.finish(dictionary.slug, f"{dictionary.slug}: current, skipped")
                outcome = replace(outcome, current=outcome.current + 1)
                continue
            started = time.monotonic()
            rows = computed_rows(work, dictionary, params, reporter.advance, started)
            pending.close()
            line = _line(dictionary, len(work.sets), time.monotonic() - started)
            pending.add(dictionary.slug, line, writer.submit(_write, work.path, rows, narrate))
            outcome = replace(outcome, written=outcome.written + 1)
    return outcome


def _prepare(work: Work, wait: float, narrate: Callable[[str], None]) -> dict[str, LedgerEntry]:
    """Fail before the work, rather than after it, where the result can't be written; return what is there already."""
    if not Path(work.path).exists():
        require_writable_folder(work.path)
        return {}
    with writing(work.path, wait=wait, narrate=narrate) as connection:
        require_same_model(connection, work.model_row())
    return ledger(work.path, wait=wait)


def _write(path: str | os.PathLike[str], rows: SaeRows, narrate: Callable[[str], None]) -> float:
    """Write one dictionary, and return the seconds it took."""
    started = time.monotonic()
    create(path)
    write_sae(path, rows, wait=_WRITE_WAIT_SECONDS, narrate=narrate)
    return time.monotonic() - started


class _Pending:
    """The dictionary that is being written, if any."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._written: tuple[str, str, Future[float]] | None = None

    def add(self, slug: str, line: str, written: Future[float]) -> None:
        self._written = (slug, line, written)

    def close(self) -> None:
        """Wait for the write, raise its fault here, and tell of it."""
        if self._written is not None:
            slug, line, written = self._written
            self._written = None
            self._reporter.finish(slug, f"{line}, written in {written.result():.1f} s")


def _line(dictionary: FeatureDictionary, n_sets: int, seconds: float) -> str:
    rate = dictionary.d_sae / max(seconds, 1e-9)
    return (
        f"{dictionary.slug}: {dictionary.d_sae:,} features x {n_sets} sets in {seconds:.1f} s ({rate:,.0f} features/s)"
    )
