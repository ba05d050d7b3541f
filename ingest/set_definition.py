"""What the files of token sets say, before any vocabulary: names, terms, patterns, queries, and how a file is read.

Definitions know no token ids, so the same ones make the sets of every tokenizer (`set_resolve`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..catalogue.errors import NotFoundError, TokenSetError

MAX_FILE_BYTES = 64 * 2**20
"""A set file may have so many bytes: room for a million terms, and no machine runs out of memory over one."""

CASINGS = ("given", "capital", "any")
SPACES = ("leading", "none", "either")
MULTI_TOKEN = ("drop", "first")
MATCHED_TEXTS = ("text", "raw")

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class SetDefinition:
    """A token set as a file defines it. `kind` is `list`, `regex` or `sql`, and says which of the fields below count.

    Of a list: `terms`, normalised to NFC and distinct; `casing`, `space` and `multi_token`, as `set_terms` reads them.
    Of a regex: `pattern`, and `on`, the texts that it has to match as a whole: `text` (decoded) or `raw` (the
    tokenizer's spelling). Of SQL: `query`. `origin` is the name of the file.
    """

    name: str
    collection: str
    kind: str
    description: str = ""
    source: str = ""
    licence: str = ""
    version: str = ""
    origin: str = ""
    terms: tuple[str, ...] = field(default=(), repr=False)
    casing: str = "any"
    space: str = "either"
    multi_token: str = "drop"
    pattern: str = ""
    on: str = "text"
    query: str = ""


def distinct_terms(terms: Iterable[str]) -> tuple[str, ...]:
    """Return the terms in Unicode's normal form C, each once, in the order of their first mention.

    Nothing else is changed: a space in a term is a part of it.
    """
    return tuple(dict.fromkeys(unicodedata.normalize("NFC", term) for term in terms))


def check_name(where: str, what: str, name: str, remedy: str) -> None:
    """Raise TokenSetError unless a name of a set or collection has 1 to 80 letters, digits, `_`, `.` or `-`.

    `@` is not among them: it parts the name of a set from its version.
    """
    if not _NAME.fullmatch(name):
        raise TokenSetError(
            f"{where}: the {what} {shortened(name)} may hold only 1 to 80 letters (A-Z, a-z), digits, _ . and -; "
            f"{remedy}"
        )


def check_distinct_names(definitions: Sequence[SetDefinition]) -> None:
    """Raise TokenSetError for the first two definitions of one name."""
    origin_of: dict[str, str] = {}
    for definition in definitions:
        if definition.name in origin_of:
            files = dict.fromkeys([origin_of[definition.name], definition.origin])
            raise TokenSetError(
                f"two token sets are named {definition.name!r} (in {' and '.join(filter(None, files)) or 'no file'}); "
                "rename one"
            )
        origin_of[definition.name] = definition.origin


def shortened(value: object) -> str:
    """Return a value for a one-line message: as Python writes it, at most 60 characters of it."""
    # A slice first: the repr of 60 MB of text takes a while.
    text = repr(value[:80] if isinstance(value, str | list) else value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def shown_path(path: Path) -> str:
    """Return a path for a one-line message."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def read_text(path: Path) -> str:
    """Return the text of a set file, with `\\n` at the end of lines; a byte-order mark is dropped.

    Raises NotFoundError for a missing file, and TokenSetError for a folder, one that can't be read, one of more than
    `MAX_FILE_BYTES`, and one that is no UTF-8 or holds NUL characters.
    """
    shown = shown_path(path)
    data = _read_bytes(path, shown)
    start = len(_BOM) if data.startswith(_BOM) else 0
    try:
        text = data[start:].decode("utf-8")
    except UnicodeDecodeError as fault:
        at = start + fault.start
        raise TokenSetError(f"{shown} is no UTF-8: byte {at + 1} is 0x{data[at]:02x}; save it as UTF-8") from fault
    if (position := text.find("\0")) >= 0:
        line = text.count("\n", 0, position) + 1
        raise TokenSetError(f"{shown} line {line} holds a NUL character, so it is no text; save it as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _read_bytes(path: Path, shown: str) -> bytes:
    try:
        if path.is_dir():
            raise TokenSetError(f"{shown} is a folder; name a file of token sets in it")
        # Not a pipe or a device, which may never end.
        if path.exists() and not path.is_file():
            raise TokenSetError(f"{shown} is no regular file; name a file of token sets")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as fault:
        raise NotFoundError(f"no file {shown}; check the path") from fault
    except (OSError, ValueError) as fault:  # ValueError: a NUL character or half a character in the path
        reason = fault.strerror if isinstance(fault, OSError) and fault.strerror else str(fault)
        raise TokenSetError(f"can't read {shown}: {reason}") from fault
    if len(data) > MAX_FILE_BYTES:
        raise TokenSetError(f"{shown} has more than {MAX_FILE_BYTES // 2**20} MiB; split it into smaller files")
    return data
