"""Batches of dictionaries from the command line: planned, or worked through unattended."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from ..catalogue.cli_common import narrate
from ..catalogue.errors import FeatdexError
from ..catalogue.formats import Format
from .batches import Batch, Unreadable
from .choices import choose_sets
from .commands import run_ingest
from .pipeline import Outcome
from .plan import plan
from .plan_table import emit_plan, plan_lines


class Asked(NamedTuple):
    """What a user asked of every batch: the catalogue, its token sets, and how to treat what is there or fails."""

    path: Path
    sets: str
    wait: float
    force: bool = False
    fail_fast: bool = False


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
        sets = choose_sets(batch.model, asked.sets, asked.path)
        total = _sum(
            total,
            run_ingest(
                asked.path,
                batch.model,
                batch.jobs,
                sets,
                batch.options,
                asked.wait,
                asked.force,
                fail_fast=asked.fail_fast,
            ),
        )
    failed = f", {total.failed} failed" if total.failed else ""
    narrate(f"{asked.path}: {total.written} written, {total.current} current already{failed}")
    _raise_for(total.failed, "run it again to try them again")


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
        sets = choose_sets(batch.model, asked.sets, asked.path)
        planned += plan(
            asked.path, batch.model, batch.jobs, sets, options=batch.options, force=asked.force, wait=asked.wait
        )
    emit_plan(planned, form)
    for line in plan_lines(planned, asked.path):
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
