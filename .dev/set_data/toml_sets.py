"""Write set files as the repository has them, lines of at most 120 columns, so that a rerun leaves no difference."""

from __future__ import annotations

import json
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SETS = Path(__file__).resolve().parents[2] / "ingest" / "data" / "sets"
"""Where the set files live."""

WIDTH = 120


@dataclass(frozen=True)
class WordSet:
    """One list of a set file. `options` are further keys of it, such as casing and space."""

    name: str
    description: str
    terms: Sequence[str]
    options: dict[str, str] = field(default_factory=dict)


def write_set_file(path: Path, collection: dict[str, str], sets: Iterable[WordSet], comment: str) -> None:
    """Write a set file. `comment` opens it, wrapped anew.

    Terms keep their order; repeats are dropped and spelling is brought to NFC.
    """
    lines = [*(f"# {line}" for line in textwrap.wrap(comment.strip(), WIDTH - 2, break_on_hyphens=False)), ""]
    lines += ["[collection]", *(f"{key} = {_quoted(value)}" for key, value in collection.items())]
    for found in sets:
        lines += ["", f"[sets.{found.name}]", f"description = {_quoted(found.description)}"]
        lines += [f"{key} = {_quoted(value)}" for key, value in found.options.items()]
        lines += _terms(list(dict.fromkeys(unicodedata.normalize("NFC", term) for term in found.terms)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _terms(terms: list[str]) -> list[str]:
    quoted = [_quoted(term) for term in terms]
    if len(line := f"terms = [{', '.join(quoted)}]") <= WIDTH:
        return [line]
    # Spaces inside a term would be broken by the wrapping.
    text = ", ".join(term.replace(" ", "\0") for term in quoted) + ","
    wrapped = textwrap.wrap(text, WIDTH - 2, break_long_words=False, break_on_hyphens=False)
    return ["terms = [", *(f"  {line}".replace("\0", " ") for line in wrapped), "]"]


def _quoted(text: str) -> str:
    # JSON's escapes are a part of TOML's.
    return json.dumps(text, ensure_ascii=False)
