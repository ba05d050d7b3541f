"""The names that a shell completes to, straight from the catalogue: sets, SAEs, questions and their parameters."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from .schema import RETIRED
from .tables import FEATURE, STATISTICS, TABLES

_SECONDS = 1.0
_MOST = 500


class Candidate(NamedTuple):
    """A word to complete to, and what to say of it; after one that ends with `=` or `/` the word goes on."""

    value: str
    help: str = ""


class Typed(NamedTuple):
    """What has been typed: catalogue, verb, its arguments so far, and the word to complete."""

    db: Path | None
    verb: str
    values: tuple[str, ...]
    word: str


Completer = Callable[[Typed], Iterable[Candidate]]


def _rows(typed: Typed, query: str, *values: str) -> list[tuple[Any, ...]]:
    """Ask the catalogue, without waiting for it or for the answer."""
    if typed.db is None:
        return []
    from .file import connect_reader

    with closing(connect_reader(typed.db, wait=0, memory="256MB")) as connection:
        done = threading.Event()

        def stop() -> None:
            # DuckDB forgets an interrupt that comes while it plans.
            wait = _SECONDS
            while not done.wait(wait):
                connection.interrupt()
                wait = 0.05

        threading.Thread(target=stop, daemon=True).start()
        try:
            return connection.execute(query, list(values)).fetchall()
        finally:
            done.set()


def set_names(typed: Typed) -> Iterator[Candidate]:
    """Names of token sets, without earlier definitions."""
    for name, description in _rows(
        typed,
        "SELECT name, min(description) FROM token_set WHERE starts_with(name, ?)"
        f" AND NOT regexp_matches(name, '{RETIRED}') GROUP BY name ORDER BY name LIMIT {_MOST}",
        typed.word,
    ):
        yield Candidate(name, description or "")


def collections(typed: Typed) -> Iterator[Candidate]:
    """Collections of token sets."""
    for (name,) in _rows(typed, "SELECT DISTINCT collection FROM token_set WHERE collection IS NOT NULL ORDER BY ALL"):
        yield Candidate(name)


def models(typed: Typed) -> Iterator[Candidate]:
    """Names of models."""
    for (name,) in _rows(typed, "SELECT name FROM model ORDER BY name"):
        yield Candidate(name)


def slugs(typed: Typed) -> Iterator[Candidate]:
    """Slugs of SAEs."""
    for slug, told in _saes(typed):
        yield Candidate(slug, told)


def addresses(typed: Typed) -> Iterator[Candidate]:
    """Slugs before a feature; where none begins so, what comes after the model in a slug, if one SAE only has it."""
    found = _saes(typed)
    whole = [Candidate(f"{slug}/", told) for slug, told in found if slug.startswith(typed.word)]
    if whole:
        yield from whole
        return
    short = [slug.partition("/")[2] for slug, _ in found]
    for name, (_, told) in zip(short, found, strict=True):
        if short.count(name) == 1 and name:
            yield Candidate(f"{name}/", told)


def _saes(typed: Typed) -> list[tuple[str, str]]:
    rows = _rows(typed, "SELECT slug, kind, d_sae FROM sae ORDER BY layer, slug")
    return [(slug, f"{kind}, {d_sae} features") for slug, kind, d_sae in rows]


_QUESTIONS = (
    "SELECT function_name, split_part(comment, chr(10), 1), parameters FROM duckdb_functions()"
    " WHERE function_type = 'table_macro' AND NOT internal AND NOT starts_with(function_name, '_')"
)


def questions(typed: Typed) -> Iterator[Candidate]:
    """Names of questions and views."""
    views = "SELECT view_name, split_part(comment, chr(10), 1), NULL FROM duckdb_views() WHERE NOT internal"
    tables = {table.name for table in TABLES}
    for name, title, _ in _rows(typed, f"{_QUESTIONS} UNION ALL {views} ORDER BY 1"):
        if name not in tables:
            yield Candidate(name, title or "")


def exports(typed: Typed) -> Iterator[Candidate]:
    """What can be exported by name."""
    yield Candidate("parquet", "All tables, into a folder.")
    yield from questions(typed)


def statistics(typed: Typed) -> Iterator[Candidate]:
    """Statistics of a feature; with a minus sign the smallest come first."""
    sign = "-" if typed.word.startswith("-") else ""
    for column in FEATURE.columns:
        if column.name in STATISTICS:
            yield Candidate(sign + column.name, column.comment)


def roles(typed: Typed) -> Iterator[Candidate]:
    """The roles of features, after Universal Neurons."""
    for name in ("prediction", "suppression", "partition", "other"):
        yield Candidate(name, "")


def question_values(typed: Typed) -> Iterator[Candidate]:
    """Parameters of a question: `key=`, the values of one, and those of the one that is next in order."""
    if not typed.values:
        return
    name, *given = typed.values
    found = _rows(typed, f"{_QUESTIONS} AND function_name = ?", name)
    if not found:
        return
    parameters = found[0][2]
    key, equals, begun = typed.word.partition("=")
    if equals:
        values = _parameter_values(key, typed._replace(word=begun)) if key in parameters else ()
        yield from (Candidate(f"{key}={value}", told) for value, told in values)
        return
    named = {text.partition("=")[0] for text in given if "=" in text}
    free = [parameter for parameter in parameters if parameter not in named]
    n_in_order = sum("=" not in text for text in given)
    yield from (Candidate(f"{parameter}=") for parameter in free[n_in_order:])
    if n_in_order < len(free):
        yield from _parameter_values(free[n_in_order], typed)


def _parameter_values(parameter: str, typed: Typed) -> Iterable[Candidate]:
    completer = COMPLETERS.get(parameter)
    return completer(typed) if completer is not None else ()


COMPLETERS: Mapping[str, Completer] = {
    "set_name": set_names,
    "set_a": set_names,
    "set_b": set_names,
    "other": set_names,
    "plot heatmap names": set_names,
    "SET": set_names,
    "sets show name": set_names,
    "sets rm names": set_names,
    "sae": slugs,
    "address": addresses,
    "SAE/FEATURE": addresses,
    "collection": collections,
    "model_name": models,
    "within": slugs,
    "stat": statistics,
    "statistic": statistics,
    "role": roles,
    "q name": questions,
    "ls name": questions,
    "export name": exports,
    "q values": question_values,
    "export values": question_values,
}
"""By verb and parameter, by parameter (of a verb or a question), or by the metavar of an argument."""
