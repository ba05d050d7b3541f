"""The card of one feature: everything the catalogue knows of it, as data and as one screen of text."""

from __future__ import annotations

import math
from contextlib import suppress
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from .display import printable, short_number, some_of, visible_token
from .errors import NotFoundError, QueryError, UsageError, nearest
from .formats import read
from .tables import STATISTICS

if TYPE_CHECKING:
    from .catalogue import Catalogue

N_TOKENS = 10
N_SETS = 5
N_EXPLAINING = 4
_SPARKS = "▁▂▃▄▅▆▇█"
_EXPLANATIONS = (
    "SELECT text, method, explainer, score FROM explanation WHERE sae_id = ? AND feature = ?"
    " ORDER BY score DESC NULLS LAST, method, explainer, text"
)
_TAGS = "SELECT tag, note FROM tag WHERE sae_id = ? AND feature = ? ORDER BY tag"
_FACTS = ("sae", "feature", "label", "model", "kind", "layer", "hook_name", "url", "dead")
_LEFT_WIDTH = 44
_WIDTH = 100
_MOST_DIGITS = 18
"""Of the number of a feature; Python refuses to read one of thousands."""


def split_address(address: str) -> tuple[str, int]:
    """Split `SAE/FEATURE`.

    Raises:
        UsageError: The part after the last slash is no index.
    """
    sae, _, feature = address.rpartition("/")
    if not sae or not (feature.isascii() and feature.isdigit()) or len(feature) > _MOST_DIGITS:
        raise UsageError(f"{address!r} is no feature; write SAE/FEATURE, such as gpt2-small/8-res-jb/573")
    return sae, int(feature)


def resolve_sae(catalogue: Catalogue, text: str) -> str:
    """Return the slug that `text` names: exactly, as a GLOB, or as a part of exactly one slug.

    Raises:
        NotFoundError: None does.
        UsageError: Several do.
    """
    found = read(
        catalogue.sql(
            "SELECT slug, slug = $text AS exact, slug GLOB $text OR contains(slug, $text) AS matching"
            " FROM sae ORDER BY layer, slug",
            {"text": text},
        )
    ).dicts()
    matching = [row["slug"] for row in found if row["exact"]] or [row["slug"] for row in found if row["matching"]]
    if not matching:
        raise NotFoundError(f"no SAE matches {text!r}{nearest(text, [row['slug'] for row in found])}")
    if len(matching) > 1:
        raise UsageError(f"{text!r} matches {len(matching)} SAEs; which of {some_of(matching)}?")
    return str(matching[0])


def feature_card(catalogue: Catalogue, address: str) -> dict[str, Any]:
    """Return what the catalogue knows of one feature, as plain data.

    `statistics` maps a name to its value and its percentile: the share (%) of the SAE's features below it.

    Args:
        catalogue: The catalogue.
        address: `SAE/FEATURE`; see `resolve_sae`.

    Raises:
        NotFoundError: There is no such SAE or feature.
        UsageError: The address is malformed or ambiguous.
    """
    sae, feature = split_address(address)
    slug = resolve_sae(catalogue, sae)
    tokens = read(catalogue.query("tokens_of", sae=slug, feature=feature, n=N_TOKENS)).dicts()
    row = _row(catalogue, slug, feature)
    values = {name: row.pop(name) for name in STATISTICS}
    percentiles = _percentiles(catalogue, row["sae_id"], values)
    counts, low, high = row.pop("histogram"), values["min"], values["max"]
    token_columns = ("rank", "token", "raw", "weight", "token_id")
    tokens = [{name: token[name] for name in token_columns} for token in tokens]
    return {
        **{name: row[name] for name in _FACTS},
        "role": _role(catalogue, row["sae_id"], feature),
        "statistics": {name: {"value": value, "percentile": percentiles[name]} for name, value in values.items()},
        "histogram": {"min": low, "max": high, "counts": counts},
        "top_tokens": [token for token in tokens if token["rank"] > 0],
        "bottom_tokens": [token for token in tokens if token["rank"] < 0],
        "promoted_sets": _sets(catalogue, row["sae_id"], feature, +1),
        "suppressed_sets": _sets(catalogue, row["sae_id"], feature, -1),
        "explaining_sets": _explaining(catalogue, slug, feature),
        "explanations": _noted(catalogue, _EXPLANATIONS, row["sae_id"], feature),
        "tags": _noted(catalogue, _TAGS, row["sae_id"], feature),
    }


def _row(catalogue: Catalogue, slug: str, feature: int) -> dict[str, Any]:
    found = read(
        catalogue.sql(
            "SELECT f.*, s.kind, s.hook_name FROM features f JOIN sae s USING (sae_id)"
            " WHERE f.sae = $slug AND f.feature = $feature",
            {"slug": slug, "feature": feature},
        )
    ).dicts()
    if not found:
        raise NotFoundError(f"no feature {feature} in {slug}; see 'featdex doctor'")
    return found[0]


def _percentiles(catalogue: Catalogue, sae_id: int, values: dict[str, float | None]) -> dict[str, float | None]:
    shares = ", ".join(f'100 * avg(("{name}" < ${name}::FLOAT)::INTEGER) AS "{name}"' for name in values)
    answer = read(catalogue.sql(f"SELECT {shares} FROM feature WHERE sae_id = $sae_id", {**values, "sae_id": sae_id}))
    return answer.dicts()[0]


def _sets(catalogue: Catalogue, sae_id: int, feature: int, direction: int) -> list[dict[str, Any]]:
    return read(
        catalogue.sql(
            "SELECT t.name AS set_name, t.n_tokens, e.z, pow(10, e.log10_q) AS q, e.log10_q, e.es, e.auroc"
            " FROM enrichment e JOIN token_set t USING (set_id)"
            " WHERE e.sae_id = $sae_id AND e.feature = $feature AND e.z * $direction > 0"
            f" ORDER BY e.z * $direction DESC, t.name LIMIT {N_SETS}",
            {"sae_id": sae_id, "feature": feature, "direction": direction},
        )
    ).dicts()


def _role(catalogue: Catalogue, sae_id: int, feature: int) -> str | None:
    # A catalogue whose questions are older has no roles.
    with suppress(QueryError):
        found = catalogue.sql(
            "SELECT _role(f.cos_kurtosis, f.cos_skewness, f.cos_std, 10, 0.005) AS role"
            " FROM feature f WHERE f.sae_id = ? AND f.feature = ?",
            [sae_id, feature],
        )
        return next((str(role) for (role,) in read(found).rows if role is not None), None)
    return None


def _explaining(catalogue: Catalogue, slug: str, feature: int) -> list[dict[str, Any]]:
    """Return the smallest list of sets that explains the feature; none where the catalogue's questions are older."""
    with suppress(UsageError):
        columns = ("set_name", "n_tokens", "z", "z_given", "r2", "explains")
        found = read(catalogue.query("independent_sets_of", sae=slug, feature=feature)).dicts()
        return [{name: row[name] for name in columns} for row in found]
    return []


def _noted(catalogue: Catalogue, query: str, sae_id: int, feature: int) -> list[dict[str, Any]]:
    return read(catalogue.sql(query, [sae_id, feature])).dicts()


def render_card(card: dict[str, Any]) -> str:
    """Return the card as text of one screen; tokens with visible spaces, nothing that can steer a terminal."""
    lines = [_fitted(_title(card), _WIDTH).rstrip()]
    lines += [printable(card["url"])] if card["url"] else []
    lines += ["", *_side_by_side(_statistic_lines(card["statistics"]))]
    histogram = card["histogram"]
    if histogram["counts"]:
        low, high = short_number(histogram["min"]), short_number(histogram["max"])
        lines += ["", f"{low} {sparkline(histogram['counts'])} {high}  (log counts)"]
    lines += [
        "",
        *_columns("promotes", _token_lines(card["top_tokens"]), "suppresses", _token_lines(card["bottom_tokens"])),
    ]
    lines += [
        "",
        *_columns("sets, z, q", _set_lines(card["promoted_sets"]), "sets, z, q", _set_lines(card["suppressed_sets"])),
    ]
    lines += [_fitted(line, _WIDTH) for line in _note_lines(card)]
    return "\n".join(line.rstrip() for line in lines)


def _title(card: dict[str, Any]) -> str:
    parts = (
        card["kind"],
        f"layer {card['layer']}" if card["layer"] is not None else None,
        card["hook_name"],
        f"{card['role']} feature" if card["role"] not in (None, "other") else None,
    )
    place = ", ".join(str(part) for part in parts if part is not None)
    label = f"  {card['label']}" if card["label"] else ""
    return f"{card['sae']}/{card['feature']}{label}  ({place}){'  dead' if card['dead'] else ''}"


def _note_lines(card: dict[str, Any]) -> list[str]:
    """Return a line for each kind of what is known beyond the numbers: each says how much more there is."""
    explaining = [f"{entry['set_name']} ({entry['z_given']:.3g})" for entry in card["explaining_sets"]]
    texts = [entry["text"] for entry in card["explanations"]]
    tags = [f"{entry['tag']}: {entry['note']}" if entry["note"] else entry["tag"] for entry in card["tags"]]
    lines = {
        "explained by (z given those before)": some_of(explaining, N_EXPLAINING, ", "),
        "explanation": some_of(texts, 1, "; "),
        "tags": some_of(tags, len(tags), "; "),
    }
    return [f"{label}: {text}" for label, text in lines.items() if text]


def sparkline(counts: list[int]) -> str:
    """Return counts as bars of eight heights, logarithmic so that the tails show; an empty bin is a blank."""
    highest = math.log1p(max(counts, default=0)) or 1.0
    levels = (math.ceil(math.log1p(count) / highest * len(_SPARKS)) for count in counts)
    return "".join(_SPARKS[min(level, len(_SPARKS)) - 1] if level else " " for level in levels)


def power_of_ten(log10_value: float | None) -> str:
    """Return 10**x as text, also where a double would underflow to 0."""
    if log10_value is None:
        return ""
    if log10_value > -300:
        return f"{10.0**log10_value:.2g}"
    exponent = math.floor(log10_value)
    return f"{10.0 ** (log10_value - exponent):.1f}e{exponent}"


def _statistic_lines(statistics: dict[str, dict[str, float | None]]) -> list[str]:
    lines = []
    for name, entry in statistics.items():
        value, percentile = entry["value"], entry["percentile"]
        if value is not None:
            rank = "" if percentile is None else f"{percentile:5.1f} %"
            lines.append(f"{name:<14}{short_number(value):>11}  {rank}")
    return lines


def _token_lines(tokens: list[dict[str, Any]]) -> list[str]:
    return [f"{token['weight']:>9.4g}  {visible_token(token['token'])}" for token in tokens]


def _set_lines(sets: list[dict[str, Any]]) -> list[str]:
    return [
        f"{_fitted(entry['set_name'], 22)} {entry['z']:>7.4g} {power_of_ten(entry['log10_q']):>9}" for entry in sets
    ]


def _fitted(text: str, width: int) -> str:
    from rich.cells import cell_len, set_cell_size

    text = printable(text)
    return text + " " * (width - cell_len(text)) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


def _side_by_side(lines: list[str]) -> list[str]:
    half = (len(lines) + 1) // 2
    return [_fitted(left, _LEFT_WIDTH) + right for left, right in zip_longest(lines[:half], lines[half:], fillvalue="")]


def _columns(left_title: str, left: list[str], right_title: str, right: list[str]) -> list[str]:
    pairs = zip_longest([left_title, *left], [right_title, *right], fillvalue="")
    return [_fitted(first, _LEFT_WIDTH) + second for first, second in pairs]
