"""What is kept beside an exported file, so that a table in a paper can be made again: `FILE.json` beside `FILE`.

It says what was asked, of which contents, with which versions, and what came out.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .catalogue import literal
from .errors import FeatdexError, NotFoundError, UsageError
from .file import featdex_version, schema_version, translated
from .formats import Format, read
from .tables import TABLES

if TYPE_CHECKING:
    import duckdb

    from .catalogue import Catalogue

KIND = "featdex_export"
VERSION = 1
_LISTED = 5
_LARGEST = 16 * 2**20
_LOCAL_HASH = 16
"""Digits of a hash that only tells two states of one thing apart."""


class Asked(NamedTuple):
    """What an export is of: a question or view with its parameters, or SQL."""

    question: str | None
    parameters: dict[str, Any]
    text: str | None
    form: Format
    coefficient: float | None = None

    def relation(self, catalogue: Catalogue) -> duckdb.DuckDBPyRelation:
        """Ask it."""
        if self.text is not None:
            return catalogue.sql(self.text)
        return catalogue.query(self.question or "", **self.parameters)

    def sql(self) -> str:
        """Return it as SQL for any DuckDB shell."""
        if self.text is not None:
            return self.text
        arguments = ", ".join(f"{name} := {literal(value)}" for name, value in self.parameters.items())
        return f"FROM {self.question}({arguments})" if arguments else f"FROM {self.question}"


class Made(NamedTuple):
    """What came out of it."""

    n_rows: int
    sha256: str


def sidecar_of(output: Path) -> Path:
    """Return the name of the sidecar of an exported file."""
    return output.with_name(f"{output.name}.json")


def describe(catalogue: Catalogue, asked: Asked, made: Made, output: Path) -> dict[str, Any]:
    """Return the contents of a sidecar."""
    return {
        KIND: VERSION,
        "file": output.name,
        "format": asked.form.value,
        "question": asked.question,
        "parameters": asked.parameters,
        "sql": asked.sql(),
        **({} if asked.coefficient is None else {"coefficient": asked.coefficient}),
        "rows": made.n_rows,
        "sha256": made.sha256,
        "definitions_sha256": _definitions_sha256(catalogue.connection, asked.sql()),
        "versions": _versions(asked.form),
        "catalogue": contents(catalogue),
    }


def as_bytes(description: Mapping[str, Any]) -> bytes:
    """Return a sidecar as it is kept, in UTF-8; bytes of a file's name that are none stand as JSON's escapes."""
    text = json.dumps(description, ensure_ascii=False, indent=1, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace")


def read_sidecar(path: Path) -> tuple[dict[str, Any], Asked]:
    """Read a sidecar.

    Raises:
        NotFoundError: There is none.
        UsageError: The file is none, or one of a newer featdex.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise UsageError(f"{path} is no sidecar of an export: it is too large")
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(f"no sidecar at {path}; name the FILE.json that 'featdex export' left") from error
    except OSError as error:
        raise FeatdexError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is no sidecar of an export: it is no JSON") from error
    if not isinstance(found, dict) or KIND not in found:
        raise UsageError(f"{path} is no sidecar of an export; name the FILE.json that 'featdex export' left")
    if found[KIND] != VERSION:
        raise UsageError(f"{path} is of version {found[KIND]!r}, this featdex reads {VERSION}; upgrade featdex")
    return found, _asked(found, path)


def _asked(found: dict[str, Any], path: Path) -> Asked:
    question, parameters = found.get("question"), found.get("parameters", {})
    facts = (found.get("rows"), found.get("sha256"), found.get("sql"), found.get("versions"), found.get("catalogue"))
    well_formed = (
        isinstance(question, str | None)
        and isinstance(parameters, dict)
        and found.get("format") in list(Format)
        and isinstance(found.get("coefficient"), int | float | None)
        and [type(fact) for fact in facts] == [int, str, str, dict, dict]
    )
    if not well_formed:
        raise UsageError(f"{path} is no whole sidecar; export again without --again")
    text = None if question else found["sql"]
    return Asked(question, parameters, text, Format(found["format"]), found.get("coefficient"))


def _versions(form: Format) -> dict[str, str]:
    import duckdb

    versions = {"featdex": featdex_version(), "duckdb": duckdb.__version__, "python": platform.python_version()}
    if form is Format.PARQUET:
        import pyarrow as pa

        versions["pyarrow"] = pa.__version__
    return versions


def contents(catalogue: Catalogue) -> dict[str, Any]:
    """Return what a catalogue holds, by hashes that the same ingest gives again, anywhere: `sha256` is over all of it.

    It is the ledger's: models, weights, parameters and sets, and the rows that users brought (explanations, tags). The
    bytes of the file say nothing, for they are never twice the same; nor does it read a number of the big tables.
    """
    with translated():
        parts = {name: read(catalogue.sql(query)).rows for name, query in _CONTENTS.items()}
        lists = {name: [list(row) for row in rows] for name, rows in parts.items()}
    saes = {
        slug: {"weights": _short(weights), "parameters": _short(params), "device": device, "versions": _short(versions)}
        for slug, weights, params, device, versions in lists.pop("saes")
    }
    # Where it was computed is told, but it is the same catalogue.
    stable = {slug: [entry["weights"], entry["parameters"]] for slug, entry in saes.items()}
    hashed = {"saes": stable, **lists}
    return {
        "file": catalogue.path.name,
        "schema": schema_version(catalogue.path, catalogue.connection),
        "sha256": hashlib.sha256(json.dumps(hashed, sort_keys=True).encode()).hexdigest(),
        **{name: _short(json.dumps(rows)) for name, rows in lists.items()},
        "saes": saes,
    }


_CONTENTS = {
    "saes": "SELECT s.slug, s.weights_sha256,"
    " string_agg(r.stage || ' ' || r.params_sha256, ' ' ORDER BY r.stage, r.params_sha256),"
    " string_agg(DISTINCT r.device, ' ' ORDER BY r.device), string_agg(DISTINCT r.versions, ' ' ORDER BY r.versions)"
    " FROM sae s LEFT JOIN run r USING (sae_id) GROUP BY s.slug, s.weights_sha256 ORDER BY s.slug",
    "models": "SELECT name, tokenizer_sha256, unembed_sha256 FROM model ORDER BY name",
    "token_sets": "SELECT m.name, t.name, t.members_sha256 FROM token_set t JOIN model m USING (model_id) ORDER BY ALL",
    # A sum: the rows have no order.
    "explanations": "SELECT count(*), sum(md5_number_lower(concat_ws(chr(31), s.slug, e.feature, e.text, e.method,"
    " e.explainer, e.score, e.source)))::VARCHAR FROM explanation e JOIN sae s USING (sae_id)",
    "tags": "SELECT count(*), sum(md5_number_lower(concat_ws(chr(31), s.slug, t.feature, t.tag, t.note)))::VARCHAR"
    " FROM tag t JOIN sae s USING (sae_id)",
}


def _short(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()[:_LOCAL_HASH]


def _definitions_sha256(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """Return a hash of the questions and views that some SQL names, and of those that they name."""
    with translated():
        rows = connection.execute(
            "SELECT function_name, macro_definition FROM duckdb_functions() WHERE NOT internal"
            " AND function_type IN ('macro', 'table_macro')"
            " UNION ALL SELECT view_name, sql FROM duckdb_views() WHERE NOT internal AND NOT temporary"
        ).fetchall()
    tables = {table.name for table in TABLES}
    known = {name: definition or "" for name, definition in rows if name not in tables}
    found: dict[str, str] = {}
    pending = [text]
    while pending:
        for word in set(re.findall(r"\w+", pending.pop())) & known.keys() - found.keys():
            # DuckDB writes a macro's text anew at every turn, some lists of names in any order.
            found[word] = " ".join(sorted(re.findall(r"\w+|[^\w\s]", known[word])))
            pending.append(known[word])
    return hashlib.sha256(json.dumps(sorted(found.items())).encode()).hexdigest()


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two sidecars of one request, a line each, likeliest cause first."""
    old, new = then["catalogue"], now["catalogue"]
    lines = [f"{then['rows']:,} rows then, {now['rows']:,} now"] if then["rows"] != now["rows"] else []
    lines += _changed_saes(_table(old, "saes"), _table(new, "saes"))
    for part in ("models", "token_sets", "explanations", "tags"):
        if old.get(part) != new.get(part):
            lines.append(f"the catalogue has other {part.replace('_', ' ')}")
    if then.get("definitions_sha256") != now["definitions_sha256"]:
        lines.append("the question, or one that it builds on, is defined otherwise in this catalogue")
    before, after = then["versions"], now["versions"]
    lines += [
        f"{name} was {before.get(name, 'not told')} and is {after.get(name, 'not told')}"
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
    return lines


def _table(found: Mapping[str, Any], key: str) -> dict[str, dict[str, Any]]:
    table = found.get(key)
    return {slug: entry for slug, entry in table.items() if isinstance(entry, dict)} if isinstance(table, dict) else {}


def _changed_saes(old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    both = sorted(old.keys() & new.keys())
    for what, slugs in (("is gone", sorted(old.keys() - new.keys())), ("is new", sorted(new.keys() - old.keys()))):
        lines += _told(what, slugs)
    for key, what in (
        ("weights", "has other weights"),
        ("parameters", "was computed with other sets or parameters"),
        ("device", "was computed on another device"),
        ("versions", "was computed with other library versions"),
    ):
        lines += _told(what, [slug for slug in both if old[slug].get(key) != new[slug].get(key)])
    return lines


def _told(what: str, slugs: list[str]) -> list[str]:
    more = [f"and so for {len(slugs) - _LISTED} more SAEs"] if len(slugs) > _LISTED else []
    return [f"{slug} {what}" for slug in slugs[:_LISTED]] + more
