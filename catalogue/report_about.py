"""Where the numbers of a report come from: models, SAEs, runs, sources and licences, and how exact the report is."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from .file import featdex_version
from .report_chunks import ChunkWriter
from .report_plan import Plan, dicts

if TYPE_CHECKING:
    from .catalogue import Catalogue

_LONG_TEXT = 4_000
"""Run parameters longer than this (hashes of all sets, directions) are counted instead of shown."""


def write_about(catalogue: Catalogue, plan: Plan, writer: ChunkWriter) -> None:
    """Write what the about page shows."""
    facts = {row["key"]: row["value"] for row in dicts(catalogue, "FROM meta ORDER BY key")}
    with catalogue.file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    sae_ids = [sae.sae_id for sae in plan.saes]
    writer.write(
        "about",
        {
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "featdex": featdex_version(),
            "options": {"sae": plan.options.sae, "sets": list(plan.options.sets), "top": plan.options.top},
            "catalogue": {"name": catalogue.path.name, "bytes": catalogue.file.stat().st_size, "sha256": digest},
            "meta": facts,
            "models": list(plan.models),
            "saes": [sae.row for sae in plan.saes],
            "sources": _sources(catalogue, plan),
            "runs": _runs(catalogue, sae_ids),
            "libraries": json.loads(_libraries()),
        },
    )


def _libraries() -> str:
    return (files("featdex.catalogue") / "report_page" / "vendor" / "vendor.json").read_text(encoding="utf-8")


def _sources(catalogue: Catalogue, plan: Plan) -> list[dict[str, Any]]:
    """Return collections of token sets with source, version and licence, and the number of sets of each."""
    return dicts(
        catalogue,
        "SELECT collection, source, version, licence, count(*) AS n_sets FROM token_set"
        " WHERE list_contains($ids, set_id) GROUP BY ALL ORDER BY ALL",
        {"ids": [set_id for part in plan.sets for set_id in part.set_ids]},
    )


def _runs(catalogue: Catalogue, sae_ids: list[int]) -> list[dict[str, Any]]:
    rows = dicts(
        catalogue,
        "SELECT s.slug AS sae, r.stage, r.params, r.params_sha256, r.versions, r.device, r.n_rows, r.seconds,"
        " strftime(r.finished_at, '%Y-%m-%d %H:%M:%S') AS finished_at FROM run r JOIN sae s USING (sae_id)"
        " WHERE list_contains($ids, r.sae_id) ORDER BY r.run_id",
        {"ids": sae_ids},
    )
    for row in rows:
        row["params"] = _short(row["params"])
        row["versions"] = _short(row["versions"])
    return rows


def _short(text: str | None) -> Any:
    """Return a JSON text as a value in which long lists and maps are counted."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return (text or "")[:_LONG_TEXT]
    if not isinstance(value, dict):
        return str(value)[:_LONG_TEXT]
    return {name: _counted(entry) for name, entry in value.items()}


def _counted(value: Any) -> Any:
    if isinstance(value, dict | list) and len(json.dumps(value)) > _LONG_TEXT // 10:
        return f"({len(value):,} entries)"
    return value
