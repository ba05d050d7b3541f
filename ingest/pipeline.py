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
from .kept import carried_sets, load_kept
from .rows import ModelFacts, Origin, Task, Work, computed_rows, is_current, run_params, within_universe
from .scratch import Scratch

_WRITE_WAIT_SECONDS = 3600.0


@dataclass(frozen=True)
class Job:
    """One dictionary to ingest: `load` reads its weights when its turn comes.

    `origin` is what the user named it by, kept in the ledger so that a later ingest can find it again.
    """

    label: str
    load: Callable[[], FeatureDictionary]
    origin: Origin | None = None


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
            started = time.monotonic()
            with contextlib.ExitStack() as stack:
                # Beside the catalogue, whose disk has to hold the results in any case.
                scratch = stack.enter_context(Scratch(Path(path).absolute().parent))
                task = _task(work, job, dictionary, known.get(dictionary.slug), scratch, force, pending)
                if task is None:
                    reporter.finish(dictionary.slug, f"{dictionary.slug}: current, skipped")
                    outcome = replace(outcome, current=outcome.current + 1)
                    continue
                rows = computed_rows(work, task, scratch, reporter.advance, started)
                pending.close()
                line = _line(task, time.monotonic() - started)
                pending.add(dictionary.slug, line, writer.submit(_write, work.path, rows, stack.pop_all(), narrate))
                outcome = replace(outcome, written=outcome.written + 1)
    return outcome


def _task(
    work: Work,
    job: Job,
    dictionary: FeatureDictionary,
    entry: LedgerEntry | None,
    scratch: Scratch,
    force: bool,
    pending: _Pending,
) -> Task | None:
    """Return what there is to compute of a dictionary, None where the catalogue has it all.

    Its results stay where the weights and parameters are the same, and only sets that it has none of are computed.
    Otherwise everything is, and the sets that it was tested against before are too: no result goes without a new one.
    """
    params = run_params(work, dictionary)
    if entry is None:
        return Task(dictionary, job.origin, params, work.sets, None)
    same = not force and is_current(entry, params)
    wanted = {item.name: item.members_sha256 for item in work.sets}
    if same and wanted.items() <= entry.sets.items():
        return None
    # In one process DuckDB can't read a file that it has open for writing.
    pending.close()
    carried = carried_sets(work.path, dictionary.slug, wanted)
    if not same:
        kept_sets = [within_universe(item, work.model.universe) for item in carried]
        return Task(dictionary, job.origin, params, [*work.sets, *kept_sets], None)
    new = [item for item in work.sets if entry.sets.get(item.name) != item.members_sha256]
    staying = {(item.name, item.members_sha256) for item in [*work.sets, *carried]}
    kept = load_kept(work.path, dictionary.slug, staying, len(new), dictionary.d_sae, scratch)
    return Task(dictionary, job.origin, params, new, kept)


def _prepare(work: Work, wait: float, narrate: Callable[[str], None]) -> dict[str, LedgerEntry]:
    """Fail before the work, rather than after it, where the result can't be written; return what is there already."""
    if not Path(work.path).exists():
        require_writable_folder(work.path)
        return {}
    with writing(work.path, wait=wait, narrate=narrate) as connection:
        require_same_model(connection, work.model_row())
    return ledger(work.path, wait=wait)


def _write(
    path: str | os.PathLike[str], rows: SaeRows, room: contextlib.ExitStack, narrate: Callable[[str], None]
) -> float:
    """Write one dictionary, give back the room that its rows took, and return the seconds it took."""
    started = time.monotonic()
    with room:
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


def _line(task: Task, seconds: float) -> str:
    n_features = task.dictionary.d_sae
    rate = n_features / max(seconds, 1e-9)
    sets = f"{len(task.sets)} {'more ' if task.kept else ''}sets"
    return f"{task.dictionary.slug}: {n_features:,} features x {sets} in {seconds:.1f} s ({rate:,.0f} features/s)"
