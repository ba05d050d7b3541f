"""What an ingest shows while it works, on stderr: a live bar on a terminal, a line a dictionary everywhere."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _Rate(ProgressColumn):
    """Features a second."""

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:,.0f} features/s")


class IngestProgress:
    """A `pipeline.Reporter`: one bar over all dictionaries, whose sizes are guessed from those seen so far."""

    def __init__(self, narrate: Callable[[str], None]) -> None:
        self._narrate = narrate
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("reading", total=None)
        self._before = self._current = self._jobs_left = 0

    def __enter__(self) -> IngestProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def start(self, label: str, position: int, n_jobs: int) -> None:
        """Show whose turn it is."""
        self._jobs_left = n_jobs - position
        self._bar.update(self._task, description=escape(f"[{position}/{n_jobs}] {label}"))

    def loaded(self, slug: str, n_features: int) -> None:
        """Take the size of this dictionary as the guess for those to come."""
        self._before += self._current
        self._current = n_features
        total = self._before + n_features * (1 + self._jobs_left)
        self._bar.update(self._task, completed=self._before, total=total)

    def advance(self, n_features: int) -> None:
        """Move the bar to `n_features` of the current dictionary."""
        self._bar.update(self._task, completed=self._before + n_features)

    def finish(self, slug: str, line: str) -> None:
        """Tell the outcome in a line that stays."""
        self._narrate(line)
