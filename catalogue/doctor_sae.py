"""The checks of a catalogue that look at one SAE after another, so that memory is that of the largest.

Every check is a query whose rows are faults, so an empty result is the proof.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .dataset_place import columns_of_dataset
from .dataset_tables import CORE
from .findings import Check, Faults, Finding, rows
from .tables import ENRICHMENT

if TYPE_CHECKING:
    import duckdb

_ROUNDING = 1e-5
_LOG10 = ", ".join(f"e.{column.name}" for column in ENRICHMENT.columns if column.name.startswith("log10_"))
_ONE = """
    one AS (
        SELECT s.sae_id, s.slug, s.d_sae::HUGEINT AS d_sae, least(20, m.d_vocab) AS k
        FROM sae s LEFT JOIN model m ON m.model_id = s.model_id
        WHERE s.sae_id = $sae
    )
"""
# A weighted es has no log10_p_ks, a catalogue without random directions no log10_p_es: of these none, or all.
_ALWAYS = ("es", "es_opposed", "peak_rank", "lead_n", "auroc", "mean_diff", "top_hits", "bottom_hits", "log10_p_top")
_TOGETHER = {"z": ("log10_p", "log10_q", "log10_q_all"), "z_adj": ("log10_p_adj",), "log10_p_ks": (), "log10_p_es": ()}


def _holes_query(kept: tuple[str, ...]) -> str:
    """Return the check of these columns of enrichment: a dataset may have a part of them only."""
    together = {first: [name for name in names if name in kept] for first, names in _TOGETHER.items() if first in kept}
    always = [name for name in _ALWAYS if name in kept]
    counted = [*always, *together, *(name for names in together.values() for name in names)]
    counts = ", ".join(f"count(e.{name}) AS {name}" for name in counted)
    wrong = [f"c.{name} <> l.n" for name in always]
    for first, others in together.items():
        wrong += [f"c.{first} NOT IN (0, l.n)", *(f"c.{name} <> c.{first}" for name in others)]
    return f"""
        WITH {_ONE},
        live AS (SELECT count(*) AS n FROM feature f WHERE f.sae_id = $sae AND f.dec_norm IS DISTINCT FROM 0),
        counted AS (SELECT e.set_id, {counts} FROM enrichment e WHERE e.sae_id = $sae GROUP BY e.set_id)
        SELECT o.slug || ', set ' || c.set_id || ': of ' || l.n || ' features ' || c.es || ' have an es, ' || c.z
            || ' a z, ' || c.log10_p || ' a log10_p, ' || c.log10_q || ' a log10_q' AS fault, o.slug
        FROM counted c, live l, one o
        WHERE {" OR ".join(wrong)}
    """


# Two columns: `fault`, a sentence about one thing that is wrong, and `slug`.
_CHECKS: dict[str, tuple[str, str]] = {
    "feature tokens": (
        "every feature but a zero decoder row has its 20 tokens each way, each rank once, by weight",
        f"""
        WITH {_ONE},
        ranked AS (
            SELECT t.feature, t.rank, t.weight, CASE WHEN t.rank BETWEEN -20 AND 20 AND t.rank <> 0 THEN t.rank END AS r
            FROM feature_token t
            WHERE t.sae_id = $sae
        ),
        found AS (
            SELECT r.feature, count(*) AS n, bit_or(1::BIGINT << (r.r + 20)) AS ranks,
                max(r.weight) FILTER (r.rank = 1) AS first, min(r.weight) FILTER (r.rank = -1) AS last
            FROM ranked r
            GROUP BY r.feature
        )
        SELECT o.slug || '/' || f.feature || ' has ' || coalesce(t.n, 0) || ' rows, '
            || coalesce(bit_count(t.ranks), 0) || ' ranks; want ' || 2 * o.k || ', from ' || f.min || ' to ' || f.max
            AS fault, o.slug
        FROM one o
        JOIN feature f ON f.sae_id = o.sae_id
        LEFT JOIN found t ON t.feature = f.feature
        WHERE f.dec_norm IS DISTINCT FROM 0 AND (
            coalesce(t.n, 0) <> 2 * o.k
            OR t.ranks <> ((1::BIGINT << (2 * o.k + 1)) - 1 - (1::BIGINT << o.k)) << (20 - o.k)
            OR t.ranks IS NULL
            OR abs(t.first - f.max) > {_ROUNDING} * (1 + abs(f.max))
            OR abs(t.last - f.min) > {_ROUNDING} * (1 + abs(f.min))
        )
        UNION ALL
        SELECT o.slug || '/' || w.feature || ' has a weight at rank ' || w.rank || ' above that of the rank before'
            AS fault, o.slug
        FROM (
            -- Both ends in one order: +1 to +20, then -20 to -1.
            SELECT r.feature, r.rank, r.weight > lag(r.weight) OVER (
                PARTITION BY r.feature ORDER BY r.rank < 0, r.rank
            ) AS rises
            FROM ranked r
        ) w, one o
        WHERE w.rises
        """,
    ),
    "enrichment": (
        "every set of an SAE has all its features, each once",
        f"""
        WITH {_ONE},
        found AS (
            SELECT e.set_id, count(*)::HUGEINT AS n, min(e.feature) AS first, max(e.feature) AS last,
                sum(e.feature::HUGEINT) AS total, sum(e.feature::HUGEINT * e.feature) AS squares
            FROM enrichment e
            WHERE e.sae_id = $sae
            GROUP BY e.set_id
        )
        SELECT o.slug || ' has ' || f.n || ' rows of set ' || f.set_id || ', features ' || f.first || ' to ' || f.last
            || '; want ' || o.d_sae || ', each once' AS fault, o.slug
        FROM found f, one o
        WHERE f.n <> o.d_sae OR f.first <> 0 OR f.last <> o.d_sae - 1
            OR 2 * f.total <> o.d_sae * (o.d_sae - 1)
            OR 6 * f.squares <> o.d_sae * (o.d_sae - 1) * (2 * o.d_sae - 1)
        """,
    ),
    "scores": (
        "scores are possible: |es| <= 1, es_opposed and auroc in 0 to 1, log10 of a probability <= 0, q >= p",
        f"""
        WITH {_ONE}
        SELECT o.slug || ', set ' || e.set_id || ', feature ' || e.feature AS fault, o.slug
        FROM enrichment e JOIN one o ON o.sae_id = e.sae_id LEFT JOIN token_set s ON s.set_id = e.set_id
        WHERE e.sae_id = $sae AND (
            abs(e.es) > 1 + {_ROUNDING}
            OR e.es_opposed < -{_ROUNDING} OR e.es_opposed > abs(e.es) + {_ROUNDING}
            OR e.auroc NOT BETWEEN -{_ROUNDING} AND 1 + {_ROUNDING}
            OR greatest({_LOG10}) > {_ROUNDING}
            OR least(e.log10_q, e.log10_q_all) < e.log10_p * (1 - {_ROUNDING}) - {_ROUNDING}
            OR least(e.top_hits, e.bottom_hits, e.lead_n, e.peak_rank) < 0
            OR greatest(e.top_hits, e.bottom_hits) > least(100, s.n_tokens)
            OR e.lead_n > s.n_tokens
        )
        """,
    ),
    "holes": ("no score is missing but those of zero decoder rows", _holes_query(ENRICHMENT.column_names)),
    "summaries": (
        "every summary is that of its rows",
        f"""
        WITH {_ONE},
        counted AS (
            SELECT e.set_id,
                count(*) FILTER (e.z > 0 AND e.log10_q < log10(0.05)) AS n_promoted,
                count(*) FILTER (e.z < 0 AND e.log10_q < log10(0.05)) AS n_suppressed,
                max(e.z) AS best_promoted_z, min(e.z) AS best_suppressed_z
            FROM enrichment e
            WHERE e.sae_id = $sae
            GROUP BY e.set_id
        )
        SELECT o.slug || ', set ' || y.set_id || ': ' || y.n_promoted || ' promoted, ' || y.n_suppressed
            || ' suppressed; want ' || c.n_promoted || ' and ' || c.n_suppressed AS fault, o.slug
        FROM set_summary y JOIN counted c ON c.set_id = y.set_id, one o
        WHERE y.sae_id = $sae AND (
            y.n_promoted IS DISTINCT FROM c.n_promoted OR y.n_suppressed IS DISTINCT FROM c.n_suppressed
            OR y.best_promoted_z IS DISTINCT FROM c.best_promoted_z
            OR y.best_suppressed_z IS DISTINCT FROM c.best_suppressed_z
        )
        """,
    ),
    "correlations": (
        "the null correlation of every two sets of an SAE is there, the same both ways, and in -1 to 1",
        f"""
        WITH {_ONE},
        -- A set whose contrast no random direction has any of has neither a z nor a correlation.
        tested AS (SELECT e.set_id FROM enrichment e WHERE e.sae_id = $sae GROUP BY e.set_id HAVING count(e.z) > 0),
        pairs AS (
            SELECT c.set_id, c.other_id, c.r FROM set_correlation c WHERE c.sae_id = $sae
        ),
        wanted AS (SELECT a.set_id, b.set_id AS other_id FROM tested a, tested b WHERE a.set_id <> b.set_id),
        counted AS (
            SELECT (SELECT count(*) FROM wanted) AS n_wanted, (SELECT count(*) FROM pairs) AS n_pairs,
                (SELECT count(*) FROM pairs p JOIN wanted w USING (set_id, other_id)) AS n_found
        )
        SELECT o.slug || ' has ' || c.n_found || ' correlations of two of its sets, and ' || (c.n_pairs - c.n_found)
            || ' others; want ' || c.n_wanted AS fault, o.slug
        FROM counted c, one o
        WHERE c.n_found <> c.n_wanted OR c.n_pairs <> c.n_wanted
        UNION ALL
        SELECT o.slug || ', sets ' || p.set_id || ' and ' || p.other_id || ': ' || p.r AS fault, o.slug
        FROM pairs p LEFT JOIN pairs t ON t.set_id = p.other_id AND t.other_id = p.set_id, one o
        WHERE p.r NOT BETWEEN -1 AND 1 OR p.r IS NULL OR t.r IS DISTINCT FROM p.r
        """,
    ),
}


def _finding(check: str, connection: duckdb.DuckDBPyConnection) -> Finding:
    promise, query = _CHECKS[check]
    if check == "holes" and columns_of_dataset(connection) == "core":
        query = _holes_query(CORE)
    faults = Faults()
    for (sae_id,) in rows(connection, "SELECT sae_id FROM sae ORDER BY sae_id"):
        faults.count(connection, query, {"sae": sae_id})
    return faults.finding(check, promise)


SAE_CHECKS: dict[str, Check] = {check: partial(_finding, check) for check in _CHECKS}
"""Every check that looks at one SAE after another, by name."""
