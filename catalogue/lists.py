"""Answers as the lists that other tools take: GSEA's `.rnk` and `.gmt`, Neuronpedia's quick lists, lm-eval's steering.

Items come from rows by the names of their columns, so any question, and any SQL with the same names, will do.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote

from .display import printable, some_of, visible_token
from .errors import NotFoundError, UsageError
from .formats import Format, read

if TYPE_CHECKING:
    import duckdb

QUICK_LIST = "https://www.neuronpedia.org/quick-list/"
_LONGEST_URL = 8000
_SCORES = ("weight", "z", "value", "score")
_STEERING_COLUMNS = (
    "loader", "action", "sparse_model", "hookpoint", "feature_index", "steering_coefficient", "head_index", "sae_id",
    "description",
)  # fmt: skip

# Block, attention and MLP by the name of a model; most are named as Llama's.
_MODULES = (
    (r"gpt2|gpt-j", ("h.{}", "attn", "mlp")),
    (r"bloom|falcon", ("h.{}", "self_attention", "mlp")),
    (r"pythia|neox", ("layers.{}", "attention", "mlp")),
    (r"\bopt\b", ("decoder.layers.{}", "self_attn", "fc2")),
    (r"gemma-?[23]", ("layers.{}", "post_attention_layernorm", "post_feedforward_layernorm")),
)
_LLAMA_MODULES = ("layers.{}", "self_attn", "mlp")

Row = dict[str, Any]
Narrate = Callable[[str], None]


def write_list(
    relation: duckdb.DuckDBPyRelation,
    form: Format,
    stream: BinaryIO,
    *,
    narrate: Narrate,
    name: str = "featdex",
    coefficient: float | None = None,
) -> int:
    """Write the rows of a relation as a list (UTF-8); return how many rows it was made of.

    Args:
        relation: The answer.
        form: One of `formats.LISTS`.
        stream: Where to.
        narrate: Told, in a line, what was left out.
        name: Name of a Neuronpedia list.
        coefficient: Steering coefficient of rows that have no column `steering_coefficient`.

    Raises:
        UsageError: The answer has not the columns, or not the rows, that the list is made of.
        NotFoundError: Nothing in it can be in such a list.
    """
    saes = _saes(relation) if form in (Format.NEURONPEDIA, Format.STEERING) else {}
    answer = read(relation)
    rows = answer.dicts()
    match form:
        case Format.RNK:
            lines = rank_lines(answer.names, rows)
        case Format.GMT:
            lines = set_lines(answer.names, rows)
        case Format.NEURONPEDIA:
            _require(answer.names, ("sae", "feature"), form)
            lines = _quick_list(rows, saes, name, narrate)
        case Format.STEERING:
            _require(answer.names, ("sae", "feature"), form)
            lines = _steering_lines(rows, saes, coefficient, narrate)
        case _:
            raise ValueError(f"{form} is no list")
    for line in lines:
        stream.write(f"{line}\n".encode())
    return len(rows)


def _saes(relation: duckdb.DuckDBPyRelation) -> dict[str, Row]:
    """Return what the catalogue of an answer says of its SAEs, by slug."""
    facts = relation.query(
        "featdex_answer",
        "SELECT s.slug, s.kind, s.release, s.sae_name, s.site, s.layer, s.neuronpedia_id, m.name AS model"
        " FROM sae s JOIN model m USING (model_id)",
    )
    return {} if facts is None else {row["slug"]: row for row in read(facts).dicts()}


def _require(names: list[str], wanted: Iterable[str], form: Format) -> None:
    lacking = [name for name in wanted if name not in names]
    if lacking:
        raise UsageError(f"{form.value} is made of columns that this answer has not: {', '.join(lacking)}")


def identifier(text: str) -> str:
    r"""Return text as a name without white space: visible in it are spaces (`␣`) and control characters (`\n`)."""
    return visible_token(text)


def rank_lines(names: list[str], rows: list[Row]) -> Iterator[str]:
    """Yield GSEA's ranked list: an item and its score a line, tab between, largest first; no line without a score.

    The item is `raw` (a token as its tokenizer spells it), else `set_name`, else `sae/feature`; the score is `weight`,
    else `z`, `value` or `score`. An answer of two columns is taken as it is.

    Raises:
        UsageError: There are no such columns, or an item comes twice, which GSEA refuses.
    """
    item = _item(names) if len(names) != 2 else lambda row: identifier(str(row[names[0]]))
    score = names[1] if len(names) == 2 else next((name for name in _SCORES if name in names), None)
    if item is None or score is None:
        raise UsageError(f"rnk is made of an item (raw, set_name, or sae and feature) and of {' or '.join(_SCORES)}")
    scored = [(item(row), row[score]) for row in rows if row[score] is not None]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for _, value in scored):
        raise UsageError(f"rnk ranks numbers, and {score!r} is none; rename the column of the score to z")
    scored = [(name, value) for name, value in scored if not math.isnan(value)]
    twice = [name for name, times in Counter(name for name, _ in scored).items() if times > 1]
    if twice:
        raise UsageError(
            f"rnk has every item once, and {printable(twice[0])} comes {Counter(n for n, _ in scored)[twice[0]]} times;"
            " ask of one SAE, feature or set"
        )
    yield from (f"{name}\t{value!r}" for name, value in sorted(scored, key=lambda pair: -pair[1]))


def _item(names: list[str]) -> Callable[[Row], str] | None:
    for name in ("raw", "set_name"):
        if name in names:
            return lambda row: identifier(str(row[name]))
    if {"sae", "feature"} <= set(names):
        return lambda row: identifier(f"{row['sae']}/{row['feature']}")
    return None


def set_lines(names: list[str], rows: list[Row]) -> Iterator[str]:
    """Yield GSEA's `.gmt`: set_name, description and the set's items with tabs between, a set a line, as they come.

    The item is `raw`, else `sae/feature`. Where sets of one name belong to several models (column `model`), the name
    is `model/set_name`.

    Raises:
        UsageError: There are no such columns.
    """
    _require(names, ("set_name",), Format.GMT)
    item = _item([name for name in names if name != "set_name"])
    if item is None:
        raise UsageError("gmt is made of set_name and of items: raw, or sae and feature")
    several = len({row["model"] for row in rows}) > 1 if "model" in names else False
    members: dict[str, dict[str, None]] = {}
    descriptions: dict[str, str] = {}
    for row in rows:
        name = printable(f"{row['model']}/{row['set_name']}" if several else str(row["set_name"]))
        members.setdefault(name, {})[item(row)] = None
        descriptions.setdefault(name, " ".join(printable(str(row.get("description") or "")).split()))
    yield from ("\t".join([name, descriptions[name], *items]) for name, items in members.items())


def _quick_list(rows: list[Row], saes: dict[str, Row], name: str, narrate: Narrate) -> Iterator[str]:
    """Yield the URL of a Neuronpedia quick list, which is made of the URL itself: no account, nothing is sent."""
    found = {(saes[row["sae"]]["neuronpedia_id"], row["feature"]): None for row in rows if row["sae"] in saes}
    features = [
        {"modelId": place.partition("/")[0], "layer": place.partition("/")[2], "index": str(feature)}
        for place, feature in found
        if place
    ]
    missing = sorted({row["sae"] for row in rows if not saes.get(row["sae"], {}).get("neuronpedia_id")})
    if rows and not features:
        raise NotFoundError(f"no SAE of this answer is at neuronpedia.org ({some_of(missing)})")
    if missing:
        narrate(f"left out, for they are not at neuronpedia.org: {some_of(missing)}")
    if features:
        url = f"{QUICK_LIST}?name={quote(name, safe='')}&features={quote(json.dumps(features, separators=(',', ':')))}"
        if len(url) > _LONGEST_URL:
            narrate(f"a URL of {len(url):,} characters, which not every browser or server takes; ask for fewer (n=50)")
        yield url


def _steering_lines(
    rows: list[Row], saes: dict[str, Row], coefficient: float | None, narrate: Narrate
) -> Iterator[str]:
    """Yield the CSV that lm-evaluation-harness takes as `--model steered --model_args steer_path=FILE`.

    It steers one feature a module, and of several rows it would silently take the last: here the first one stays.
    """
    kept: dict[str, Row] = {}
    reasons: Counter[str] = Counter()
    for row in rows:
        strength = row.get("steering_coefficient", coefficient)
        if strength is None:
            raise UsageError("steering needs a strength: 'featdex export … --coefficient 8', or steering_coefficient")
        place = saes.get(row["sae"])
        hookpoint = None if place is None or place["kind"] not in ("sae", "transcoder") else module_of(place)
        if place is None or hookpoint is None:
            reasons[f"lm-eval can't steer {row['sae']}: {_why_not(place)}"] += 1
        elif hookpoint in kept:
            reasons[f"lm-eval steers one feature a module, and {hookpoint} has one already"] += 1
        else:
            kept[hookpoint] = {
                "loader": "sae_lens",
                "action": row.get("action") or "add",
                "sparse_model": place["release"],
                "hookpoint": hookpoint,
                "feature_index": row["feature"],
                "steering_coefficient": strength,
                "sae_id": place["sae_name"],
                "description": " ".join(map(visible_token, row.get("top_tokens") or [])),
            }
    if rows and not kept:
        raise NotFoundError(f"nothing to steer: {next(iter(reasons))}")
    for reason, n_rows in reasons.items():
        narrate(f"left out {n_rows} features: {reason}")
    text = io.StringIO()
    writer = csv.DictWriter(text, _STEERING_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(kept.values())
    yield text.getvalue().removesuffix("\n")


def _why_not(place: Row | None) -> str:
    if place is None:
        return "it is not in the catalogue"
    if place["kind"] not in ("sae", "transcoder"):
        return f"sae_lens has no {place['kind']}"
    return f"no module puts out its {place['site']} of layer {place['layer']}"


def module_of(place: Row) -> str | None:
    """Return the module of a Hugging Face model, below its base model, whose output an SAE reads; None without one.

    What enters a block leaves the one before. Gemma 2 and 3 norm what attention and MLP give before they add it, as
    TransformerLens' hooks see it.

    Args:
        place: `model` (its name), `site` and `layer` of the SAE.
    """
    model, layer = str(place["model"]).lower(), place["layer"]
    if layer is None:
        return None
    block, attention, mlp = next((names for pattern, names in _MODULES if re.search(pattern, model)), _LLAMA_MODULES)
    match place["site"]:
        case "resid_post":
            return block.format(layer)
        case "resid_pre" if layer > 0:
            return block.format(layer - 1)
        case "attn_out":
            return f"{block.format(layer)}.{attention}"
        case "mlp_out":
            return f"{block.format(layer)}.{mlp}"
    return None
