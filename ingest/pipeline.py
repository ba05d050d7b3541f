"""From a model, its dictionaries of features and token sets to rows in a catalogue, one dictionary at a time.

Nothing is open while numbers are computed; each dictionary is written whole, in one transaction, or not at all. What
the ledger shows as current is not computed again. While one is computed, the one before it is written and the one after
it is read.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, runtime_checkable

from ..catalogue.errors import FeatdexError, WeightsError
from ..catalogue.file import DEFAULT_WAIT_SECONDS
from ..catalogue.write import LedgerEntry, SaeRows
from .ahead import Ahead
from .background import Task as Call
from .background import Worker
from .device import Options, resolve_device
from .faults import is_of_one_dictionary, within_memory
from .inputs import FeatureDictionary, LanguageModel, TokenSet
from .rows import ModelFacts, Origin, Task, Work, computed_rows, is_current, run_params, within_universe
from .scratch import Scratch
from .sinks import CatalogueFile, Sink


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
    """How many dictionaries an ingest wrote, how many were current already, and how many failed."""

    written: int
    current: int
    failed: int = 0


def ingest(
    place: str | os.PathLike[str] | Sink,
    model: LanguageModel,
    jobs: Sequence[Job],
    sets: Sequence[TokenSet],
    *,
    options: Options,
    reporter: Reporter,
    narrate: Callable[[str], None],
    force: bool = False,
    fail_fast: bool = False,
    wait: float = DEFAULT_WAIT_SECONDS,
) -> Outcome:
    """Compute and write every job's dictionary; what the ledger has is skipped unless `force`.

    A dictionary that fails is reported and skipped, unless it is the only one. Ctrl-C loses no more than the one in
    work: the one before it is written to its end first.

    Args:
        place: The catalogue, made if it is not there; or another sink.
        fail_fast: End at the first dictionary that fails.
        wait: Seconds to wait at the start for whoever holds the catalogue. A computed dictionary waits an hour.

    Raises:
        FeatdexError: A fault of all dictionaries: of the catalogue, the disk, the sets, the options. Or one of a
            single dictionary, given `fail_fast` or only one job. What was written before stays.
    """
    resolve_device(options.device)
    sink = place if isinstance(place, Sink) else CatalogueFile(place)
    work = Work(model, ModelFacts.of(model), [within_universe(item, model.universe) for item in sets], options)
    # Fail before the work, rather than after it, where the result can't be written.
    known = sink.prepare(work.model_row(), wait, narrate)
    turns = _Turns(sink, work, known, reporter, narrate, force=force, fail_fast=fail_fast, n_jobs=len(jobs))
    try:
        with Ahead([job.load for job in jobs]) as ahead, turns:
            for position, job in enumerate(jobs, start=1):
                reporter.start(job.label, position, len(jobs))
                turns.take(job, ahead)
            turns.settle()
    except _EndError as end:
        raise end.fault from end.fault.__cause__
    sink.finish(narrate)
    return turns.outcome


class _EndError(Exception):
    """A fault that ends the ingest, on its way out of the turn that met it."""

    def __init__(self, fault: FeatdexError) -> None:
        super().__init__(fault)
        self.fault = fault


class _Written(NamedTuple):
    """A dictionary on its way into the catalogue: `line` says what was computed, `write` gives the seconds it took."""

    slug: str
    line: str
    write: Call[float]


class _Turns:
    """The dictionaries of an ingest, each in its turn. As a context, it sees the last write to its end."""

    def __init__(
        self,
        sink: Sink,
        work: Work,
        known: dict[str, LedgerEntry],
        reporter: Reporter,
        narrate: Callable[[str], None],
        *,
        force: bool,
        fail_fast: bool,
        n_jobs: int,
    ) -> None:
        self.outcome = Outcome(0, 0)
        self._sink, self._work, self._known, self._force = sink, work, known, force
        self._fail_fast, self._n_jobs = fail_fast, n_jobs
        self._reporter, self._narrate = reporter, narrate
        self._labels: dict[str, str] = {}
        # DuckDB writes one dictionary while the next is computed; no more than one waits to be written.
        self._pending: _Written | None = None
        self._writer = Worker("writer")

    def take(self, job: Job, ahead: Ahead) -> None:
        """Read, compute and start to write the dictionary of `job`, the next one of `ahead`."""
        try:
            dictionary = ahead.take()
            self._require_own_slug(dictionary.slug, job.label)
            self._reporter.loaded(dictionary.slug, dictionary.d_sae)
            started = time.monotonic()
            with contextlib.ExitStack() as stack, within_memory(dictionary.slug):
                scratch = stack.enter_context(Scratch(self._sink.scratch_folder))
                task = self._task(job, dictionary, scratch)
                if task is None:
                    self._reporter.finish(dictionary.slug, f"{dictionary.slug}: current, skipped")
                    self.outcome = replace(self.outcome, current=self.outcome.current + 1)
                    return
                rows = computed_rows(self._work, task, scratch, self._reporter.advance, started)
                line = _line(task, time.monotonic() - started)
                self.settle()
                self._write(dictionary.slug, line, rows, stack.pop_all())
        except FeatdexError as fault:
            self._fail(job.label, fault)

    def settle(self, *, raises: bool = True) -> None:
        """Wait for the write under way, if any, and tell how it went."""
        if self._pending is None:
            return
        if not self._writer.has_ended:
            # Ctrl-C may break this wait; the write is then still the one under way.
            self._pending.write.wait()
        (slug, line, write), self._pending = self._pending, None
        if not write.is_over:
            # Ctrl-C came before the writer had it.
            return
        try:
            seconds = write.result()
        except FeatdexError as fault:
            self._fail(slug, fault, raises=raises)
        else:
            self._reporter.finish(slug, f"{line}, written in {seconds:.1f} s")
            self.outcome = replace(self.outcome, written=self.outcome.written + 1)

    def __enter__(self) -> _Turns:
        self._writer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        interrupted = isinstance(error, KeyboardInterrupt)
        if interrupted and self._pending is not None:
            self._narrate(f"interrupted: {self._pending.slug} is being written; Ctrl-C again leaves at once")
        self._writer.end()
        # What ended the ingest stays its fault, whatever becomes of the write.
        self.settle(raises=error is None)
        if interrupted:
            self._narrate(f"interrupted: {self.outcome.written} written; the same command goes on from there")

    def _task(self, job: Job, dictionary: FeatureDictionary, scratch: Scratch) -> Task | None:
        """Return what there is to compute of a dictionary, None where the catalogue has it all.

        Its results stay where the weights and parameters are the same, and only sets that it has none of are computed.
        Otherwise everything is, and the sets that it was tested against before are too: no result goes without a new
        one.
        """
        work = self._work
        params = run_params(work, dictionary)
        entry = self._known.get(dictionary.slug)
        if entry is None:
            return Task(dictionary, job.origin, params, work.sets, None)
        same = not self._force and is_current(entry, params)
        wanted = {item.name: item.members_sha256 for item in work.sets}
        if same and wanted.items() <= entry.sets.items():
            return None
        # In one process DuckDB can't read a file that it has open for writing.
        self.settle()
        carried = self._sink.carried(dictionary.slug, wanted)
        if same:
            new = [item for item in work.sets if entry.sets.get(item.name) != item.members_sha256]
            staying = {(item.name, item.members_sha256) for item in [*work.sets, *carried]}
            kept = self._sink.kept(dictionary.slug, staying, len(new), dictionary.d_sae, scratch)
            if kept is not None:
                return Task(dictionary, job.origin, params, new, kept)
        return Task(dictionary, job.origin, params, [*work.sets, *within(carried, work)], None)

    def _write(self, slug: str, line: str, rows: SaeRows, room: contextlib.ExitStack) -> None:
        """Start to write a dictionary, whose rows lie in `room`."""
        sink, narrate = self._sink, self._narrate

        def write() -> float:
            started = time.monotonic()
            with room:
                sink.write(rows, narrate)
            return time.monotonic() - started

        self._pending = _Written(slug, line, Call(write))
        self._writer.give(self._pending.write)

    def _fail(self, label: str, fault: FeatdexError, *, raises: bool = True) -> None:
        """Tell of a dictionary that failed, and go on; or raise the fault where all that follows would meet it too."""
        is_its_own = is_of_one_dictionary(fault) and self._n_jobs > 1
        if raises and is_its_own and self._fail_fast:
            # The line has to say which of them it was.
            raise _EndError(type(fault)(f"{label}: {fault}")) from fault
        if raises and not is_its_own:
            raise _EndError(fault) from fault
        self.outcome = replace(self.outcome, failed=self.outcome.failed + 1)
        self._reporter.finish(label, f"{label}: failed, skipped: {fault}")

    def _require_own_slug(self, slug: str, label: str) -> None:
        other = self._labels.setdefault(slug, label)
        if other != label:
            raise WeightsError(f"it has the name of {other}, {slug}, and would replace it; ingest it with --slug NAME")


def within(sets: Sequence[TokenSet], work: Work) -> list[TokenSet]:
    """Return sets as far as their tokens take part."""
    return [within_universe(item, work.model.universe) for item in sets]


def _line(task: Task, seconds: float) -> str:
    n_features = task.dictionary.d_sae
    rate = n_features / max(seconds, 1e-9)
    sets = f"{len(task.sets)} {'more ' if task.kept else ''}sets"
    return f"{task.dictionary.slug}: {n_features:,} features x {sets} in {seconds:.1f} s ({rate:,.0f} features/s)"
