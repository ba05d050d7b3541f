"""The numbers of pictures, by SQL on the catalogue, as numpy columns; and the names by which pictures call things."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .errors import NotFoundError, UsageError, nearest
from .file import translated
from .formats import read
from .plot_text import drawn_name, drawn_token, page_name, page_token
from .tables import STATISTICS

if TYPE_CHECKING:
    from .catalogue import Catalogue

Array = npt.NDArray[np.float64]
Columns = dict[str, npt.NDArray[Any]]

"""What every feature has a number of."""

TOKENS_OF_PAGE = 5
MOST_PAGE_TOKENS = 100_000
"""Above so many points, a page says nothing of tokens: it would take the browser too long to load."""

_TOKENS_SQL = """
SELECT ft.sae_id, ft.feature, list(t.str ORDER BY ft.rank) AS tokens
FROM feature_token ft
JOIN sae s ON s.sae_id = ft.sae_id
JOIN token t ON t.model_id = s.model_id AND t.token_id = ft.token_id
WHERE ft.sae_id IN (SELECT unnest($saes)) AND ft.rank BETWEEN 1 AND $n
GROUP BY ft.sae_id, ft.feature
"""


class Sae(NamedTuple):
    """A dictionary of features, in the order of layers."""

    sae_id: int
    slug: str
    model: str
    layer: int | None
    kind: str
    release: str
    site: str
    d_sae: int


def chosen_saes(catalogue: Catalogue, pattern: str | None) -> list[Sae]:
    """Return the SAEs whose slug or release matches a GLOB, by model and layer; all for None.

    Raises:
        NotFoundError: None does, or the catalogue has none.
    """
    relation = catalogue.sql(
        "SELECT s.sae_id, s.slug, m.name, s.layer, s.kind, s.release, s.site, s.d_sae"
        " FROM sae s JOIN model m USING (model_id) WHERE s.sae_id IN (FROM _sae_ids($pattern))"
        " ORDER BY m.name, s.layer NULLS LAST, s.kind, s.slug",
        {"pattern": pattern},
    )
    saes = [Sae(*row) for row in read(relation).rows]
    if not saes:
        raise NotFoundError(f"{catalogue.path} holds no SAE yet; featdex ingest fills it")
    return saes


def read_columns(catalogue: Catalogue, sql: str, parameters: dict[str, Any]) -> Columns:
    """Return the columns of a query by name: floats with NaN for NULL, integers, text as objects.

    Raises:
        QueryError, NotFoundError: DuckDB, or a helper of the catalogue, finds a fault.
    """
    with translated():
        columns = catalogue.sql(sql, parameters).fetchnumpy()
    return {name: _plain(values) for name, values in columns.items()}


def _plain(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not np.ma.isMaskedArray(values):
        return values
    masked: Any = values
    if values.dtype.kind == "f":
        return np.asarray(masked.filled(np.nan))
    return np.asarray(masked.filled(None) if values.dtype.kind == "O" else masked.data)


def require_statistic(name: str) -> str:
    """Return the name of a statistic of features.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in STATISTICS:
        raise UsageError(f"no statistic {name!r}{nearest(name, STATISTICS) or '; there are ' + ', '.join(STATISTICS)}")
    return name


def require_set(catalogue: Catalogue, name: str) -> None:
    """Raise `NotFoundError`, with the nearest names, where no model has a token set of this name."""
    read(catalogue.sql("FROM _set_ids($name)", {"name": name}))


def short_names(saes: Sequence[Sae]) -> list[str]:
    """Return slugs without the model where all have the same one: `29-mlp`."""
    if len({sae.model for sae in saes}) > 1:
        return [sae.slug for sae in saes]
    prefix = f"{saes[0].model}/"
    return [sae.slug.removeprefix(prefix) for sae in saes]


def axis_names(saes: Sequence[Sae]) -> tuple[list[str], str]:
    """Return what to write below SAEs along an axis, and what that is: layers, where no two SAEs have the same."""
    layers = [sae.layer for sae in saes]
    if None in layers or len(set(layers)) < len(layers) or len({sae.model for sae in saes}) > 1:
        return [drawn_name(name, 20) for name in short_names(saes)], "SAE"
    return [str(layer) for layer in layers], "layer"


def label_texts(catalogue: Catalogue, saes: Sequence[Sae], columns: Columns, chosen: Sequence[int]) -> list[str]:
    """Return the label of each chosen point: the feature's address and its foremost token.

    Args:
        catalogue: The catalogue.
        saes: The SAEs of the points.
        columns: `sae_id` and `feature` of all points, and `rank`: 1 for the token that the feature promotes most, -1
            for the one that it suppresses most.
        chosen: Which points.
    """
    names = {sae.sae_id: name for sae, name in zip(saes, short_names(saes), strict=True)}
    points = {name: columns[name][list(chosen)].tolist() for name in ("sae_id", "feature", "rank")}
    tokens = _leading_tokens(catalogue, points["sae_id"], points["feature"], points["rank"])
    return [
        f"{drawn_name(names[sae_id], 20)}/{feature} {drawn_token(token)}"
        for sae_id, feature, token in zip(points["sae_id"], points["feature"], tokens, strict=True)
    ]


def _leading_tokens(catalogue: Catalogue, sae_ids: list[int], features: list[int], ranks: list[int]) -> list[str]:
    relation = catalogue.sql(
        "SELECT coalesce(t.str, '')"
        " FROM (SELECT unnest(range(len($saes))) AS place, unnest($saes) AS sae_id, unnest($features) AS feature,"
        "  unnest($ranks) AS rank) w"
        " JOIN sae s ON s.sae_id = w.sae_id"
        " LEFT JOIN feature_token ft ON ft.sae_id = w.sae_id AND ft.feature = w.feature AND ft.rank = w.rank"
        " LEFT JOIN token t ON t.model_id = s.model_id AND t.token_id = ft.token_id"
        " ORDER BY w.place",
        {"saes": sae_ids, "features": features, "ranks": ranks},
    )
    return [text for (text,) in read(relation).rows]


def hover_texts(catalogue: Catalogue, saes: Sequence[Sae], columns: Columns, notes: list[str]) -> list[str]:
    """Return what a page says of each point: the feature's address and the tokens that it promotes most.

    Args:
        catalogue: The catalogue.
        saes: The SAEs of the points.
        columns: `sae_id` and `feature` of each point.
        notes: Told here, where there are too many points for their tokens.
    """
    points = list(zip(columns["sae_id"].tolist(), columns["feature"].tolist(), strict=True))
    names = {sae.sae_id: page_name(name) for sae, name in zip(saes, short_names(saes), strict=True)}
    if len(points) > MOST_PAGE_TOKENS:
        notes.append(f"of {len(points):,} points a page tells the address only, of {MOST_PAGE_TOKENS:,} tokens as well")
        return [f"{names[sae_id]}/{feature}" for sae_id, feature in points]
    relation = catalogue.sql(_TOKENS_SQL, {"saes": list(names), "n": TOKENS_OF_PAGE})
    shown = cache(page_token)
    tokens = {(sae_id, feature): " ".join(map(shown, texts)) for sae_id, feature, texts in read(relation).rows}
    return [f"{names[point[0]]}/{point[1]}<br>{tokens.get(point, '')}" for point in points]
