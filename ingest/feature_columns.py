"""The columns of any run of a dictionary's features, once its nulls are known.

Whoever computes a dictionary lays the ground once, its nulls included; then every run of features gets its numbers by
itself, on this machine or another, and the same ones however they are cut. Only q-values need a whole dictionary.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64

from ..catalogue.errors import WeightsError
from .blocks import Block, Place, rank_blocks
from .device import Options
from .directions import ROWS_AT_ONCE
from .inputs import AnyArray, TokenIds
from .product import TILE
from .ranking import QUANTILES, PackedSets, RowStatistics, pack_sets
from .scratch import Columns, FeatureColumns, SetColumns
from .significance import Nulls, Universe, make_nulls, ranking_columns, write_direction_columns

QUANTILE_COLUMNS = tuple(f"q{round(100 * level):02d}" for level in QUANTILES)
MOMENT_COLUMNS = ("mean", "std", "skewness", "kurtosis")

SPAN_STEP = max(TILE, ROWS_AT_ONCE)
"""Where a run of features may begin, so that its products have the shapes that they have in the whole dictionary."""

Progress = Callable[[int], None]


class Ground(NamedTuple):
    """What all features of any dictionary are ranked against.

    Attributes:
        ids: Token ids of the universe.
        universe: Its unembedding on the first place, every set as positions in it, and the covariates.
        packed: The sets from `n_kept` on, which are computed.
        places: The devices.
        n_kept: Sets whose numbers are known already, the first ones.
        options: How to compute.
    """

    ids: TokenIds
    universe: Universe
    packed: PackedSets
    places: Sequence[Place]
    n_kept: int
    options: Options


class Results(NamedTuple):
    """Where the numbers of a run of features go, its first feature at 0."""

    feature: FeatureColumns
    tokens: FeatureColumns
    enrichment: SetColumns


def lay_ground(
    W_U: Float32[torch.Tensor, "d v"],
    sets: Sequence[TokenIds],
    devices: Sequence[torch.device],
    *,
    universe: Bool[np.ndarray, "v"] | None,
    covariates: Float64[np.ndarray, "nuisances v"] | None,
    options: Options,
    n_kept: int = 0,
) -> Ground:
    """Bring the unembedding and the sets to the devices; arguments are those of `compute.compute_into`."""
    ids = np.arange(W_U.shape[1]) if universe is None else np.flatnonzero(universe)
    tokens = W_U if len(ids) == W_U.shape[1] else W_U[:, torch.from_numpy(ids)].contiguous()
    positions = [np.searchsorted(ids, members[np.isin(members, ids)]).astype(np.int32) for members in sets]
    sizes = np.array([len(part) for part in positions], dtype=np.int64)
    places = [Place.on(device, tokens) for device in devices]
    held = None if covariates is None else covariates[:, ids]
    return Ground(
        ids=ids,
        universe=Universe(places[0].W_U, positions, sizes, held),
        packed=pack_sets(positions[n_kept:], len(ids), complement=options.weight == 0.0),
        places=places,
        n_kept=n_kept,
        options=options,
    )


def nulls_of(ground: Ground, W_dec: Float32[torch.Tensor, "f d"]) -> Nulls:
    """Return the nulls of a dictionary on the first place; all of its rows have to be finite."""
    device = ground.universe.W_U.device

    def score_null(directions: Float32[torch.Tensor, "r d"]) -> Float64[np.ndarray, "s r"]:
        es = np.empty((ground.packed.n_sets, len(directions)))

        def take(block: Block) -> None:
            es[:, block.rows.start : block.rows.stop] = block.scores.es

        rank_blocks(
            directions.to(device),
            range(len(directions)),
            ground.places,
            ground.packed,
            ground.options,
            take,
            wants_statistics=False,
        )
        return es

    return make_nulls(W_dec.to(device), ground.universe, ground.options, score_null, ground.n_kept)


def write_features(
    ground: Ground,
    nulls: Nulls,
    W_dec: Float32[torch.Tensor, "f d"],
    span: range,
    results: Results,
    progress: Progress | None = None,
) -> None:
    """Compute every statistic and score of the features of `span`, all but the q-values.

    Args:
        ground: What they are ranked against.
        nulls: Of this dictionary, on the ground's first place.
        W_dec: All decoder rows.
        span: Which of them, from a multiple of `SPAN_STEP` on.
        results: Where the columns go.
        progress: Told the number of features done after each block.

    Raises:
        WeightsError: The logits overflow float32.
    """
    decoder = W_dec.to(ground.universe.W_U.device)
    known = set(results.enrichment.matrices)
    computed = write_direction_columns(decoder, nulls, results.enrichment, ground.n_kept, span)
    scored = ground.universe.of_sets(ground.n_kept)
    counting, n_done = threading.Lock(), 0

    def take(block: Block) -> None:
        nonlocal n_done
        rows, first = slice(block.rows.start, block.rows.stop), block.rows.start - span.start
        _require_finite(block.statistics, rows.start)
        norms = decoder[rows].double().norm(dim=1).cpu().numpy()
        results.feature.write(_feature_columns(block.statistics, norms), first)
        results.tokens.write(_token_columns(block, ground.ids), first)
        columns = ranking_columns(block.scores, norms > 0, scored, nulls, ground.options)
        results.enrichment.write(columns, ground.n_kept, first)
        with counting:
            computed.update(columns)
            n_done += len(block.rows)
            if progress:
                progress(n_done)

    rank_blocks(decoder, span, ground.places, ground.packed, ground.options, take, wants_statistics=True)
    results.enrichment.write_null(known - computed, ground.n_kept)


def _token_columns(block: Block, ids: TokenIds) -> Columns:
    columns: Columns = {}
    for name, positions in (("top", block.statistics.top), ("bottom", block.statistics.bottom)):
        chosen = torch.from_numpy(positions).long().to(block.logits.device)
        columns[f"{name}_tokens"] = ids[positions].astype(np.int32)
        columns[f"{name}_weights"] = block.logits.gather(1, chosen).cpu().numpy()
    return columns


def _require_finite(statistics: RowStatistics, start: int) -> None:
    broken = ~(np.isfinite(statistics.extremes).all(1) & np.isfinite(statistics.moments[:, :2]).all(1))
    if broken.any():
        feature = start + int(np.flatnonzero(broken)[0])
        raise WeightsError(f"the logit weights of feature {feature} overflow float32; scale the decoder down")


def _feature_columns(statistics: RowStatistics, norms: Float64[np.ndarray, "f"]) -> Columns:
    moments = statistics.moments
    cosines = statistics.cos_moments.copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines[:, :2] /= norms[:, None]
        bimodality = (moments[:, 2] ** 2 + 1) / moments[:, 3]
    cosines[norms == 0] = np.nan
    values: dict[str, AnyArray] = {name: moments[:, k] for k, name in enumerate(MOMENT_COLUMNS)}
    values |= {"min": statistics.extremes[:, 0], "max": statistics.extremes[:, 1]}
    values |= {name: statistics.quantiles[:, k] for k, name in enumerate(QUANTILE_COLUMNS)}
    values["bimodality"] = bimodality
    values |= {f"cos_{name}": cosines[:, k] for k, name in enumerate(MOMENT_COLUMNS)}
    columns: Columns = {name: column.astype(np.float32) for name, column in values.items()}
    columns["histogram"] = statistics.histogram
    columns["dec_norm"] = norms.astype(np.float32)
    return columns
