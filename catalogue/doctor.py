"""Proof that a catalogue is whole: what the big tables' missing keys and constraints would have enforced, and more.

Most checks are queries whose rows are faults, so an empty result is the proof. This module looks at whole tables, in
one pass each; `doctor_sae` looks at one SAE after another, and `doctor_proofs` computes hashes and q-values.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from .dataset_place import is_dataset
from .doctor_dataset import DATASET_CHECKS
from .doctor_proofs import PROOFS
from .doctor_sae import SAE_CHECKS
from .errors import FeatdexError
from .file import one_line
from .findings import Check, Faults, Finding, rows
from .schema import Table
from .tables import TABLES

if TYPE_CHECKING:
    import duckdb

_OWNERS = {"sae_id": "sae", "set_id": "token_set", "model_id": "model"}
_SLUG = "(SELECT s.slug FROM sae s WHERE s.sae_id = c.sae_id)"

# Two columns: `fault`, a sentence about one thing that is wrong, and `slug`, its SAE or NULL.
_CHECKS: dict[str, tuple[str, str]] = {
    "features": (
        "every SAE has its features 0 to d_sae - 1, each once",
        """
        SELECT s.slug || ' has ' || count(f.feature) || ' feature rows, ' || count(DISTINCT f.feature)
            || ' different; want 0 to ' || (s.d_sae - 1) AS fault, s.slug
        FROM sae s LEFT JOIN feature f ON f.sae_id = s.sae_id
        GROUP BY s.sae_id, s.slug, s.d_sae
        HAVING count(f.feature) <> s.d_sae OR count(DISTINCT f.feature) <> s.d_sae
            OR min(f.feature) <> 0 OR max(f.feature) <> s.d_sae - 1
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
            || coalesce(f.n, 0) || ' rows of ' || coalesce(w.kind, f.kind) AS fault, s.slug
        FROM wanted w FULL JOIN facts f ON f.sae_id = w.sae_id AND f.set_id = w.set_id AND f.kind = w.kind
        LEFT JOIN sae s ON s.sae_id = coalesce(w.sae_id, f.sae_id)
        WHERE f.n IS DISTINCT FROM 1 OR w.kind IS NULL
        """,
    ),
    "vocabulary": (
        "every model has its tokens 0 to d_vocab - 1, each once",
        """
        SELECT m.name || ' has ' || count(t.token_id) || ' tokens; want 0 to ' || (m.d_vocab - 1) AS fault,
            NULL::VARCHAR AS slug
        FROM model m LEFT JOIN token t ON t.model_id = m.model_id
        GROUP BY m.model_id, m.name, m.d_vocab
        HAVING count(DISTINCT t.token_id) <> m.d_vocab OR count(t.token_id) <> m.d_vocab
            OR min(t.token_id) <> 0 OR max(t.token_id) <> m.d_vocab - 1
        """,
    ),
    "token ids": (
        "every token named by a feature or a set is in the vocabulary",
        """
        SELECT 'token ' || f.token_id || ' of ' || s.slug || '/' || f.feature AS fault, s.slug
        FROM feature_token f JOIN sae s ON s.sae_id = f.sae_id
        ANTI JOIN token t ON t.model_id = s.model_id AND t.token_id = f.token_id
        UNION ALL
        SELECT 'token ' || i.token_id || ' of set ' || s.name AS fault, NULL AS slug
        FROM token_set_member i JOIN token_set s ON s.set_id = i.set_id
        ANTI JOIN token t ON t.model_id = s.model_id AND t.token_id = i.token_id
        """,
    ),
    "notes": (
        "every tag and explanation is of a feature that is there, each tag once",
        """
        SELECT 'tag ' || g.tag || ' of ' || s.slug || '/' || g.feature || ' is there ' || count(*) || ' times, and '
            || s.slug || ' has features 0 to ' || (s.d_sae - 1) || '; ''featdex tag --remove'' takes it out' AS fault,
            NULL::VARCHAR AS slug
        FROM tag g JOIN sae s ON s.sae_id = g.sae_id
        GROUP BY s.slug, s.d_sae, g.feature, g.tag
        HAVING count(*) > 1 OR g.feature IS NULL OR g.feature NOT BETWEEN 0 AND s.d_sae - 1
        UNION ALL
        SELECT 'an explanation of ' || s.slug || '/' || coalesce(x.feature::VARCHAR, 'NULL')
            || CASE WHEN x.text IS NULL THEN ' has no text' ELSE ', which has features 0 to ' || (s.d_sae - 1) END
            || '; ''featdex import explanations --replace'' takes it out' AS fault,
            NULL AS slug
        FROM explanation x JOIN sae s ON s.sae_id = x.sae_id
        WHERE x.text IS NULL OR x.feature IS NULL OR x.feature NOT BETWEEN 0 AND s.d_sae - 1
        """,
    ),
    "moments": (
        "statistics are possible: kurtosis >= 1 + skewness^2, quantiles ascend, counts fit the vocabulary",
        """
        SELECT s.slug || '/' || f.feature || ': kurtosis ' || f.kurtosis || ', skewness ' || f.skewness || ', from '
            || f.min || ' to ' || f.max AS fault, s.slug
        FROM feature f JOIN sae s ON s.sae_id = f.sae_id JOIN model m ON m.model_id = s.model_id
        WHERE f.kurtosis * 1.001 + 0.001 < 1 + f.skewness ** 2
            OR f.cos_kurtosis * 1.001 + 0.001 < 1 + f.cos_skewness ** 2
            OR abs(f.bimodality * f.kurtosis - f.skewness ** 2 - 1) > 0.001 * (1 + f.skewness ** 2)
            OR NOT (f.min <= f.q01 AND f.q01 <= f.q05 AND f.q05 <= f.q25 AND f.q25 <= f.q50)
            OR NOT (f.q50 <= f.q75 AND f.q75 <= f.q95 AND f.q95 <= f.q99 AND f.q99 <= f.max)
            OR least(f.std, f.cos_std, f.dec_norm) < 0 OR abs(f.cos_mean) > 1.00001 OR abs(f.enc_dec_cos) > 1.00001
            OR list_min(f.histogram) < 0 OR list_sum(f.histogram) > m.d_vocab OR len(f.histogram) <> 50
            OR f.log10_density > 0 OR (f.dead IS NULL) <> (f.log10_density IS NULL) OR f.dead <> (f.log10_density < -9)
        """,
    ),
}


def checks() -> dict[str, Check]:
    """Return every check by name: a function of a connection."""
    queries = _CHECKS | {
        "numbers": ("no NaN and no infinity", _numbers_query()),
        "owners": ("every row belongs to an SAE, a set or a model that is there", _owners_query()),
    }
    for table in TABLES:
        if table.order:
            promise = f"rows lie sorted by {', '.join(table.order)}, none double"
            queries[f"order of {table.name}"] = (promise, _order_query(table))
    whole: dict[str, Check] = {check: partial(_finding, check, *query) for check, query in queries.items()}
    return whole | SAE_CHECKS | PROOFS | {"queries": _queries}


def examine(connection: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    """Yield the outcome of every check, one after another; a check that can't read the file says so."""
    more = DATASET_CHECKS if is_dataset(connection) else {}
    for name, check in (checks() | more).items():
        try:
            yield check(connection)
        except FeatdexError as fault:
            yield Finding(name, False, str(fault))


def rebuild_commands(connection: duckdb.DuckDBPyConnection, slugs: Iterable[str]) -> list[str]:
    """Return for each SAE the command that computes it again, after `featdex --db FILE`.

    What the ledger does not know, or not any more, stands there in capitals.
    """
    commands = []
    for slug in sorted(slugs):
        try:
            ((text,),) = rows(
                connection,
                "SELECT arg_max(r.params, r.run_id) FROM run r JOIN sae s USING (sae_id) WHERE s.slug = $slug",
                {"slug": slug},
            )
            origin = dict(json.loads(text or "{}").get("origin") or {})
        except (FeatdexError, ValueError, AttributeError, TypeError):
            origin = {}
        words = ["ingest", str(origin.get("source") or "SOURCE"), "--model", str(origin.get("model") or "MODEL")]
        for option, key in (("--model-name", "model_name"), ("--layers", "layer"), ("--sae", "sae")):
            if origin.get(key) is not None:
                words += [option, str(origin[key])]
        commands.append(shlex.join([*words, "--slug", slug, "--force"]))
    return commands


def _finding(check: str, promise: str, query: str, connection: duckdb.DuckDBPyConnection) -> Finding:
    faults = Faults()
    faults.count(connection, query)
    return faults.finding(check, promise)


def _numbers_query() -> str:
    parts = []
    for table in TABLES:
        floats = [column.name for column in table.columns if column.sql_type in ("FLOAT", "DOUBLE")]
        if floats:
            counts = ", ".join(f'count(*) FILTER (NOT isfinite("{name}")) AS "{name}"' for name in floats)
            # UNPIVOT makes a row of every column, so the fault can name it. Every table with floats has a sae_id.
            parts.append(
                f"SELECT n || ' of {table.name}.' || column_name AS fault, {_SLUG} AS slug"
                f" FROM (UNPIVOT (SELECT sae_id, {counts} FROM {table.name} GROUP BY sae_id)"
                f" ON COLUMNS(* EXCLUDE sae_id) INTO NAME column_name VALUE n) c WHERE n > 0"
            )
    return " UNION ALL ".join(parts)


def _owners_query() -> str:
    parts = []
    for table in TABLES:
        for key, owner in _OWNERS.items():
            if key in table.column_names and table.name != owner:
                of_sae = key != "sae_id" and "sae_id" in table.column_names
                keys = f"sae_id, {key}" if of_sae else key
                parts.append(
                    f"SELECT '{table.name} has rows of {key} ' || c.{key} || ', which {owner} has not' AS fault,"
                    f" {_SLUG if of_sae else 'NULL'} AS slug FROM (SELECT DISTINCT {keys} FROM {table.name}) c"
                    f" ANTI JOIN {owner} o ON o.{key} = c.{key}"
                )
    return " UNION ALL ".join(parts)


def _order_query(table: Table) -> str:
    """Compare each row with the one stored before it.

    A replaced SAE moves to the end, so blocks (of one SAE, set or model) lie in any order; but each must be in one
    piece and strictly ascending inside. `lag` over an empty window streams through the table without a sort, and the
    sums take a row a block.
    """
    block, *keys = table.order
    columns = [block, *keys]
    lags = ", ".join(f"lag({column}) OVER () AS last_{column}" for column in columns)
    ascending = "false"
    for key in reversed(keys):
        ascending = f"({key} > last_{key} OR ({key} = last_{key} AND {ascending}))"
    slug = _SLUG if block == "sae_id" else "NULL"
    return f"""
        WITH pairs AS NOT MATERIALIZED (SELECT {", ".join(columns)}, {lags} FROM {table.name}),
        blocks AS (
            SELECT {block}, count(*) FILTER ({block} IS DISTINCT FROM last_{block}) AS n_pieces,
                count(*) FILTER ({block} = last_{block} AND NOT {ascending}) AS n_descents
            FROM pairs
            GROUP BY {block}
        )
        SELECT '{block} ' || c.{block} || CASE WHEN c.n_pieces > 1 THEN ' lies in ' || c.n_pieces || ' pieces'
            ELSE ' has ' || c.n_descents || ' rows that do not follow the one before' END AS fault, {slug} AS slug
        FROM blocks c
        WHERE c.n_pieces > 1 OR c.n_descents > 0
    """


def _queries(connection: duckdb.DuckDBPyConnection) -> Finding:
    """Bind every view, and every question by the example in its comment: SQL that does not fit the tables fails."""
    import duckdb

    faults = Faults()
    views = rows(connection, "SELECT view_name FROM duckdb_views() WHERE NOT internal")
    comments = rows(
        connection, "SELECT comment FROM duckdb_functions() WHERE function_type = 'table_macro' AND NOT internal"
    )
    calls = ['FROM "' + name.replace('"', '""') + '"' for (name,) in views]
    calls += [
        # One statement: whoever made the file wrote the comment.
        found[1]
        for (comment,) in comments
        if (found := re.search(r"^Example: (FROM [^;\n]*)$", comment or "", re.MULTILINE))
    ]
    for call in calls:
        try:
            connection.execute(f"EXPLAIN {call}").fetchall()
        except duckdb.Error as error:
            faults.add(f"{call}: {one_line(error)}; 'featdex migrate' installs the views and questions again")
    return faults.finding("queries", f"all {len(calls)} views and questions work")
