"""Power and realised false discovery rate at q < .05 on planted features, one among a hundred.

A planted feature is w~ = sqrt(1 - s^2) g~ + s v~ in the whitened space of the decoder, with g~ a random unit vector
and v~ the planted unit vector: its strength s is a cosine there, and so means the same for every set and decoder.
Dictionaries are planted features among random directions; truth is known, so discoveries can be counted as false.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from calibration_material import FRESH_SEED, Material, Ranked, rank, ranking_p
from calibration_rates import Table
from featdex.ingest.directions import decoder_covariance, direction_scores
from featdex.ingest.multiplicity import log10_benjamini_hochberg
from featdex.ingest.random_directions import log10_p_es, summarise_null
from featdex.ingest.ranking import pack_sets
from jaxtyping import Bool, Float32, Float64

POWER_SETS = (
    "all_digits",
    "she_pronouns",
    "quotes",
    "months",
    "girls_names",
    "non_ascii",
    "pos_VBG",
    "suffix_ing",
    "first_letter_s",
    "starts_with_space",
)
PREDICTION_SETS = ("girls_names", "suffix_ing", "first_letter_s", "spaced_capital_words")
CONFOUNDED_SETS = ("girls_names", "boys_names", "months", "quotes")
STRENGTHS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)
PREDICTION_STRENGTHS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
PREDICTED_TOKENS = 40
Q = 0.05


class Design(NamedTuple):
    """How dictionaries are made: their features, the planted ones among them, how many, null directions of es."""

    features: int = 2000
    planted: int = 20
    dictionaries: int = 10
    in_sample: int = 3
    null: int = 2000


class Noise(NamedTuple):
    """Scores of the sets in fresh random directions (the nulls of the dictionaries) and in the directions of es' null.

    `log10_p` and `log10_p_adj` are those of the fresh directions. `es_null` and `hits_null` hold more directions than
    an ingest draws: the first `Design.null` are its own.
    """

    rows: Float32[torch.Tensor, "r d"]
    ranked: Ranked
    log10_p: Float64[np.ndarray, "s r"]
    log10_p_adj: Float64[np.ndarray, "s r"]
    es_null: Float64[np.ndarray, "s n"]
    hits_null: Float64[np.ndarray, "s n"]


class Whitening(NamedTuple):
    """Symmetric roots of Sigma and of its pseudo-inverse."""

    root: Float64[torch.Tensor, "d d"]
    inverse: Float64[torch.Tensor, "d d"]


def whitening(material: Material) -> Whitening:
    """Return the roots that lead from whitened vectors to decoder rows and back."""
    roots = []
    for matrix in (material.covariance.sigma, material.covariance.precision):
        values, vectors = torch.linalg.eigh(matrix)
        roots.append((vectors * values.clamp(min=0).sqrt()) @ vectors.T)
    return Whitening(roots[0], roots[1])


def whitened_set_vectors(
    material: Material, roots: Whitening, k: int, kind: str, n: int
) -> Float64[torch.Tensor, "n d"]:
    """Return `n` whitened vectors of planted features for set `k`.

    Args:
        material: Decoder and sets.
        roots: Its whitening.
        k: Index of the set.
        kind: `conditional` plants Sigma delta, which is what random directions with a high z have in common; `mean`
            plants delta itself, the mean member's direction; `prediction` plants for each feature the least-squares
            direction of 40 members that lie together (a random member and those nearest to it by cosine);
            `frequency` plants the frequency of tokens (Sigma times the slope on log token id), and nothing of the set.
        n: Vectors wanted; the first two kinds repeat theirs.
    """
    delta = material.contrasts[k]
    if kind == "conditional":
        return (roots.root @ delta).expand(n, -1)
    if kind == "mean":
        return (roots.inverse @ delta).expand(n, -1)
    if kind == "frequency":
        return (roots.root @ material.nuisance[0]).expand(n, -1)
    return predicted_directions(material, k, n) @ roots.inverse


def predicted_directions(material: Material, k: int, n: int) -> Float64[torch.Tensor, "n d"]:
    """Return least-squares directions whose logits are 1 for 40 neighbouring members of set `k` and 0 elsewhere."""
    tokens = material.W_U.double()
    centred = tokens - tokens.mean(1, keepdim=True)
    members = torch.from_numpy(material.positions[k]).long()
    units = centred[:, members] / centred[:, members].norm(dim=0)
    random = np.random.default_rng(FRESH_SEED + k)
    anchors = torch.from_numpy(random.choice(len(members), n, replace=n > len(members)))
    nearest = (units[:, anchors].T @ units).topk(min(PREDICTED_TOKENS, len(members)), dim=1).indices
    targets = torch.stack([centred[:, members[chosen]].mean(1) for chosen in nearest])
    # Ordinary least squares: the inverse of the tokens' second moments times the mean of those to be raised.
    precision: torch.Tensor = torch.linalg.pinv(centred @ centred.T / tokens.shape[1], hermitian=True)
    return targets @ precision


def plant(
    vectors: Float64[torch.Tensor, "n d"], strength: float, roots: Whitening, seed: int
) -> Float32[torch.Tensor, "n d"]:
    """Return decoder rows that hold whitened `vectors` at a cosine of about `strength` in random directions."""
    noise = torch.from_numpy(np.random.default_rng(seed).standard_normal(tuple(vectors.shape)))
    noise = noise / noise.norm(dim=1, keepdim=True)
    signal = vectors / vectors.norm(dim=1, keepdim=True)
    whitened: torch.Tensor = float(np.sqrt(1 - strength**2)) * noise + strength * signal
    return (whitened @ roots.root).float()


def discoveries(log10_p: Float64[np.ndarray, "f"], is_planted: Bool[np.ndarray, "f"]) -> tuple[float, float, int]:
    """Return the power, the false discovery proportion and the number called at q < .05 in one dictionary."""
    called = log10_benjamini_hochberg(log10_p) < np.log10(Q)
    n_called = int(called.sum())
    return float(called[is_planted].mean()), float((called & ~is_planted).sum() / max(n_called, 1)), n_called


def power_of_plants(
    material: Material,
    noise: Noise,
    k: int,
    kind: str,
    strengths: tuple[float, ...],
    design: Design,
    roots: Whitening,
) -> list[Table]:
    """Score one kind of planted features of one set; a row of the table for every strength and method."""
    n = design.planted * design.dictionaries
    vectors = whitened_set_vectors(material, roots, k, kind, n)
    seed = FRESH_SEED + 1000 * k
    rows = torch.cat([plant(vectors, strength, roots, seed + i) for i, strength in enumerate(strengths)])
    ranked = rank(rows, material.W_U, pack_sets([material.positions[k]], material.W_U.shape[1]))
    z, p_z, _ = direction_scores(rows, material.contrasts[[k]], material.covariance)
    p_adjusted = direction_scores(rows, material.adjusted()[[k]], material.covariance)[1]
    planted = method_p(material, k, ranked, noise, design) | {"z": p_z[0], "z_adj": p_adjusted[0]}
    random = Ranked(noise.ranked.es[[k]], noise.ranked.top_hits[[k]], noise.ranked.near)
    null = method_p(material, k, random, noise, design) | {"z": noise.log10_p[k], "z_adj": noise.log10_p_adj[k]}
    table: list[Table] = []
    for i, strength in enumerate(strengths):
        of_strength = slice(i * n, (i + 1) * n)
        facts: Table = {"planting": kind, "set": material.names[k], "n": material.sizes[k], "strength": strength}
        facts |= {"mean_z": float(z[0, of_strength].mean()), "mean_hits": float(ranked.top_hits[0, of_strength].mean())}
        tested = {name: p for name, p in planted.items() if not np.isnan(p).all()}
        outcomes = {name: _of_method(null[name], p[of_strength], design) for name, p in tested.items()}
        outcomes["z_in_sample"] = _in_sample(material, noise, k, rows[of_strength], design)
        table += [facts | {"method": method, **_means(results)} for method, results in outcomes.items()]
    return table


def _blocks(design: Design) -> list[tuple[slice, slice]]:
    """Return which random directions and which planted features each dictionary holds."""
    n_random = design.features - design.planted
    return [
        (
            slice(number * design.features, number * design.features + n_random),
            slice(number * design.planted, (number + 1) * design.planted),
        )
        for number in range(design.dictionaries)
    ]


def _of_method(
    null: Float64[np.ndarray, "r"], planted: Float64[np.ndarray, "p"], design: Design
) -> list[tuple[float, float, int]]:
    is_planted = np.arange(design.features) >= design.features - design.planted
    return [discoveries(np.concatenate([null[a], planted[b]]), is_planted) for a, b in _blocks(design)]


def _in_sample(
    material: Material, noise: Noise, k: int, rows: Float32[torch.Tensor, "p d"], design: Design
) -> list[tuple[float, float, int]]:
    """Judge z where Sigma is that of the dictionary itself, planted features included, as in an ingest."""
    is_planted = np.arange(design.features) >= design.features - design.planted
    results = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # many small eigenproblems, in which threads mostly wait for each other
    for of_null, of_planted in _blocks(design)[: design.in_sample]:
        dictionary = torch.cat([noise.rows[of_null], rows[of_planted]])
        covariance = decoder_covariance(dictionary)
        results.append(discoveries(direction_scores(dictionary, material.contrasts[[k]], covariance)[1][0], is_planted))
    torch.set_num_threads(threads)
    return results


def method_p(
    material: Material,
    k: int,
    ranked: Ranked,
    noise: Noise,
    design: Design,
) -> dict[str, Float64[np.ndarray, "r"]]:
    """Return log10 p of set `k` in some rows by every method that ranks.

    `score` is the published unsigned score with its random-token p; `es` and `es_many` are the signed score against
    few and many random directions; `top` is log10_p_top; `top_directions` the same hits against random directions.
    """
    p_ks, p_top = ranking_p(ranked, [material.sizes[k]], material.W_U.shape[1])
    many, few = noise.es_null[[k]], noise.es_null[[k], : design.null]
    return {
        "es": log10_p_es(ranked.es, summarise_null(few))[0],
        "es_many": log10_p_es(ranked.es, summarise_null(many))[0],
        "score": p_ks[0],
        "top": p_top[0],
        "top_directions": log10_p_es(ranked.top_hits.astype(np.float64), summarise_null(noise.hits_null[[k]]))[0],
    }


def _means(results: list[tuple[float, float, int]]) -> dict[str, Any]:
    power, false, called = (np.array(part, dtype=np.float64) for part in zip(*results, strict=True))
    return {
        "dictionaries": len(results),
        "power": float(power.mean()),
        "power_se": float(power.std(ddof=1) / np.sqrt(len(power))) if len(power) > 1 else None,
        "fdr": float(false.mean()),
        "called": float(called.mean()),
    }


def power_table(
    material: Material,
    noise: Noise,
    design: Design,
    sets: tuple[str, ...] = POWER_SETS,
    prediction_sets: tuple[str, ...] = PREDICTION_SETS,
    confounded_sets: tuple[str, ...] = CONFOUNDED_SETS,
) -> list[Table]:
    """Return power and false discovery rate of every planting, set, strength and method."""
    roots = whitening(material)
    table: list[Table] = []
    for kind, chosen, strengths in (
        ("conditional", sets, STRENGTHS),
        ("mean", sets, STRENGTHS),
        ("prediction", prediction_sets, PREDICTION_STRENGTHS),
        ("frequency", confounded_sets, STRENGTHS),
    ):
        for name in chosen:
            table += power_of_plants(material, noise, material.names.index(name), kind, strengths, design, roots)
    return table
