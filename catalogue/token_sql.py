"""Token ids from SQL that somebody wrote into a set file.

A query sees one table, `token` (token_id, str, raw, is_special, is_partial_utf8: the catalogue's, without its model),
in a database in memory that reaches no file and no network and takes bounded time and memory.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from .errors import TokenSetError
from .file import one_line

QUERY_SECONDS = 20.0
"""A query may take so long. On 256,000 tokens a scan takes milliseconds, a join of the table with itself seconds."""

_CONFIG = {
    "memory_limit": "1GB",
    "temp_directory": "",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "python_enable_replacements": "false",
}
_INTEGERS = {f"{sign}{size}INT" for sign in ("", "U") for size in ("TINY", "SMALL", "BIG", "HUGE")}
_INTEGERS |= {"INTEGER", "UINTEGER"}
_CHUNK_ROWS = 100_000


def select_token_ids(
    tokens: pa.Table, queries: Sequence[tuple[str, str]], seconds: float = QUERY_SECONDS
) -> list[set[int]]:
    """Return the token ids that each query gives.

    Args:
        tokens: The columns of table `token`, a row a token.
        queries: The name of each set, and its SQL.
        seconds: Time for each query.

    Raises:
        TokenSetError: It names the set. A query is not one SELECT statement with one column of integers that are token
            ids, fails, or is not done in time.
    """
    with duckdb.connect(":memory:", config=dict(_CONFIG)) as connection:
        connection.register("given_token", tokens)
        connection.execute("CREATE TABLE token AS SELECT * FROM given_token")
        connection.unregister("given_token")
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        return [_answer(connection, name, query, tokens.num_rows, seconds) for name, query in queries]


def _answer(connection: duckdb.DuckDBPyConnection, name: str, query: str, d_vocab: int, seconds: float) -> set[int]:
    where = f"token set {name!r}"
    is_late = threading.Event()
    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise TokenSetError(f"{where}: its query is not one SELECT statement; write one that gives token ids")
        with _interrupted_after(connection, seconds, is_late):
            # A SELECT can write (WITH ... INSERT ... RETURNING): the next query must not see it.
            connection.begin()
            try:
                return _ids(connection.execute(statements[0]), where, d_vocab)
            finally:
                connection.rollback()
    except duckdb.Error as fault:
        if is_late.is_set():
            raise TokenSetError(f"{where}: its query is not done after {seconds:g} s; make it simpler") from fault
        raise TokenSetError(f"{where}: its query fails: {one_line(fault)}") from fault
    except RuntimeError as fault:
        # So DuckDB reports Ctrl-C.
        if str(fault) == "Query interrupted":
            raise KeyboardInterrupt from fault
        raise


def _ids(result: duckdb.DuckDBPyConnection, where: str, d_vocab: int) -> set[int]:
    columns = [(name, str(column_type)) for name, column_type, *_ in result.description or ()]
    if len(columns) != 1 or columns[0][1] not in _INTEGERS:
        given = ", ".join(f"{name} {column_type}" for name, column_type in columns[:5])
        raise TokenSetError(f"{where}: its query gives {given}; select one column of token ids, integers")
    ids: set[int] = set()
    while rows := result.fetchmany(_CHUNK_ROWS):
        for (token_id,) in rows:
            if token_id is None:
                raise TokenSetError(f"{where}: its query gives NULL; add a WHERE that leaves it out")
            if not 0 <= token_id < d_vocab:
                raise TokenSetError(
                    f"{where}: its query gives {token_id}, which is none of the {d_vocab} token ids; "
                    "select token_id of table token"
                )
            ids.add(token_id)
    return ids


@contextmanager
def _interrupted_after(
    connection: duckdb.DuckDBPyConnection, seconds: float, is_late: threading.Event
) -> Iterator[None]:
    """Interrupt what the connection runs in the block when `seconds` are over, and set `is_late` then."""
    is_done = threading.Event()

    def watch() -> None:
        if is_done.wait(seconds):
            return
        is_late.set()
        # Again and again: an interruption between two steps of a query is lost.
        while not is_done.wait(0.05):
            connection.interrupt()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_done.set()
        watcher.join()
