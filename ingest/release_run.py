"""Batches of dictionaries from the command line: planned, or worked through unattended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ..catalogue.cli_common import narrate
from ..catalogue.dataset import CATALOGUE, Dataset
from ..catalogue.errors import FeatdexError
from ..catalogue.file import open_reader
from ..catalogue.formats import Format
from .batches import Batch, Unreadable
from .choices import choose_sets
from .commands import narrate_batch, run_ingest
from .inputs import TokenSet
from .pipeline import Outcome
from .plan import plan
from .plan_table import emit_plan, plan_lines


class Asked(NamedTuple):
    """What a user asked of every batch: the catalogue, its token sets, and how to treat what is there or fails.

    `dataset` is where a dataset is written instead of the catalogue, and `path` then the same as a path; `ray` is the
    address of a cluster, and `device` what it computes on.
    """

    path: Path
    sets: str
    wait: float
    force: bool = False
    fail_fast: bool = False
    dataset: Dataset | None = None
    ray: str | None = None
    device: str = "auto"
    allow_pickle: bool = False

    @property
    def place(self) -> str:
        """What is written to, as the user named it."""
        return str(self.path if self.dataset is None else self.dataset.store)

    @property
    def stored(self) -> Path | None:
        """The catalogue to read what is there from, where there is one."""
        if self.dataset is None:
            return self.path
        local = self.dataset.store.local
        if local is None or not (local / CATALOGUE).exists():
            return None
        try:
            open_reader(local, wait=self.wait).close()
        except FeatdexError:
            # Of a damaged dataset, whose SAEs this may compute again.
            return None
        return local

    @property
    def folder(self) -> Path | None:
        """The folder that is there and takes what is written; None in an object store."""
        if self.dataset is None:
            return self.path.absolute().parent
        local = self.dataset.store.local
        return None if local is None else next(folder for folder in (local, *local.parents) if folder.is_dir())


def ingest_batches(batches: Iterable[Batch | Unreadable], asked: Asked) -> None:
    """Ingest every batch and tell the outcome.

    Raises:
        FeatdexError: Some dictionary failed, told at the end; or at once, what would fail all others too.
    """
    total = Outcome(0, 0)
    for batch in batches:
        if isinstance(batch, Unreadable):
            total = _sum(total, Outcome(0, 0, _tell(batch, asked.fail_fast)))
            continue
        total = _sum(total, _run(batch, choose_sets(batch.model, asked.sets, asked.stored), asked))
    failed = f", {total.failed} failed" if total.failed else ""
    narrate(f"{asked.place}: {total.written} written, {total.current} current already{failed}")
    _raise_for(total.failed, "run it again to try them again")


def _run(batch: Batch, sets: list[TokenSet], asked: Asked) -> Outcome:
    if asked.dataset is None:
        return run_ingest(
            asked.path,
            batch.model,
            batch.jobs,
            sets,
            batch.options,
            asked.wait,
            asked.force,
            fail_fast=asked.fail_fast,
        )
    from .sinks import DatasetFolder

    sink = DatasetFolder(asked.dataset)
    if asked.ray is None:
        return run_ingest(
            sink, batch.model, batch.jobs, sets, batch.options, asked.wait, asked.force, fail_fast=asked.fail_fast
        )
    from .progress import IngestProgress
    from .ray_ingest import ingest_on_ray

    narrate_batch(batch.model, batch.jobs, sets)
    with IngestProgress(narrate) as reporter:
        return ingest_on_ray(
            sink,
            batch.model,
            batch.jobs,
            sets,
            address=asked.ray,
            options=replace(batch.options, device=asked.device),
            reporter=reporter,
            narrate=narrate,
            force=asked.force,
            fail_fast=asked.fail_fast,
            allow_pickle=asked.allow_pickle,
        )


def show_plan(batches: Iterable[Batch | Unreadable], asked: Asked, form: Format | None) -> None:
    """Print what `ingest_batches` would do. Reads the models, but no SAE, and writes nothing.

    Raises:
        FeatdexError: Some dictionary can't be planned, told at the end.
    """
    planned = []
    failed = 0
    for batch in batches:
        if isinstance(batch, Unreadable):
            failed += _tell(batch, asked.fail_fast)
            continue
        sets = choose_sets(batch.model, asked.sets, asked.stored)
        planned += plan(
            asked.stored, batch.model, batch.jobs, sets, options=batch.options, force=asked.force, wait=asked.wait
        )
    emit_plan(planned, form)
    for line in plan_lines(planned, asked.path, asked.folder):
        narrate(line)
    _raise_for(failed, "they are not in the plan")


def _tell(batch: Unreadable, fail_fast: bool) -> int:
    """Tell of dictionaries that can't be read, and return how many they are."""
    if fail_fast:
        raise batch.fault
    for slug in batch.slugs:
        narrate(f"{slug}: failed, skipped: {batch.fault}")
    return len(batch.slugs)


def _sum(one: Outcome, other: Outcome) -> Outcome:
    return Outcome(one.written + other.written, one.current + other.current, one.failed + other.failed)


def _raise_for(n_failed: int, advice: str) -> None:
    if n_failed:
        raise FeatdexError(f"{n_failed} failed, see above; {advice}")
