"""What a check of a catalogue finds, and how faults are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import FeatdexError
from .file import translated

if TYPE_CHECKING:
    import duckdb


class Finding(NamedTuple):
    """The outcome of one check.

    Attributes:
        check: Its name.
        ok: Whether there are no faults.
        detail: What was proved, or how many faults there are and what one is.
        slugs: SAEs that are at fault and would be right if they were computed again.
    """

    check: str
    ok: bool
    detail: str
    slugs: frozenset[str] = frozenset()


Check = Callable[["duckdb.DuckDBPyConnection"], Finding]


class Faults:
    """Faults of one check as they are found: how many, the first, and which SAEs they are of."""

    def __init__(self) -> None:
        self._n = 0
        self._first = ""
        self._slugs: set[str] = set()

    def add(self, fault: str, slugs: Iterable[str | None] = (), n: int = 1) -> None:
        """Count a fault, or `n` of which it is one."""
        self._first = self._first or fault
        self._n += n
        self._slugs.update(slug for slug in slugs if slug is not None)

    def finding(self, check: str, promise: str) -> Finding:
        """Return the outcome; `promise` is what was proved where there was no fault."""
        if not self._n:
            return Finding(check, True, promise)
        counted = f"{self._n:,} faults, such as: " if self._n > 1 else "1 fault: "
        return Finding(check, False, counted + self._first, frozenset(self._slugs))

    def count(self, connection: duckdb.DuckDBPyConnection, query: str, values: dict[str, Any] | None = None) -> None:
        """Count the rows of a query: `fault`, a sentence about one thing that is wrong, and `slug`, its SAE or NULL."""
        text = f"SELECT count(*), min(fault), list(DISTINCT slug) FROM ({query})"
        try:
            ((n, first, slugs),) = rows(connection, text, values)
        except FeatdexError as error:
            # Damage ends neither this check nor the others: each says what it could not read.
            self.add(str(error))
            return
        if n:
            self.add(first, slugs or (), n)


def rows(
    connection: duckdb.DuckDBPyConnection, query: str, values: dict[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """Return the rows of a query; faults of DuckDB are those of `file.translated`."""
    with translated():
        return connection.execute(query, values).fetchall() if values else connection.execute(query).fetchall()
