"""False positive rates of every p column of `enrichment` on fresh random directions of one decoder.

The directions come from N(0, Sigma) of the decoder by another seed than the null that featdex stores, and are scored
by the functions that score features. Only Sigma is taken from the decoder and not from the rows that are scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from calibration_material import FRESH_SEED, Material, Ranked, ranking_p
from featdex.ingest.beta_tail import log10_p_of_cosine
from featdex.ingest.directions import Covariance, decoder_covariance, direction_scores, unit_rows
from featdex.ingest.multiplicity import log10_benjamini_hochberg
from featdex.ingest.random_directions import draw_directions, log10_p_es, summarise_null
from featdex.ingest.smirnov import log10_p_ks
from jaxtyping import Bool, Float32, Float64, Int64
from scipy import optimize, stats

COLUMNS = ("log10_p", "log10_p_adj", "log10_p_es", "log10_p_ks", "log10_p_top")
LEVELS = (0.05, 1e-3, 1e-4)
TOLERANCE = {0.05: 0.10, 1e-3: 0.30}
"""Largest relative error of a rate that the closed forms may have."""

FAMILY = 2000
"""Features of one (SAE, set) among which q is computed here."""

ALL_FAMILY = 500
MIXED_ROWS = (1, 4, 16, 64, 256)
TAIL_GRID = np.round(np.arange(0.0, 5.01, 0.1), 1)
_SHARES = np.round(np.linspace(0.0, 1.0, 41), 3)

Table = dict[str, Any]


def p_columns(
    material: Material,
    rows: Float32[torch.Tensor, "r d"],
    ranked: Ranked,
    es_null: Float64[np.ndarray, "s n"],
) -> dict[str, Float64[np.ndarray, "s r"]]:
    """Return every p column of the sets in `rows`, against the covariance of the material's decoder."""
    p_ks, p_top = ranking_p(ranked, material.sizes, material.W_U.shape[1])
    return {
        "log10_p": direction_scores(rows, material.contrasts, material.covariance)[1],
        "log10_p_adj": direction_scores(rows, material.adjusted(), material.covariance)[1],
        "log10_p_es": log10_p_es(ranked.es, summarise_null(es_null)),
        "log10_p_ks": p_ks,
        "log10_p_top": p_top,
    }


def passing(log10_p: Float64[np.ndarray, "s r"], level: float) -> Bool[np.ndarray, "s r"]:
    """Return where p is at most `level`; a p that is NULL never is."""
    return np.asarray(np.less_equal(log10_p, np.log10(level) + 1e-9))


class Binomial:
    """How the number of passing directions is spread where a test is exact: by chance alone.

    A p made from `n_null` random directions that all features share has their chance besides: it passes beyond the
    k-th largest of them, k = level (R + 1), and the share beyond that is Beta(k, R + 1 - k).
    """

    def __init__(self, n: int, level: float, n_null: int = 0) -> None:
        k = int(level * (n_null + 1) + 1e-9)
        self.n = n
        self.never = n_null > 0 and k == 0
        self._law = stats.betabinom(n, k, n_null + 1 - k) if k else stats.binom(n, level)

    def at_most(self, count: float) -> float:
        return 1.0 if self.never else float(self._law.cdf(count))

    def band(self) -> tuple[int, int]:
        """Return the central counts that hold at least 95 %."""
        return (0, 0) if self.never else (int(self._law.ppf(0.025)), int(self._law.ppf(0.975)))

    def p_value(self, count: int) -> float:
        """Return the two-sided p of a count."""
        above = 1 - self.at_most(count - 1) if not self.never else 1.0
        return min(2 * min(self.at_most(count), above), 1.0)


def column_summary(log10_p: Float64[np.ndarray, "s r"], names: list[str], n_null: int = 0) -> Table:
    """Summarise the rates of one p column over the sets that have it.

    Sets share the directions, so the standard error of the pooled rate treats a direction as one observation; a
    column made from `n_null` null directions has their noise besides.
    """
    has = ~np.isnan(log10_p).all(1)
    kept = [name for name, there in zip(names, has, strict=True) if there]
    summary: Table = {"sets": len(kept), "levels": {}}
    for level in LEVELS:
        hits = passing(log10_p[has], level)
        per_direction = float(hits.mean(0).std(ddof=1))
        entry = level_summary(hits.sum(1), hits.shape[1], level, kept, n_null)
        noise = 1 / hits.shape[1] + (1 / n_null if n_null else 0.0)
        entry |= {"pooled": float(hits.mean()), "standard_error": per_direction * float(np.sqrt(noise))}
        summary["levels"][f"{level:g}"] = entry
    finite = log10_p[has]
    summary["tail"] = [float((finite <= -x + 1e-9).mean()) for x in TAIL_GRID]
    return summary


def level_summary(counts: Int64[np.ndarray, "s"], n: int, level: float, names: list[str], n_null: int) -> Table:
    """Compare the counts of the sets with what chance alone would give."""
    law = Binomial(n, level, n_null)
    low, high = law.band()
    worst = int(np.argmax(np.abs(counts - n * level)))
    entry: Table = {
        "quantiles": [float(q) for q in np.quantile(counts / n, (0, 0.25, 0.5, 0.75, 1))],
        "inside_95_band": int(((counts >= low) & (counts <= high)).sum()),
        "band": [low / n, high / n],
        "worst_set": names[worst],
        "worst_rate": float(counts[worst] / n),
        "worst_p_bonferroni": min(law.p_value(int(counts[worst])) * len(names), 1.0),
    }
    if level in TOLERANCE:
        edges = [n * level * (1 + sign * TOLERANCE[level]) for sign in (-1, 1)]
        entry["inside_tolerance"] = int(((counts >= edges[0] - 1e-9) & (counts <= edges[1] + 1e-9)).sum())
        share = law.at_most(np.floor(edges[1] + 1e-9)) - law.at_most(np.ceil(edges[0] - 1e-9) - 1)
        entry["expected_inside_tolerance"] = share * len(names)
    return entry


def global_null(log10_p: Float64[np.ndarray, "s r"], family: int, together: bool) -> Table:
    """Count the families of pure noise in which q < .05 calls anything: at most 5 % should.

    Args:
        log10_p: p of every set and random direction.
        family: Directions in one family.
        together: Whether all sets of these directions make one family (log10_q_all) or each its own (log10_q).
    """
    has = log10_p[~np.isnan(log10_p).all(1)]
    called = []
    for start in range(0, has.shape[1] - family + 1, family):
        block = has[:, start : start + family]
        families = [block.ravel()] if together else list(block)
        called += [bool((log10_benjamini_hochberg(p) < np.log10(0.05)).any()) for p in families]
    return {"families": len(called), "tests": family * (len(has) if together else 1), "called": float(np.mean(called))}


def in_sample_rates(material: Material, n_directions: int) -> Table:
    """Measure the closed forms where Sigma comes from the very rows that are scored, as in an ingest.

    Each replicate is a dictionary of as many random directions as the decoder has rows.
    """
    n_rows = material.W_dec.shape[0]
    found: dict[str, list[Float64[np.ndarray, "s r"]]] = {"log10_p": [], "log10_p_adj": []}
    replicates = -(-n_directions // n_rows)
    for replicate in range(replicates):
        rows = draw_directions(material.covariance, n_rows, FRESH_SEED + 1 + replicate)
        covariance = decoder_covariance(rows)
        found["log10_p"].append(direction_scores(rows, material.contrasts, covariance)[1])
        found["log10_p_adj"].append(direction_scores(rows, material.adjusted(covariance), covariance)[1])
    table: Table = {"rows": n_rows, "replicates": replicates}
    for column, parts in found.items():
        table[column] = column_summary(np.concatenate(parts, axis=1), material.names)
        del table[column]["tail"]
    return table


def mixture_rates(material: Material, n_directions: int) -> list[Table]:
    """Measure log10_p on sums of k real rows with random signs: Sigma is theirs, but no elliptical law.

    k = 1 is the decoder itself, whose features do promote sets: there the rates are no error rates.
    """
    unit, live = unit_rows(material.W_dec)
    unit = unit[live]
    random = np.random.default_rng(FRESH_SEED)
    tables = []
    for k in MIXED_ROWS:
        rows = unit if k == 1 else torch.stack([_signed_sum(unit, k, random) for _ in range(n_directions)])
        log10_p = direction_scores(rows.float(), material.contrasts, material.covariance)[1]
        pooled = {f"{level:g}": float(passing(log10_p, level).mean()) for level in LEVELS}
        tables.append({"rows_mixed": k, "pooled": pooled})
    return tables


def _signed_sum(unit: Float64[torch.Tensor, "f d"], k: int, random: np.random.Generator) -> Float64[torch.Tensor, "d"]:
    chosen = torch.from_numpy(random.choice(len(unit), min(k, len(unit)), replace=False))
    return torch.from_numpy(random.choice([-1.0, 1.0], len(chosen))) @ unit[chosen]


def critical_score(n: int, n_tokens: int, level: float = 0.05) -> float:
    """Return the |es| that a random set of `n` tokens exceeds with probability `level`."""

    def excess(score: float) -> float:
        return float(log10_p_ks(np.array([score]), n, n_tokens)[0] - np.log10(level))

    return float(optimize.brentq(excess, 1e-6, 1 - 1e-6))


def set_rows(
    material: Material,
    ranked: Ranked,
    columns: Mapping[str, Float64[np.ndarray, "s r"]],
    called: Mapping[str, Float64[np.ndarray, "s"]],
) -> list[Table]:
    """Return the table of rates, a row a set; `called` holds shares of the decoder's own features by p column."""
    vif, nuisance = material.vif(), material.nuisance_share()
    n_tokens = material.W_U.shape[1]
    table = []
    for k, name in enumerate(material.names):
        n = material.sizes[k]
        row: Table = {"decoder": material.name, "set": name, "n": n, "vif": float(vif[k])}
        row["nuisance_share"] = float(nuisance[k])
        row["directions"] = ranked.es.shape[1]
        for column, log10_p in columns.items():
            for level in LEVELS:
                there = not np.isnan(log10_p[k]).all()
                row[f"{column}_{level:g}"] = float(passing(log10_p[k], level).mean()) if there else None
        row["score_q95_directions"] = float(np.quantile(np.abs(ranked.es[k]), 0.95))
        row["score_q95_tokens"] = critical_score(n, n_tokens)
        row |= {f"real_called_{column}": float(shares[k]) for column, shares in called.items()}
        table.append(row)
    return table


def called_shares(log10_p: Float64[np.ndarray, "s f"]) -> Float64[np.ndarray, "s"]:
    """Return the share of features with q < .05 in each set."""
    return np.array([(log10_benjamini_hochberg(p) < np.log10(0.05)).mean() for p in log10_p])


def tail_forms(
    rows: Float32[torch.Tensor, "r d"], material: Material, sets: list[int]
) -> dict[str, Float64[np.ndarray, "s r"]]:
    """Return log10 p of z by three readings: the exact cosine, the normal tail, and z / sqrt(d) as if a cosine."""
    d = material.covariance.rank
    z, exact, _ = direction_scores(rows, material.contrasts[sets], material.covariance)
    return {
        "z": z,
        "exact": exact,
        "normal": (np.log(2) + stats.norm.logsf(np.abs(z))) / np.log(10),
        "fixed_length": log10_p_of_cosine(z / np.sqrt(d), d),
    }


def whitened_lengths(rows: Float32[torch.Tensor, "r d"], covariance: Covariance) -> Float64[np.ndarray, "r"]:
    """Return |w~| / sqrt(d) of the unit-normalised rows."""
    unit, live = unit_rows(rows)
    squares = ((unit[live] @ covariance.precision) * unit[live]).sum(1)
    return np.asarray((squares / covariance.rank).sqrt().numpy())


def length_quantiles(lengths: Float64[np.ndarray, "r"]) -> list[float]:
    """Return the quantiles of the lengths at 0, 2.5 %, ... 100 %."""
    return [float(q) for q in np.quantile(lengths, _SHARES)]
