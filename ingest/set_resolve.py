"""From the definitions of set files to the token sets of a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

from ..catalogue.errors import TokenSetError
from .inputs import TokenSet, Vocabulary
from .set_definition import SetDefinition, check_distinct_names
from .set_terms import TermFinder
from .set_texts import TextIndex, sorted_ids

_SPACE_WORDS = {
    "leading": "one leading space",
    "none": "no leading space",
    "either": "at most one leading space",
}


def resolve_sets(
    definitions: Sequence[SetDefinition],
    vocabulary: Vocabulary,
    *,
    index: TextIndex | None = None,
    keep_unusable: bool = False,
) -> list[TokenSet]:
    """Return the sets of some definitions on a vocabulary, in their order.

    `index` is `index_texts(vocabulary)` where there is one already. A set without a member, or of all tokens (all but
    the special ones, for a list or pattern), raises TokenSetError unless `keep_unusable`. Raises TokenSetError, which
    names the set, for two of one name, and for a pattern or query that fails.
    """
    check_distinct_names(definitions)
    finder = TermFinder(vocabulary, index)
    patterns = [found for found in definitions if found.kind == "regex"]
    queries = [found for found in definitions if found.kind == "sql"]
    made = {found.name: _list_set(found, finder) for found in definitions if found.kind == "list"}
    if patterns:
        from .set_patterns import pattern_ids

        for found, ids in zip(patterns, pattern_ids(patterns, vocabulary), strict=True):
            definition = found.pattern if found.on == "text" else f"on raw: {found.pattern}"
            made[found.name] = _rule_set(found, definition, ids)
    if queries:
        from .set_sql import query_ids

        for found, selected in zip(queries, query_ids(queries, vocabulary), strict=True):
            made[found.name] = _rule_set(found, found.query.strip(), sorted(selected))
    sets = [made[found.name] for found in definitions]
    if not keep_unusable:
        n_ordinary = sum(map(len, finder.index.values()))
        for token_set in sets:
            _check_usable(token_set, len(vocabulary) if token_set.kind == "sql" else n_ordinary)
    return sets


def _list_set(found: SetDefinition, finder: TermFinder) -> TokenSet:
    ids, dropped = finder.find(found)
    origin = f" in {found.origin}" if found.origin else ""
    first = ", else their first token" if found.multi_token == "first" else ""
    return TokenSet(
        name=found.name,
        collection=found.collection,
        kind="list",
        definition=f"the terms of {found.name}{origin}, {found.casing} casing, {_SPACE_WORDS[found.space]}{first}",
        description=found.description,
        source=found.source,
        token_ids=sorted_ids(ids),
        n_terms=len(found.terms),
        n_dropped=len(dropped),
        licence=found.licence,
        version=found.version,
        dropped=dropped,
    )


def _rule_set(found: SetDefinition, definition: str, ids: Sequence[int]) -> TokenSet:
    return TokenSet(
        name=found.name,
        collection=found.collection,
        kind=found.kind,
        definition=definition,
        description=found.description,
        source=found.source,
        token_ids=sorted_ids(ids),
        licence=found.licence,
        version=found.version,
    )


def _check_usable(token_set: TokenSet, n_possible: int) -> None:
    """Raise TokenSetError for a set without a member, or with all `n_possible` tokens that its kind can have."""
    n_tokens = len(token_set.token_ids)
    if n_tokens == 0:
        if token_set.dropped:
            term, reason = token_set.dropped[0]
            cause = f"none of its {token_set.n_terms} terms is a token of this vocabulary ({term[:40]!r}: {reason})"
        else:
            cause = f"its {'pattern matches' if token_set.kind == 'regex' else 'query gives'} no token"
        raise TokenSetError(f"token set {token_set.name!r} is empty: {cause}; change it or take it out")
    if n_tokens == n_possible:
        kinds = "" if token_set.kind == "sql" else " that are not special"
        raise TokenSetError(
            f"token set {token_set.name!r} holds all {n_tokens} tokens{kinds}, so there is nothing to compare it with; "
            "change it or take it out"
        )
