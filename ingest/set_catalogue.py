"""A user's token sets in a catalogue: added from a file, compared with those that are there, and taken out again.

The vocabularies are in the catalogue, so neither a model nor a tokenizer is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..catalogue.errors import NotFoundError, TokenSetError, UsageError, nearest
from ..catalogue.file import DEFAULT_WAIT_SECONDS, open_reader, translated, writing
from ..catalogue.ledger import forget_removed_sets
from ..catalogue.stored import (
    StoredTokens,
    correlation_of,
    model_names,
    sets_of_model,
    sets_of_sae,
    tokens_of_model,
)
from ..catalogue.write import replace_enrichment
from ..catalogue.write_sets import delete_set, set_ids_of
from .arrow import dropped_table, member_table, token_set_table
from .inputs import TokenSet, Vocabulary
from .kept import Kept, load_kept, token_set_of
from .rows import enrichment_parts
from .scratch import Scratch
from .set_definition import SetDefinition
from .set_overlaps import overlaps
from .set_resolve import resolve_sets
from .significance import write_q_columns
from .token_sets import builtin_collections


class Checked(NamedTuple):
    """A set of a file on the vocabulary of one model.

    Attributes:
        model: Name of the model.
        token_set: The set.
        status: new, changed, or unchanged against the catalogue.
        nearest_set: The other set of the catalogue or file that shares most with it; None where none shares anything.
        jaccard: Share of their tokens that both have.
    """

    model: str
    token_set: TokenSet
    status: str
    nearest_set: str | None
    jaccard: float | None


def check_file(
    path: str | os.PathLike[str],
    definitions: Sequence[SetDefinition],
    model: str | None = None,
    *,
    keep_unusable: bool = False,
    wait: float = DEFAULT_WAIT_SECONDS,
) -> list[Checked]:
    """Resolve the sets of a file on the vocabularies of a catalogue, and compare them with the sets there.

    Args:
        path: The catalogue.
        definitions: Sets of a file.
        model: Only this model; all of the catalogue by default.
        keep_unusable: Return sets of no token, or of all, instead of raising.
        wait: Seconds to wait for a writer.

    Raises:
        NotFoundError: No such model, or none at all.
        TokenSetError: A set that can't be used, or one whose name a set of another collection has.
    """
    connection = open_reader(path, wait=wait)
    try:
        checked = []
        refuse_builtin(definitions)
        for name in _chosen(model_names(connection), model):
            stored = [token_set_of(item) for item in sets_of_model(connection, name)]
            sets = resolve_sets(
                definitions, _vocabulary(tokens_of_model(connection, name)), keep_unusable=keep_unusable
            )
            checked += _compared(name, sets, stored)
        return checked
    finally:
        connection.close()


def refuse_builtin(definitions: Sequence[SetDefinition]) -> None:
    """Raise TokenSetError for a set of a file that calls its collection as a built-in one is called."""
    known = builtin_collections()
    for found in definitions:
        if found.collection in known:
            raise TokenSetError(f"{found.collection!r} is a built-in collection; name yours otherwise")


def _chosen(names: list[str], wanted: str | None) -> list[str]:
    if not names:
        raise NotFoundError("the catalogue holds no model yet; give the file to 'featdex ingest SOURCE --sets FILE'")
    if wanted is not None and wanted not in names:
        raise NotFoundError(f"no model {wanted!r} in the catalogue{nearest(wanted, names)}")
    return names if wanted is None else [wanted]


def _vocabulary(tokens: StoredTokens) -> Vocabulary:
    flags = (np.array(flag, dtype=np.bool_) for flag in (tokens.is_special, tokens.is_partial_utf8))
    return Vocabulary(tokens.raw, tokens.text, *flags)


def require_own_names(sets: Sequence[TokenSet], stored: Sequence[TokenSet]) -> None:
    """Raise TokenSetError for a set whose name a set of another collection of the catalogue has."""
    there = {item.name: item.collection for item in stored}
    for item in sets:
        if there.get(item.name, item.collection) != item.collection:
            raise TokenSetError(
                f"the catalogue has a token set {item.name!r} in the collection {there[item.name]!r}; rename yours"
            )


def _compared(model: str, sets: list[TokenSet], stored: list[TokenSet]) -> list[Checked]:
    require_own_names(sets, stored)
    there = {item.name: item for item in stored}
    others = [item for item in stored if item.name not in {new.name for new in sets}]
    closest: dict[str, tuple[str, float]] = {}
    for pair in overlaps([*sets, *others], min_jaccard=1e-9):
        for one, other in ((pair.first, pair.second), (pair.second, pair.first)):
            closest.setdefault(one, (other, pair.jaccard))
    checked = []
    for item in sets:
        old = there.get(item.name)
        status = "new" if old is None else "unchanged" if old.members_sha256 == item.members_sha256 else "changed"
        checked.append(Checked(model, item, status, *closest.get(item.name, (None, None))))
    return checked


def add_sets(
    path: str | os.PathLike[str],
    checked: Sequence[Checked],
    *,
    wait: float = DEFAULT_WAIT_SECONDS,
    narrate: Callable[[str], None] | None = None,
) -> None:
    """Write the sets into the catalogue, all in one transaction; the next ingest computes them.

    A set whose members changed replaces its old version, which goes on as `name@hash` where an SAE has results of it.
    """
    with writing(path, wait=wait, narrate=narrate) as connection, translated():
        for model_id, name in connection.execute("SELECT model_id, name FROM model").fetchall():
            sets = [item.token_set for item in checked if item.model == name]
            set_ids_of(connection, token_set_table(sets), member_table(sets), dropped_table(sets), model_id)


def sets_named(
    path: str | os.PathLike[str], names: Sequence[str], collection: str | None, wait: float = DEFAULT_WAIT_SECONDS
) -> dict[str, list[str]]:
    """Return the sets of these names, and of a collection, each with the slugs of the SAEs that have results of it.

    Raises:
        NotFoundError: A name or collection that the catalogue does not have.
    """
    connection = open_reader(path, wait=wait)
    try:
        rows = connection.execute(
            "SELECT t.name, t.collection, list(DISTINCT s.slug ORDER BY s.slug) FILTER (s.slug IS NOT NULL)"
            " FROM token_set t LEFT JOIN set_null n USING (set_id) LEFT JOIN sae s USING (sae_id) GROUP BY ALL"
        ).fetchall()
    finally:
        connection.close()
    known = {name: found for name, found, _ in rows}
    for name in names:
        if name not in known:
            raise NotFoundError(f"no token set {name!r}{nearest(name, known)}")
    if collection is not None and collection not in known.values():
        raise NotFoundError(f"no collection {collection!r}{nearest(collection, set(known.values()))}")
    chosen = {name for name, found in known.items() if name in names or (collection and found == collection)}
    if not chosen:
        raise UsageError("name the sets to remove, or a --collection of them")
    return {name: slugs or [] for name, _, slugs in sorted(rows) if name in chosen}


def remove_sets(
    path: str | os.PathLike[str],
    names: Sequence[str],
    *,
    wait: float = DEFAULT_WAIT_SECONDS,
    narrate: Callable[[str], None] | None = None,
) -> None:
    """Remove sets and all results of them, in one transaction.

    The q-values over all pairs of an SAE are those of the sets that stay, so they are computed again.
    """
    slugs = sorted({slug for found in sets_named(path, names, None, wait).values() for slug in found})
    with ExitStack() as stack:
        staying = {}
        for slug in slugs:
            scratch = stack.enter_context(Scratch(Path(path).absolute().parent))
            staying[slug] = _without(path, slug, names, scratch, wait)
        with writing(path, wait=wait, narrate=narrate) as connection, translated():
            for slug, (set_ids, kept, correlation) in staying.items():
                ((sae_id,),) = connection.execute("SELECT sae_id FROM sae WHERE slug = ?", [slug]).fetchall()
                parts = enrichment_parts(kept.columns)
                replace_enrichment(connection, sae_id, set_ids, parts, kept.null, correlation)
                forget_removed_sets(connection, sae_id)
            marks = ", ".join("?" for _ in names)
            gone = connection.execute(f"SELECT set_id FROM token_set WHERE name IN ({marks})", list(names)).fetchall()
            for (set_id,) in gone:
                delete_set(connection, set_id)


def _without(
    path: str | os.PathLike[str], slug: str, names: Sequence[str], scratch: Scratch, wait: float
) -> tuple[list[int], Kept, object]:
    """Return the results of an SAE without some sets: ids of those that stay, their columns, their correlations."""
    connection = open_reader(path, wait=wait)
    try:
        stored = [item for item in sets_of_sae(connection, slug) if item.row["name"] not in names]
        ((d_sae,),) = connection.execute("SELECT d_sae FROM sae WHERE slug = ?", [slug]).fetchall()
        set_ids = [item.set_id for item in stored]
        correlation = correlation_of(connection, slug, set_ids)
    finally:
        connection.close()
    wanted = {(item.row["name"], item.row["members_sha256"]) for item in stored}
    kept = load_kept(path, slug, wanted, 0, d_sae, scratch, wait)
    if stored:
        write_q_columns(kept.columns, scratch)
    return set_ids, kept, correlation
