"""Merging catalogues: those of several machines or days become one, as if one file had taken every ingest.

The inputs are only read. The result is built beside its place, an SAE at a time, and gets its name when it is whole:
a kill, a full disk or an error at any moment leaves the inputs as they are, and no half file of that name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from .dataset_place import remote_place
from .display import printable
from .errors import CatalogueError, FeatdexError, UsageError
from .file import (
    DEFAULT_WAIT_SECONDS,
    connect_new,
    existing,
    install_schema,
    one_line,
    patiently,
    require_writable_folder,
    schema_version,
    translated,
)
from .file_faults import REMEDY, is_damage, raise_if_full
from .given_path import given_path
from .interrupts import interruptible
from .merge_copy import copy_share
from .merge_notes import copy_explanations, copy_tags
from .merge_plan import Contents, Share, plan_merge
from .new_file import publish_new, remove_abandoned, remove_scratch
from .older import missing_columns
from .schema import SCHEMA_VERSION, Table, sql_text
from .tables import MODEL, RUN, SAE, TABLES, TOKEN_SET

Narrate = Callable[[str], None]


class Merged(NamedTuple):
    """What the result holds, and which names of sets it left out (`merge_plan.Plan.left_out`)."""

    n_saes: int
    n_models: int
    n_sets: int
    left_out: list[str]


def merge(
    inputs: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    keep_first: bool = False,
    wait: float = DEFAULT_WAIT_SECONDS,
    narrate: Narrate | None = None,
) -> Merged:
    """Join catalogues in a new one.

    A model that several have is one, and an SAE that several have from the same run is taken from the first. Of token
    sets of one name and other members, the last keeps the name and the others go on as `name@hash`, as in an ingest.
    Tags and explanations join; of a tag with several notes, the note has the lines of all. The first catalogue keeps
    its ids.

    Args:
        inputs: The catalogues. They may be read by others meanwhile, and are not written to.
        output: The new catalogue; nothing may be there.
        keep_first: Take an SAE that they differ in from the first that has it, instead of refusing.
        wait: Seconds to wait for each writer to let go.
        narrate: Told of progress, and when it has to wait.

    Raises:
        CatalogueError: They can't be joined, or one is damaged, foreign or of another schema; or the result is there
            already, or can't be written.
        LockedError: A writer holds an input for longer than `wait` seconds.
        UsageError: A catalogue is named twice.
    """
    for path in inputs:
        if remote := remote_place(path):
            raise UsageError(f"{remote} is a dataset; 'featdex pack {remote} FILE' makes one file of it, which joins")
    paths = _distinct([existing(Path(path)) for path in inputs])
    file = given_path(output)
    require_writable_folder(file)
    if file.exists():
        raise CatalogueError(f"{file} is there already; name another file for the result, or move it away")
    with _building(file) as (connection, scratch), interruptible(connection):
        aliases = _attach(connection, paths, wait, narrate)
        contents = [_contents(connection, alias, path) for alias, path in zip(aliases, paths, strict=True)]
        plan = plan_merge(contents, keep_first=keep_first)
        install_schema(connection)
        for alias, path, share in zip(aliases, paths, plan.shares, strict=True):
            with _of_input(path):
                copy_share(connection, alias, share, plan.set_names)
                told = _told(share, copy_explanations(connection, alias, share))
            if narrate:
                narrate(f"{path}: {told}")
        with translated():
            copy_tags(connection, {alias: share.saes.new for alias, share in zip(aliases, plan.shares, strict=True)})
            names = ", ".join(path.name for path in paths)
            connection.execute("INSERT INTO meta VALUES ('merged_from', ?)", [printable(names)])
            connection.execute("CHECKPOINT")
        if scratch.with_name(f"{scratch.name}.wal").exists():
            raise CatalogueError(f"cannot write {file} to its end; make room and run it again")
        # While the connection has the file locked: nobody opens it before all is done.
        if not publish_new(scratch, file):
            raise CatalogueError(f"another file took the name {file} meanwhile; name another one for the result")
    shares = plan.shares
    n_models = sum(len(share.models.own) for share in shares)
    return Merged(sum(len(share.saes.own) for share in shares), n_models, len(plan.set_names), plan.left_out)


def _told(share: Share, n_unexplained: int) -> str:
    n_own = len(share.saes.own)
    parts = [f"{n_own} SAE{'' if n_own == 1 else 's'}"]
    if n_others := len(share.saes.new) - n_own:
        parts.append(f"{n_others} more taken from a catalogue before it")
    if n_unexplained:
        parts.append(f"{n_unexplained:,} explanations left out, of SAEs with another Neuronpedia id or size there")
    return ", ".join(parts)


def _distinct(paths: list[Path]) -> list[Path]:
    for index, path in enumerate(paths):
        if any(path.samefile(other) for other in paths[:index]):
            raise UsageError(f"{path} is named twice; name every catalogue once")
    return paths


@contextmanager
def _building(file: Path) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """Give a new DuckDB file under a hidden name, which goes when the block ends; what killed merges left goes too."""
    remove_abandoned(file, "merge")
    scratch = file.with_name(f".{file.name}.{os.getpid()}.merge")
    try:
        connection = connect_new(scratch)
        try:
            yield connection, scratch
        finally:
            connection.close()
    except (duckdb.Error, OSError, FeatdexError) as error:
        raise_if_full(file, error)
        if isinstance(error, FeatdexError):
            raise
        raise CatalogueError(f"cannot write {file}: {one_line(error)}") from error
    finally:
        remove_scratch(scratch)


def _attach(
    connection: duckdb.DuckDBPyConnection, paths: Sequence[Path], wait: float, narrate: Narrate | None
) -> list[str]:
    """Open the inputs for reading beside the result, all at once: none changes any more. Return their names in SQL."""
    aliases = [f"input_{index}" for index in range(len(paths))]
    for alias, path in zip(aliases, paths, strict=True):
        statement = f"ATTACH {sql_text(str(path))} AS {alias} (TYPE duckdb, READ_ONLY)"

        patiently(path, partial(connection.execute, statement), read_only=True, wait=wait, narrate=narrate)
    # Whoever made the inputs may have put anything into them: from here on they reach nothing else.
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return aliases


@contextmanager
def _of_input(path: Path) -> Iterator[None]:
    """Name the input in which DuckDB found damage."""
    try:
        with translated():
            yield
    except CatalogueError as error:
        if isinstance(error.__cause__, duckdb.Error) and is_damage(error.__cause__):
            raise CatalogueError(f"{path} is damaged: {one_line(error.__cause__)}; {REMEDY}") from error
        raise


def _contents(connection: duckdb.DuckDBPyConnection, alias: str, path: Path) -> Contents:
    """Return the small tables of an input.

    Raises:
        CatalogueError: It is no catalogue of this schema.
    """
    ((result,),) = connection.execute("SELECT current_database()").fetchall()
    connection.execute(f"USE {alias}")
    try:
        with _of_input(path):
            _require_tables(connection, path)
            tested = connection.execute("SELECT sae_id, set_id FROM set_null").fetchall()
            return Contents(
                label=str(path),
                models=_rows(connection, MODEL),
                sets=_rows(connection, TOKEN_SET),
                saes=_rows(connection, SAE),
                runs=_rows(connection, RUN),
                tested=tested,
            )
    finally:
        connection.execute(f"USE {_quoted(result)}")


def _require_tables(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    version = schema_version(path, connection)
    views = connection.execute(
        "SELECT view_name FROM duckdb_views() WHERE NOT internal AND database_name = current_database()"
        " AND view_name IN (SELECT unnest(?))",
        [[table.name for table in TABLES]],
    ).fetchall()
    if views:
        raise CatalogueError(
            f"{path} is the catalogue of a dataset, with {views[0][0]} in other files; 'featdex pack' makes one file"
        )
    if version < SCHEMA_VERSION or missing_columns(connection):
        raise CatalogueError(
            f"{path} has schema {version}, this featdex merges {SCHEMA_VERSION}; 'featdex migrate' brings it up to date"
            " and keeps a copy"
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _rows(connection: duckdb.DuckDBPyConnection, table: Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = connection.sql(f"FROM {table.name} ORDER BY 1").to_arrow_table().to_pylist()
    return found
