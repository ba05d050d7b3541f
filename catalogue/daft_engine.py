"""SQL over the parquet files of a dataset by Daft, on this machine or a Ray cluster: for scans of whole releases.

Daft knows the tables by their names, and neither views nor questions; its dialect is its own: `CASE` of a condition
that is NULL gives NULL, not `ELSE`, and descending order begins with NULLs. What it finds is put into a DuckDB
relation, so that it is shown and written as any other answer.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from .dataset_place import dataset_folder, remote_place
from .errors import FeatdexError, QueryError, UsageError, nearest
from .ray_connection import join
from .schema import Table
from .store_remote import ATTEMPTS, CONNECT_SECONDS, SILENT_SECONDS, endpoint_of, region_of
from .tables import MODEL, RUN, SAE, TABLES

if TYPE_CHECKING:
    import pyarrow as pa

    from .dataset import Dataset
    from .dataset_manifest import Partition

_QUIET = {
    # Nothing of what is asked, nor that it is, goes over the network.
    "DAFT_ANALYTICS_ENABLED": "0",
    "DO_NOT_TRACK": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    # stderr is for narration, and stdout for data.
    "DAFT_PROGRESS_BAR": "0",
    "RAY_TQDM": "0",
}
_INSTALL = "pip install 'featdex[daft]'"
_LONGEST = 500
_ENDS_OF_FROM = (
    "ON",
    "USING",
    "WHERE",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "SELECT",
    ")",
)


@contextmanager
def answered(where: str | os.PathLike[str], text: str, ray: str | None = None) -> Iterator[duckdb.DuckDBPyRelation]:
    """Run SQL on a dataset and give its answer; the whole of it is in memory.

    Args:
        where: The dataset: its folder, its catalogue, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX.
        text: One SELECT in Daft's dialect, over the tables of a catalogue.
        ray: Address of a Ray cluster, whose machines can all read `where`; None for this machine alone.

    Raises:
        UsageError: It is a catalogue in one file, or the text is no query.
        CatalogueError: There is no dataset, or it is damaged.
        FeatdexError: Daft or Ray is not installed, or the cluster can't be reached.
        QueryError: Daft refuses the text, or fails.
    """
    _require_query(text)
    from .dataset import Dataset
    from .dataset_fill import fill_rows

    dataset = Dataset.open(_place(where))
    daft = _start(ray)
    with closing(duckdb.connect()) as connection:
        for table in (SAE, RUN):
            connection.execute(table.ddl()[0])
        partitions = dataset.partitions()
        fill_rows(connection, partitions)
        # Lists of features for other tools say whose they are.
        connection.register(MODEL.name, dataset.shared(MODEL))
        with _translated():
            frames = {
                spelled: _frame(daft, dataset, table, partitions, connection)
                for name, table in _known().items()
                for spelled in set(re.findall(rf"(?i)\b{name}\b", text))
            }
            rows = daft.sql(text, register_globals=False, **frames).to_arrow()
        yield connection.from_arrow(_narrowed(rows))


def _require_query(text: str) -> None:
    plain = re.sub(r"--[^\n]*|/\*.*?\*/", " ", text, flags=re.DOTALL)
    if not re.match(r"[\s(]*(SELECT|WITH)\b", plain, re.IGNORECASE):
        raise UsageError("Daft answers SELECT and WITH; write one, or leave out --engine daft")
    if found := re.search(r"\b(read_\w+|\w*url_?(down|up)load|(down|up)load)\s*\(", plain, re.IGNORECASE):
        raise UsageError(f"the SQL reads the dataset and nothing else; leave out {found[1]}")
    if name := _named_file(plain):
        raise UsageError(f"the SQL reads the dataset and nothing else; leave out {name}")


def _named_file(text: str) -> str | None:
    """Return what stands quoted where a table is named: Daft takes it for a file."""
    in_from = False
    for token in re.findall(r"'(?:[^']|'')*'?|\"(?:[^\"]|\"\")*\"?|`[^`]*`?|\w+|[()]", text):
        word = token.upper()
        if in_from and (token[0] == "'" or (token[0] in '"`' and re.search(r"[^\w\"` ]", token))):
            return str(token)
        if word in ("FROM", "JOIN"):
            in_from = True
        elif word in _ENDS_OF_FROM:
            in_from = False
    return None


def _place(where: str | os.PathLike[str]) -> str:
    """Return the place of the dataset that a path names."""
    if remote := remote_place(where):
        return remote
    path = Path(where)
    folder = dataset_folder(path)
    if folder is None and path.is_file():
        raise UsageError(
            f"{path} is a catalogue in one file, which Daft can't read; leave out --engine daft, or make a"
            f" dataset of it with 'featdex unpack {path} FOLDER'"
        )
    if re.search(r"[*?\[\]{}]", str((folder or path).absolute())):
        raise UsageError(
            f"{path} has characters in its name that Daft takes for a pattern; give the folder another one"
        )
    return str(folder or path)


def _start(ray: str | None) -> Any:
    """Return Daft, ready to run on this machine or a cluster."""
    os.environ.update(_QUIET)
    try:
        import daft
    except ImportError as error:
        raise FeatdexError(f"Daft is not installed: {_INSTALL}") from error
    if ray is None:
        _run_on(daft, "native", daft.set_runner_native)
        return daft
    try:
        import ray as ray_package
    except ImportError as error:
        raise FeatdexError("Ray is not installed: pip install 'featdex[ray]'") from error
    join(ray_package, ray, _QUIET)
    _run_on(daft, "ray", lambda: daft.set_runner_ray(noop_if_initialized=True))
    return daft


def _run_on(daft: Any, runner: str, begin: Callable[[], Any]) -> None:
    """Let Daft run somewhere, which it decides once for a process."""
    try:
        begin()
    except Exception as error:
        there = daft.get_or_infer_runner_type()
        if there != runner:
            raise FeatdexError(f"in this process Daft runs with its {there} runner; start another one") from error


def _known() -> dict[str, Table]:
    """Return the tables of a dataset by name."""
    from .dataset_tables import OWN

    return {table.name: table for table in (*TABLES, *OWN)}


def _frame(
    daft: Any, dataset: Dataset, table: Table, partitions: list[Partition], connection: duckdb.DuckDBPyConnection
) -> Any:
    """Return a table as Daft has it: small ones from memory, those with a file an SAE from their files."""
    from .dataset_tables import PARTITIONED, SHARED

    if table in PARTITIONED:
        return _partitioned(daft, dataset, table, partitions)
    if table in SHARED:
        return daft.from_arrow(dataset.shared(table))
    if table in (SAE, RUN):
        return daft.from_arrow(connection.sql(f'FROM "{table.name}"').to_arrow_table())
    from .catalogue import connect

    # Tags, explanations and the like are nowhere but in the catalogue of the dataset.
    with connect(dataset.store.where) as catalogue:
        return daft.from_arrow(catalogue.sql(f'FROM "{table.name}"').to_arrow_table())


def _partitioned(daft: Any, dataset: Dataset, table: Table, partitions: list[Partition]) -> Any:
    """Return the frame of a table with a file an SAE: its columns in their order, those that the files lack as NULL."""
    from .dataset_tables import arrow_schema

    files = [dataset.store.place(partition.files[table.name].path) for partition in partitions]
    whole = arrow_schema(table)
    types = {"sae_id": daft.DataType.int16()}
    if not files:
        import pyarrow as pa

        fields = [pa.field("sae_id", pa.int16()), *whole]
        return daft.from_arrow(pa.schema(fields).empty_table().select(table.column_names))
    there = arrow_schema(table, dataset.columns).names
    types |= {field.name: daft.DataType.from_arrow_type(field.type) for field in whole}
    # Given, so that Daft opens no file to find out; sae_id is the name of the folder.
    schema = {"sae": types["sae_id"]} | {name: types[name] for name in there}
    frame = daft.read_parquet(
        files, infer_schema=False, schema=schema, hive_partitioning=True, io_config=_io_config(daft, dataset)
    )

    def column(name: str) -> Any:
        if name == "sae_id":
            return daft.col("sae").alias(name)
        found = daft.col(name) if name in there else daft.lit(None).cast(types[name]).alias(name)
        # Daft adds up floats as floats, one by one: the mean of 2 million values near 100 is off by 1.3.
        return found.cast(daft.DataType.float64()) if types[name] == daft.DataType.float32() else found

    return frame.select(*map(column, table.column_names))


def _narrowed(rows: pa.Table) -> pa.Table:
    """Return the answer with doubles as the floats that they are, where all of a column are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for index, field in enumerate(rows.schema):
        if field.type == pa.float64():
            column = rows.column(index)
            narrow = column.cast(pa.float32(), safe=False)
            same = pc.or_(pc.equal(narrow.cast(pa.float64()), column), pc.is_nan(column))
            if pc.all(same).as_py() is not False:
                rows = rows.set_column(index, field.name, narrow)
    return rows


def _io_config(daft: Any, dataset: Dataset) -> Any:
    """Return how Daft reaches the dataset: with what the environment says, as `store_remote` does."""
    address = dataset.store.address
    limits = {
        "connect_timeout_ms": CONNECT_SECONDS * 1000,
        "read_timeout_ms": SILENT_SECONDS * 1000,
        "num_tries": ATTEMPTS,
    }
    if address is None:
        return None
    if address.scheme == "gs":
        if endpoint_of("gs"):
            raise UsageError("Daft can't read from an emulator of Google Cloud Storage; leave out --engine daft")
        return daft.io.IOConfig(gcs=daft.io.GCSConfig(**limits))
    endpoint = endpoint_of("s3")
    config = daft.io.S3Config.from_env()
    return daft.io.IOConfig(
        s3=config.replace(
            endpoint_url=endpoint or config.endpoint_url,
            region_name=region_of() or config.region_name or ("us-east-1" if endpoint else None),
            use_ssl=not (endpoint or "").startswith("http://"),
            **limits,
        )
    )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except FeatdexError:
        raise
    except BaseException as error:
        # Rust's panics are no `Exception`.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        line = _one_line(error)
        if missing := re.match(r"Table not found: (\S+)", line):
            name = missing[1]
            known = nearest(name, _known()) or f"; it knows {', '.join(sorted(_known()))}"
            raise QueryError(f"Daft: no table {name!r}{known}") from error
        raise QueryError(f"Daft: {line}") from error


def _one_line(error: BaseException) -> str:
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
