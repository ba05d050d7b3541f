"""The reader of set files: a user's, and the built-in ones in `data/sets/`.

A TOML file has a table `[collection]` and a table `[sets.NAME]` for each set:

    [collection]
    name = "kitchen"                  # default: the file's name without its ending
    description = "Things in a kitchen."
    source = "my own list"            # who made the terms; licence and version likewise, all optional
    casing = "any"                    # defaults for the lists below; space and multi_token likewise

    [sets.fruits]
    description = "Names of fruits."
    terms = ["apple", "pear"]         # kind = "list" is the default
    casing = "any"                    # given | capital | any
    space = "either"                  # leading | none | either
    multi_token = "drop"              # drop | first

    [sets.spices]
    kind = "file"
    path = "spices.txt"               # a term a line; relative to this file

    [sets.hex]
    kind = "regex"
    pattern = ' ?[0-9a-f]+'           # matches the whole decoded token; on = "raw": the tokenizer's spelling of it
    on = "text"

    [sets.shouting]
    kind = "sql"                      # token ids out of: token (token_id, str, raw, is_special, is_partial_utf8)
    query = "SELECT token_id FROM token WHERE str = upper(str)"

A set may have its own `source`, `licence` and `version`. What the words of a list mean is in `set_terms`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from ..catalogue.errors import FeatdexError, TokenSetError, UsageError, nearest
from .set_definition import (
    CASINGS,
    MATCHED_TEXTS,
    MULTI_TOKEN,
    SPACES,
    SetDefinition,
    check_name,
    distinct_terms,
    read_text,
    shortened,
    shown_path,
)
from .set_lines import read_gmt, read_plain, read_terms

_FACTS = ("source", "licence", "version")
_LIST_CHOICES = {"casing": CASINGS, "space": SPACES, "multi_token": MULTI_TOKEN}
_CHOICES = _LIST_CHOICES | {"on": MATCHED_TEXTS}
_COLLECTION_KEYS = ("name", "description", *_FACTS, *_LIST_CHOICES)

# {kind: (key that it must have, keys that it may have)}
_KINDS = {
    "list": ("terms", tuple(_LIST_CHOICES)),
    "file": ("path", tuple(_LIST_CHOICES)),
    "regex": ("pattern", ("on",)),
    "sql": ("query", ()),
}
_COMMON_KEYS = ("kind", "description", *_FACTS)

# A dotted key takes tomllib memory with the square of its parts; the sets need three of them.
_LONG_KEY = re.compile(
    r"""(?<![\w-])(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){100}""", flags=re.ASCII
)


def read_set_file(path: Path) -> list[SetDefinition]:
    """Return the sets that a file defines, by its ending: `.toml`, `.gmt` or `.txt` (a term a line).

    Raises UsageError for another ending, NotFoundError for a missing file, and TokenSetError, which names the file and
    the line or set, for one that can't be read or says something else than the format allows.
    """
    ending = path.suffix.lower()
    if ending not in _READERS:
        raise UsageError(
            f"{shown_path(path)} is no set file by its ending {shortened(path.suffix)}; give .toml, .gmt or .txt"
        )
    return _READERS[ending](path)


def _read_toml(path: Path) -> list[SetDefinition]:
    shown = shown_path(path)
    content = _parsed(read_text(path), shown)
    _check_keys(content, ("collection", "sets"), shown)
    head = _table(content.get("collection", {}), f"{shown}: collection")
    _check_keys(head, _COLLECTION_KEYS, f"{shown}: [collection]")
    defaults = {key: _text(head, key, f"{shown}: [collection]") for key in head}
    collection = defaults.setdefault("name", path.stem)
    check_name(shown, "collection's name", collection, "give [collection] another name")
    entries = _table(content.get("sets", {}), f"{shown}: sets")
    if not entries:
        raise TokenSetError(f"{shown} holds no sets; add a table [sets.NAME] with terms, a pattern or a query")
    return [_definition(name, entry, defaults, path) for name, entry in entries.items()]


def _parsed(text: str, shown: str) -> dict[str, Any]:
    if found := _LONG_KEY.search(text):
        line = text.count("\n", 0, found.start()) + 1
        raise TokenSetError(f"{shown} is no set file: line {line} has a key of a hundred parts; take out the dots")
    try:
        return tomllib.loads(text)
    except RecursionError as fault:
        raise TokenSetError(f"{shown} is no set file: it nests too deeply; write plain lists of terms") from fault
    except ValueError as fault:  # TOMLDecodeError, and a number that Python refuses
        reason = " ".join(str(fault).split())
        raise TokenSetError(
            f"{shown} is no valid TOML: {reason if len(reason) <= 200 else reason[:197] + '...'}"
        ) from fault


def _definition(name: str, entry: object, defaults: Mapping[str, str], path: Path) -> SetDefinition:
    """Return what a table `[sets.NAME]` defines; `defaults` are the words of `[collection]`."""
    check_name(shown_path(path), "set's name", name, "rename the set")
    where = f"{shown_path(path)}: set {name!r}"
    table = _table(entry, where)
    kind = _kind(table, where)
    needed, optional = _KINDS[kind]
    _check_keys(table, (*_COMMON_KEYS, needed, *optional), where, kind)
    if needed not in table:
        raise TokenSetError(f"{where} is of kind {kind!r} and has no {needed}; add it")
    words = {key: _text(table, key, where) for key in table if key != "terms"}
    choices = {key: word for key in optional if (word := words.get(key) or defaults.get(key))}
    return SetDefinition(
        name=name,
        collection=defaults["name"],
        kind="list" if kind == "file" else kind,
        description=words.get("description", ""),
        **{fact: words.get(fact, defaults.get(fact, "user" if fact == "source" else "")) for fact in _FACTS},
        **choices,
        origin=path.name,
        terms=_terms(table, words, path, where) if kind in ("list", "file") else (),
        pattern=words.get("pattern", ""),
        query=words.get("query", ""),
    )


def _kind(table: Mapping[str, Any], where: str) -> str:
    kind = table.get("kind", "list")
    if not isinstance(kind, str) or kind not in _KINDS:
        hint = nearest(kind[:80], _KINDS) if isinstance(kind, str) else ""
        raise TokenSetError(f"{where}: no kind {shortened(kind)}{hint} (known: {', '.join(_KINDS)})")
    return kind


def _terms(table: Mapping[str, Any], words: Mapping[str, str], path: Path, where: str) -> tuple[str, ...]:
    if "path" in words:
        try:
            return read_terms(path.parent / words["path"])
        except FeatdexError as fault:
            raise type(fault)(f"{where}: {fault}") from fault
    terms = table["terms"]
    if not isinstance(terms, list):
        raise TokenSetError(f"{where}: terms is {shortened(terms)}; give a list of texts")
    for position, term in enumerate(terms, start=1):
        if not isinstance(term, str) or not term:
            raise TokenSetError(f"{where}: term {position} is {shortened(term)}; give a text in quotes, or take it out")
    if not terms:
        raise TokenSetError(f"{where} has no terms; add some, or take the set out")
    return distinct_terms(terms)


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    """Return the text under a key: one of its choices if it has them, and on one line if it is for people."""
    value = table[key]
    if not isinstance(value, str):
        raise TokenSetError(f"{where}: {key} is {shortened(value)}; give a text in quotes")
    if key in _CHOICES and value not in _CHOICES[key]:
        choices = _CHOICES[key]
        raise TokenSetError(
            f"{where}: no {key} {shortened(value)}{nearest(value[:80], choices)} (known: {', '.join(choices)})"
        )
    if key in ("path", "pattern", "query") and not value:
        raise TokenSetError(f"{where}: {key} is empty; write one")
    return " ".join(value.split()) if key in ("description", *_FACTS) else value


def _table(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TokenSetError(f"{where} is {shortened(value)}; write a table in [brackets]")
    return value


def _check_keys(table: Mapping[str, Any], known: Collection[str], where: str, kind: str = "") -> None:
    """Raise TokenSetError for the first key that is not known there."""
    for key, value in table.items():
        if key in known:
            continue
        owners = [other for other, (needed, optional) in _KINDS.items() if key in (needed, *optional)]
        if kind and owners:
            raise TokenSetError(
                f"{where} is of kind {kind!r} and has a {key}, which goes with {' or '.join(map(repr, owners))}; "
                "take it out, or write that kind"
            )
        if kind and isinstance(value, dict):
            raise TokenSetError(
                f'{where} holds a table {shortened(key)}; put a name with a dot in quotes: [sets."a.b"]'
            )
        raise TokenSetError(
            f"{where}: unknown key {shortened(key)}{nearest(key[:80], known)} (known: {', '.join(known)})"
        )


_READERS: Mapping[str, Callable[[Path], list[SetDefinition]]] = {
    ".toml": _read_toml,
    ".gmt": read_gmt,
    ".txt": read_plain,
}
