"""What a user chose by words on the command line: how to compute, how much memory, which token sets.

Importing this module loads no torch: the command line does with every help page.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..catalogue.errors import UsageError
from ..catalogue.given_path import given_path

if TYPE_CHECKING:
    from .device import Options
    from .inputs import LanguageModel, TokenSet

PickleOption = Annotated[
    bool, typer.Option("--allow-pickle", help="Read pickled checkpoints too, of which only tensors are taken.")
]
SET_FILES = (".toml", ".gmt", ".txt")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def make_options(device: str, memory: str | None, threads: int | None, **method: Any) -> Options:
    """Return the options of a computation; `method` are those of `device.Options` that change its numbers.

    Raises:
        UsageError: No such device, or an amount of memory that is none.
    """
    from .device import Options, resolve_device

    resolve_device(device)
    return Options(device=device, memory=parse_memory(memory), threads=threads, **method)


def parse_memory(text: str | None) -> int | None:
    """Return an amount of memory in bytes: 2GB, 512MiB, 1.5G, 1000000.

    Raises:
        UsageError: It is none, or under a megabyte.
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([KMG]?I?)B?\s*", text.upper())
    amount = int(float(match[1]) * _UNITS[match[2]]) if match and match[2] in _UNITS else 0
    if amount < 10**6:
        raise UsageError(f"can't take {text!r} as memory; write it like 2GB or 512MB")
    return amount


def choose_sets(model: LanguageModel, wanted: str, path: Path | None = None) -> list[TokenSet]:
    """Return the token sets that a text names, on a model's vocabulary.

    Args:
        model: The model.
        wanted: Collections, built-in or of the catalogue, and set files, with commas between them. `core` is a choice
            of the built-in sets and `all` is every one of them; with either come the sets added to the catalogue.
        path: The catalogue, where there is one.

    Raises:
        UsageError: No such collection.
        TokenSetError: A file that can't be used, or two sets of one name.
    """
    from .kept import model_sets
    from .set_catalogue import refuse_builtin, require_own_names
    from .set_file import read_set_file
    from .set_resolve import resolve_sets
    from .token_sets import CORE, builtin_collections, builtin_sets, check_sets

    stored = model_sets(path, model.name) if path is not None and path.exists() else []
    builtin = builtin_collections()
    own = [item for item in stored if item.collection not in builtin]
    words = [word.strip() for word in wanted.split(",") if word.strip()]
    files = [given_path(word) for word in words if Path(word).suffix.lower() in SET_FILES]
    names = {word for word in words if Path(word).suffix.lower() not in SET_FILES}
    theirs = {item.collection for item in own}
    takes_own = names & {"all", CORE}
    named = None if "all" in names else sorted(names - theirs)
    sets = builtin_sets(model.vocabulary, named) if named != [] else []
    definitions = [found for file in files for found in read_set_file(file)]
    refuse_builtin(definitions)
    given = resolve_sets(definitions, model.vocabulary)
    # A file's sets go before what was added of it earlier.
    newer = {item.name for item in given}
    sets += [item for item in own if (takes_own or item.collection in names) and item.name not in newer]
    sets += given
    require_own_names(given, stored)
    check_sets(sets, len(model.vocabulary))
    return sets
