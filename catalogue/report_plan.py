"""What goes into a report: which SAEs and sets, in which order, and about how many bytes that makes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import NotFoundError, nearest
from .file import translated
from .schema import RETIRED
from .tables import STATISTICS

if TYPE_CHECKING:
    from .catalogue import Catalogue

CARDS_IN_A_FILE = 512
SHOWN_TOKENS = 6
"""Tokens that the table shows; its search looks at the promoted ones."""

N_BINS = 50

# Bytes on disk, as measured on the demo: for a statistic or a z and q of one feature, for the rest of a feature, for a
# token and a set on its card, for the page of a set, and for a token of the vocabulary.
_BYTES_STATISTIC = 4.5
_BYTES_PAIR = 3.2
_BYTES_FEATURE = 290.0
_BYTES_ENTRY = 25.0
_BYTES_SET = 3_000
_BYTES_TOKEN = 6.0
_BYTES_PAGE = 190_000


@dataclass(frozen=True)
class Options:
    """What a report is of: `sets` are GLOBs on name or collection; `top` tokens and sets each way on a card."""

    sae: str | None = None
    sets: tuple[str, ...] = ()
    top: int = 10


@dataclass(frozen=True)
class SaePart:
    """An SAE of the report: its features are `start` … `start + n - 1` of all."""

    row: dict[str, Any]
    start: int
    n: int

    @property
    def sae_id(self) -> int:
        """Key of the SAE in the catalogue."""
        return int(self.row["sae_id"])

    @property
    def model_id(self) -> int:
        """Key of its model in the catalogue."""
        return int(self.row["model_id"])


@dataclass(frozen=True)
class SetPart:
    """A token set of the report: every model may have one of that name, each with its own `set_id`."""

    name: str
    collection: str | None
    description: str | None
    set_ids: tuple[int, ...]
    n_tokens: int


@dataclass(frozen=True)
class Plan:
    """Everything a report holds, in the order in which its files have it."""

    options: Options
    models: tuple[dict[str, Any], ...]
    saes: tuple[SaePart, ...]
    sets: tuple[SetPart, ...]

    @property
    def n_features(self) -> int:
        """Number of features of all SAEs."""
        return sum(sae.n for sae in self.saes)

    def estimated_bytes(self) -> int:
        """Return about how large the report will be on disk."""
        n_tokens = sum(model["d_vocab"] or 0 for model in self.models)
        each = len(STATISTICS) * _BYTES_STATISTIC + len(self.sets) * _BYTES_PAIR
        each += _BYTES_FEATURE + 2 * self.options.top * _BYTES_ENTRY
        fixed = len(self.sets) * _BYTES_SET + n_tokens * _BYTES_TOKEN + _BYTES_PAGE
        return int(self.n_features * each + fixed)


def make_plan(catalogue: Catalogue, options: Options) -> Plan:
    """Choose SAEs and sets.

    Raises:
        NotFoundError: Nothing matches.
    """
    saes = _saes(catalogue, options.sae)
    model_ids = {sae.model_id for sae in saes}
    models = dicts(catalogue, "FROM model ORDER BY model_id")
    chosen = tuple(model for model in models if model["model_id"] in model_ids)
    return Plan(options, chosen, saes, _sets(catalogue, [sae.sae_id for sae in saes], options.sets))


def _saes(catalogue: Catalogue, pattern: str | None) -> tuple[SaePart, ...]:
    rows = dicts(
        catalogue,
        "WITH counted AS (SELECT sae_id, max(feature) + 1 AS n FROM feature GROUP BY sae_id)"
        " SELECT s.*, c.n FROM sae s JOIN counted c USING (sae_id) JOIN model m USING (model_id)"
        " WHERE s.sae_id IN (FROM _sae_ids($pattern)) ORDER BY m.name, s.layer NULLS FIRST, s.slug",
        {"pattern": pattern},
    )
    if not rows:
        raise NotFoundError("the catalogue holds no features; 'featdex ingest' adds some")
    parts, start = [], 0
    for row in rows:
        n = row.pop("n")
        parts.append(SaePart(row, start, n))
        start += n
    return tuple(parts)


def _sets(catalogue: Catalogue, sae_ids: Sequence[int], patterns: Sequence[str]) -> tuple[SetPart, ...]:
    rows = dicts(
        catalogue,
        "SELECT name, any_value(collection ORDER BY set_id) AS collection,"
        " any_value(description ORDER BY set_id) AS description, list(set_id ORDER BY set_id) AS set_ids,"
        " max(n_tokens) AS n_tokens, len($patterns) = 0 OR bool_or(len(list_filter($patterns, lambda p:"
        " name GLOB p OR collection GLOB p)) > 0) AS wanted"
        " FROM token_set WHERE set_id IN (SELECT set_id FROM set_summary WHERE list_contains($sae_ids, sae_id))"
        " GROUP BY name ORDER BY any_value(collection ORDER BY set_id), regexp_matches(name, $retired), name",
        {"patterns": list(patterns), "sae_ids": list(sae_ids), "retired": RETIRED},
    )
    wanted = [row for row in rows if row["wanted"]]
    if patterns and not wanted:
        text = ", ".join(map(repr, patterns))
        known = [row["name"] for row in rows] + sorted({row["collection"] for row in rows if row["collection"]})
        raise NotFoundError(f"no token set or collection matches {text}{nearest(patterns[0], known)}")
    return tuple(
        SetPart(row["name"], row["collection"], row["description"], tuple(row["set_ids"]), row["n_tokens"] or 0)
        for row in wanted
    )


def dicts(catalogue: Catalogue, text: str, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Return the rows of a query by column name."""
    with translated():
        cursor = catalogue.connection.execute(text, params) if params else catalogue.connection.execute(text)
        names = [name for name, *_ in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
