"""Proof that a catalogue is whole: what the big tables' missing keys and constraints would have enforced.

Every check is a query whose rows are faults, so an empty result is the proof. DuckDB does them all in seconds.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from .file import one_line, translated
from .schema import Table
from .tables import ENRICHMENT, TABLES

if TYPE_CHECKING:
    import duckdb


class Finding(NamedTuple):
    """The outcome of one check: `detail` says what was looked at, or how many faults there are and what one is."""

    check: str
    ok: bool
    detail: str


_OWNERS = {"sae_id": "sae", "set_id": "token_set", "model_id": "model"}
_ROUNDING = 1e-5
_LOG10 = ", ".join(f"e.{column.name}" for column in ENRICHMENT.columns if column.name.startswith("log10_"))

# Each query has one column, `fault`: a sentence about one thing that is wrong.
_CHECKS: dict[str, tuple[str, str]] = {
    "features": (
        "every SAE has its features 0 to d_sae - 1, each once",
        """
        SELECT s.slug || ' has ' || count(f.feature) || ' feature rows, ' || count(DISTINCT f.feature)
            || ' different; want 0 to ' || (s.d_sae - 1) AS fault
        FROM sae s LEFT JOIN feature f ON f.sae_id = s.sae_id
        GROUP BY s.sae_id, s.slug, s.d_sae
        HAVING count(f.feature) <> s.d_sae OR count(DISTINCT f.feature) <> s.d_sae
            OR min(f.feature) <> 0 OR max(f.feature) <> s.d_sae - 1
        """,
    ),
    "feature tokens": (
        "every feature but a zero decoder row has its 20 tokens each way, each rank once",
        """
        WITH wanted AS (
            SELECT s.sae_id, s.slug, f.feature, least(20, m.d_vocab) AS k
            FROM sae s JOIN model m ON m.model_id = s.model_id JOIN feature f ON f.sae_id = s.sae_id
            WHERE f.dec_norm IS DISTINCT FROM 0
        ),
        found AS (
            SELECT t.sae_id, t.feature, count(*) AS n, bit_or(1::BIGINT << (t.rank + 20)) AS ranks
            FROM feature_token t
            WHERE t.rank BETWEEN -20 AND 20 AND t.rank <> 0
            GROUP BY t.sae_id, t.feature
        ),
        total AS (SELECT t.sae_id, t.feature, count(*) AS n FROM feature_token t GROUP BY t.sae_id, t.feature)
        SELECT w.slug || '/' || w.feature || ' has ' || coalesce(t.n, 0) || ' rows, '
            || coalesce(bit_count(f.ranks), 0) || ' ranks; want ' || 2 * w.k AS fault
        FROM wanted w
        LEFT JOIN found f ON f.sae_id = w.sae_id AND f.feature = w.feature
        LEFT JOIN total t ON t.sae_id = w.sae_id AND t.feature = w.feature
        WHERE coalesce(t.n, 0) <> 2 * w.k
            OR f.ranks <> ((1::BIGINT << (2 * w.k + 1)) - 1 - (1::BIGINT << w.k)) << (20 - w.k)
            OR f.ranks IS NULL
        """,
    ),
    "enrichment": (
        "every set of an SAE has all its features, each once",
        """
        SELECT s.slug || ' has ' || count(*) || ' rows, ' || count(DISTINCT e.feature) || ' features of set '
            || e.set_id || '; want ' || s.d_sae AS fault
        FROM enrichment e JOIN sae s ON s.sae_id = e.sae_id
        GROUP BY s.slug, s.d_sae, e.sae_id, e.set_id
        HAVING count(*) <> s.d_sae OR count(DISTINCT e.feature) <> s.d_sae
            OR min(e.feature) <> 0 OR max(e.feature) <> s.d_sae - 1
        """,
    ),
    "nulls and summaries": (
        "every tested set has one null and one summary",
        """
        WITH tested AS (SELECT DISTINCT e.sae_id, e.set_id FROM enrichment e),
        facts AS (
            SELECT 'null' AS kind, n.sae_id, n.set_id, count(*) AS n FROM set_null n GROUP BY n.sae_id, n.set_id
            UNION ALL
            SELECT 'summary', y.sae_id, y.set_id, count(*) FROM set_summary y GROUP BY y.sae_id, y.set_id
        ),
        wanted AS (SELECT t.*, k.kind FROM tested t CROSS JOIN (VALUES ('null'), ('summary')) k(kind))
        SELECT 'SAE ' || coalesce(w.sae_id, f.sae_id) || ', set ' || coalesce(w.set_id, f.set_id) || ' has '
            || coalesce(f.n, 0) || ' rows of ' || coalesce(w.kind, f.kind) AS fault
        FROM wanted w FULL JOIN facts f ON f.sae_id = w.sae_id AND f.set_id = w.set_id AND f.kind = w.kind
        WHERE f.n IS DISTINCT FROM 1 OR w.kind IS NULL
        """,
    ),
    "vocabulary": (
        "every model has its tokens 0 to d_vocab - 1, each once",
        """
        SELECT m.name || ' has ' || count(t.token_id) || ' tokens; want 0 to ' || (m.d_vocab - 1) AS fault
        FROM model m LEFT JOIN token t ON t.model_id = m.model_id
        GROUP BY m.model_id, m.name, m.d_vocab
        HAVING count(DISTINCT t.token_id) <> m.d_vocab OR count(t.token_id) <> m.d_vocab
            OR min(t.token_id) <> 0 OR max(t.token_id) <> m.d_vocab - 1
        """,
    ),
    "token ids": (
        "every token named by a feature or a set is in the vocabulary",
        """
        SELECT 'token ' || f.token_id || ' of ' || s.slug || '/' || f.feature AS fault
        FROM feature_token f JOIN sae s ON s.sae_id = f.sae_id
        ANTI JOIN token t ON t.model_id = s.model_id AND t.token_id = f.token_id
        UNION ALL
        SELECT 'token ' || i.token_id || ' of set ' || s.name
        FROM token_set_member i JOIN token_set s ON s.set_id = i.set_id
        ANTI JOIN token t ON t.model_id = s.model_id AND t.token_id = i.token_id
        """,
    ),
    "scores": (
        "scores are possible: |es| <= 1, es_opposed and auroc in 0 to 1, log10 of a probability <= 0",
        f"""
        SELECT 'SAE ' || e.sae_id || ', set ' || e.set_id || ', feature ' || e.feature AS fault
        FROM enrichment e
        WHERE abs(e.es) > 1 + {_ROUNDING} OR e.es_opposed NOT BETWEEN -{_ROUNDING} AND 1 + {_ROUNDING}
            OR e.auroc NOT BETWEEN -{_ROUNDING} AND 1 + {_ROUNDING}
            OR greatest({_LOG10}) > {_ROUNDING}
        """,
    ),
    "moments": (
        "moments are possible: kurtosis >= 1 + skewness^2",
        """
        SELECT 'SAE ' || f.sae_id || ', feature ' || f.feature || ': kurtosis ' || f.kurtosis || ', skewness '
            || f.skewness AS fault
        FROM feature f
        WHERE f.kurtosis * 1.001 + 0.001 < 1 + f.skewness ** 2
            OR f.cos_kurtosis * 1.001 + 0.001 < 1 + f.cos_skewness ** 2
        """,
    ),
    "ledger": (
        "every SAE has a finished run",
        "SELECT s.slug || ' has no row in run' AS fault FROM sae s ANTI JOIN run r ON r.sae_id = s.sae_id",
    ),
}


def examine(connection: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    """Yield the outcome of every check, one after another.

    Raises:
        QueryError: DuckDB can't read the file any further.
    """
    for name, (promise, query) in _CHECKS.items():
        yield _finding(connection, name, promise, query)
    yield _finding(connection, "numbers", "no NaN and no infinity", _numbers_query())
    yield _finding(connection, "owners", "every row belongs to an SAE, a set or a model that is there", _owners_query())
    for table in TABLES:
        if table.order:
            promise = f"rows lie sorted by {', '.join(table.order)}, none double"
            yield _finding(connection, f"order of {table.name}", promise, _order_query(table))
    yield _set_members(connection)
    yield _queries(connection)


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    with translated():
        return connection.execute(query).fetchall()


def _finding(connection: duckdb.DuckDBPyConnection, name: str, promise: str, query: str) -> Finding:
    ((n_faults, first),) = _rows(connection, f"SELECT count(*), min(fault) FROM ({query})")
    return Finding(name, not n_faults, _counted(n_faults, first) if n_faults else promise)


def _counted(n_faults: int, first: str) -> str:
    return f"{n_faults:,} faults, such as: {first}" if n_faults > 1 else f"1 fault: {first}"


def _numbers_query() -> str:
    parts = []
    for table in TABLES:
        floats = [column.name for column in table.columns if column.sql_type in ("FLOAT", "DOUBLE")]
        if floats:
            counts = ", ".join(f'count(*) FILTER (NOT isfinite("{name}")) AS "{name}"' for name in floats)
            # UNPIVOT makes a row of every column, so the fault can name it.
            parts.append(
                f"SELECT n || ' of {table.name}.' || column_name AS fault"
                f" FROM (UNPIVOT (SELECT {counts} FROM {table.name}) ON * INTO NAME column_name VALUE n) WHERE n > 0"
            )
    return " UNION ALL ".join(parts)


def _owners_query() -> str:
    parts = [
        f"SELECT '{table.name} has rows of {key} ' || c.{key} || ', which {owner} has not' AS fault"
        f" FROM (SELECT DISTINCT {key} FROM {table.name}) c ANTI JOIN {owner} o ON o.{key} = c.{key}"
        for table in TABLES
        for key, owner in _OWNERS.items()
        if key in table.column_names and table.name != owner
    ]
    return " UNION ALL ".join(parts)


def _order_query(table: Table) -> str:
    """Compare each row with the one stored before it.

    A replaced SAE moves to the end, so blocks (of one SAE, set or model) lie in any order; but each must be in one
    piece and strictly ascending inside. `lag` over an empty window streams through the table without a sort.
    """
    block, *keys = table.order
    columns = [block, *keys]
    lags = ", ".join(f"lag({column}) OVER () AS last_{column}" for column in columns)
    ascending = "false"
    for key in reversed(keys):
        ascending = f"({key} > last_{key} OR ({key} = last_{key} AND {ascending}))"
    return (
        f"WITH pairs AS (SELECT {', '.join(columns)}, {lags} FROM {table.name})"
        f" SELECT '{block} ' || {block} || ' after its {keys[-1]} ' || last_{keys[-1]} AS fault FROM pairs"
        f" WHERE {block} = last_{block} AND NOT {ascending}"
        f" UNION ALL SELECT '{block} ' || {block} || ' lies in ' || count(*) || ' pieces' FROM pairs"
        f" WHERE {block} IS DISTINCT FROM last_{block} GROUP BY {block} HAVING count(*) > 1"
    )


def _set_members(connection: duckdb.DuckDBPyConnection) -> Finding:
    import numpy as np

    faults = []
    # A query for each set: the lists of all sets together need not fit in memory as Python objects.
    for set_id, name, n_tokens, recorded in _rows(
        connection, "SELECT set_id, name, n_tokens, members_sha256 FROM token_set"
    ):
        with translated():
            members = connection.execute(
                "SELECT token_id FROM token_set_member WHERE set_id = ? ORDER BY token_id", [set_id]
            ).fetchnumpy()["token_id"]
        ids = np.ascontiguousarray(members, dtype=np.int32)
        digest = hashlib.sha256(f"{ids.dtype.str}{ids.shape}".encode())
        digest.update(ids.tobytes())
        if len(ids) != n_tokens:
            faults.append(f"{name} has {len(ids)} members; want {n_tokens}")
        elif digest.hexdigest() != recorded:
            faults.append(f"the members of {name} are not those its hash was made of")
    detail = _counted(len(faults), faults[0]) if faults else "every set has the members it was made with"
    return Finding("set members", not faults, detail)


def _queries(connection: duckdb.DuckDBPyConnection) -> Finding:
    """Bind every view, and every question by the example in its comment: SQL that does not fit the tables fails."""
    import duckdb

    views = _rows(connection, "SELECT view_name FROM duckdb_views() WHERE NOT internal")
    comments = _rows(
        connection, "SELECT comment FROM duckdb_functions() WHERE function_type = 'table_macro' AND NOT internal"
    )
    calls = [f'FROM "{name}"' for (name,) in views]
    calls += [
        found[1]
        for (comment,) in comments
        if (found := re.search(r"^Example: (FROM .*)$", comment or "", re.MULTILINE))
    ]
    faults = []
    for call in calls:
        try:
            connection.execute(f"EXPLAIN {call}").fetchall()
        except duckdb.Error as error:
            faults.append(f"{call}: {one_line(error)}")
    detail = _counted(len(faults), faults[0]) if faults else f"all {len(calls)} views and questions work"
    return Finding("queries", not faults, detail)
