"""The tables of a dataset: which are files of a partition, and what it has besides those of a catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import CatalogueError
from .schema import Column, Table
from .tables import (
    ENRICHMENT,
    FEATURE,
    FEATURE_TOKEN,
    MODEL,
    SET_CORRELATION,
    SET_NULL,
    SET_SUMMARY,
    TOKEN,
    TOKEN_SET,
    TOKEN_SET_DROPPED,
    TOKEN_SET_MEMBER,
)

if TYPE_CHECKING:
    import pyarrow as pa

TOP_PER_SIDE = 500
"""Rows of a set that `enrichment_top` has at least from each end of its z, however little they say."""

_OF_ENRICHMENT = {column.name: column for column in ENRICHMENT.columns}
_OF_FEATURE = {column.name: column for column in FEATURE.columns}

ENRICHMENT_TOP = Table(
    "enrichment_top",
    "The rows of enrichment that say most: of every SAE and set those with q < .05, and the 500 largest and the 500"
    " smallest z. What the table leaves out lies within enrichment_cut.",
    (
        *(_OF_ENRICHMENT[name] for name in ("sae_id", "set_id", "feature", "z", "log10_q")),
        *(_OF_FEATURE[name] for name in ("kurtosis", "skewness", "log10_density")),
    ),
    order=("set_id", "sae_id", "z"),
)

ENRICHMENT_CUT = Table(
    "enrichment_cut",
    "One row an SAE and set: how far the z of rows that enrichment_top leaves out goes each way.",
    (
        *(_OF_ENRICHMENT[name] for name in ("sae_id", "set_id")),
        Column("promoted_z", "FLOAT", "No row left out has a larger z; NULL where none with z > 0 is left out."),
        Column("suppressed_z", "FLOAT", "No row left out has a smaller z; NULL where none with z < 0 is left out."),
        Column("n_scored", "INTEGER", "Features that have a z."),
    ),
    order=("sae_id", "set_id"),
)

DATASET_FILE = Table(
    "dataset_file",
    "The parquet files of the dataset that this catalogue reads, one row a file.",
    (
        _OF_ENRICHMENT["sae_id"],
        Column("table_name", "VARCHAR", "The table whose rows it has."),
        Column("path", "VARCHAR", "Its place in the folder of the dataset."),
        Column("n_rows", "BIGINT", "Its rows."),
        Column("n_bytes", "BIGINT", "Its size (bytes)."),
    ),
    order=("sae_id",),
)

SHARED = (MODEL, TOKEN, TOKEN_SET, TOKEN_SET_MEMBER, TOKEN_SET_DROPPED)
"""Tables that all SAEs share: one file each, `TABLE.parquet`."""

VIEWED = (FEATURE, FEATURE_TOKEN, ENRICHMENT, SET_CORRELATION)
"""Tables that stay parquet: views in the catalogue of a dataset."""

COPIED = (SET_NULL, SET_SUMMARY, ENRICHMENT_TOP, ENRICHMENT_CUT)
"""Tables of a partition that the catalogue of a dataset holds itself."""

OWN = (ENRICHMENT_TOP, ENRICHMENT_CUT, DATASET_FILE)
"""Tables that only the catalogue of a dataset has."""

PARTITIONED = (*VIEWED, *COPIED)

CORE = ("set_id", "feature", "es", "z", "log10_p", "log10_q")
"""What `enrichment` has of columns in a dataset of core columns; the q can't be computed again from part of a set."""

COLUMNS = ("full", "core")

_ARROW_TYPES = {
    "SMALLINT": "int16",
    "INTEGER": "int32",
    "BIGINT": "int64",
    "FLOAT": "float32",
    "DOUBLE": "float64",
    "VARCHAR": "string",
    "BOOLEAN": "bool_",
}


def file_columns(table: Table, columns: str) -> list[Column]:
    """Return the columns that a table's file has in a dataset of `full` or `core` columns.

    A file of a partition has no sae_id: its folder says it.
    """
    left_out = {"sae_id"} if table in PARTITIONED else set()
    kept = CORE if table is ENRICHMENT and columns == "core" else table.column_names
    return [column for column in table.columns if column.name in kept and column.name not in left_out]


def arrow_schema(table: Table, columns: str = "full") -> pa.Schema:
    """Return the columns of a table's file, with their types, as `file_columns` names them."""
    import pyarrow as pa

    def arrow_type(name: str) -> pa.DataType:
        return pa.list_(arrow_type(name[:-2])) if name.endswith("[]") else getattr(pa, _ARROW_TYPES[name])()

    return pa.schema([(column.name, arrow_type(column.sql_type)) for column in file_columns(table, columns)])


def fitted(rows: pa.Table, table: Table, schema: pa.Schema) -> pa.Table:
    """Return rows in the shape of a file: as `INSERT BY NAME` takes them, columns that are not given are NULL.

    Raises:
        CatalogueError: They have a column that the table has not, or of a type that does not fit.
    """
    import pyarrow as pa

    unknown = set(rows.column_names) - set(table.column_names)
    if unknown:
        raise CatalogueError(f"rows of {table.name} have a column {min(unknown)!r}, which the table has not")
    try:
        columns = [
            rows.column(field.name).cast(field.type)
            if field.name in rows.column_names
            else pa.nulls(rows.num_rows, field.type)
            for field in schema
        ]
    except pa.ArrowException as error:
        raise CatalogueError(f"rows of {table.name} do not fit the table: {error}") from error
    return pa.Table.from_arrays(columns, schema=schema)
