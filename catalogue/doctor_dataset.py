"""The checks of a dataset: its files are those of the manifest, and the strongest rows are the strongest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from .dataset_files import is_needed, shared_path
from .dataset_manifest import Partition, read_manifests
from .dataset_place import MARK, remote_place
from .dataset_tables import SHARED, TOP_PER_SIDE, VIEWED
from .errors import FeatdexError
from .findings import Check, Faults, Finding, rows
from .store import Store

if TYPE_CHECKING:
    import duckdb

# Rows are faults, as in doctor_sae.
_STRONGEST = f"""
    WITH joined AS (
        SELECT e.set_id, e.feature, e.z, e.log10_q, t.feature IS NOT NULL AS is_there, c.promoted_z, c.suppressed_z,
            c.set_id IS NOT NULL AS has_cut,
            t.z IS NOT DISTINCT FROM e.z AND t.log10_q IS NOT DISTINCT FROM e.log10_q AS is_same
        FROM enrichment e
        LEFT JOIN (FROM enrichment_top WHERE sae_id = $sae) t ON t.set_id = e.set_id AND t.feature = e.feature
        LEFT JOIN (FROM enrichment_cut WHERE sae_id = $sae) c ON c.set_id = e.set_id
        WHERE e.sae_id = $sae
    ),
    counted AS (
        SELECT j.set_id,
            count(*) FILTER (j.is_there AND NOT j.is_same) AS n_other,
            count(*) FILTER (NOT j.is_there AND j.log10_q < log10(0.05)) AS n_significant,
            count(*) FILTER (NOT j.is_there AND (j.z > coalesce(j.promoted_z, 0) OR j.z < coalesce(j.suppressed_z, 0)))
                AS n_beyond,
            count(*) FILTER (j.is_there) AS n_there, count(j.z) AS n, bool_and(j.has_cut) AS has_cut
        FROM joined j
        GROUP BY j.set_id
    ),
    kept AS (
        SELECT t.set_id, count(*) AS n, count(DISTINCT t.feature) AS n_different
        FROM enrichment_top t WHERE t.sae_id = $sae GROUP BY t.set_id
    )
    SELECT s.slug || ', set ' || coalesce(c.set_id, k.set_id) || ' has ' || coalesce(k.n, 0) || ' rows of '
        || coalesce(c.n, 0) || ' in enrichment_top, ' || coalesce(c.n_other, 0) || ' of other numbers, and leaves out '
        || coalesce(c.n_significant, 0) || ' of q < .05 and ' || coalesce(c.n_beyond, 0) || ' beyond its cut' AS fault,
        s.slug
    FROM counted c FULL JOIN kept k ON k.set_id = c.set_id, sae s
    WHERE s.sae_id = $sae AND (
        c.set_id IS NULL OR NOT c.has_cut OR c.n_other + c.n_significant + c.n_beyond > 0
        OR coalesce(k.n, 0) <> c.n_there OR coalesce(k.n_different, 0) <> c.n_there
        OR c.n_there < least(c.n, {TOP_PER_SIDE})
    )
"""


def _strongest(connection: duckdb.DuckDBPyConnection) -> Finding:
    faults = Faults()
    for (sae_id,) in rows(connection, "SELECT sae_id FROM sae ORDER BY sae_id"):
        faults.count(connection, _STRONGEST, {"sae": sae_id})
    return faults.finding(
        "strongest rows", "enrichment_top has the rows that say most of every set, and no others are beyond its cuts"
    )


def _files(connection: duckdb.DuckDBPyConnection) -> Finding:
    """Compare what the manifest names with what lies there, and with what this catalogue was made of."""
    store = Store(_folder(connection))
    faults = Faults()
    partitions = read_manifests(store)
    for partition in partitions:
        for file in partition.files.values():
            slug = partition.sae["slug"]
            if not store.exists(file.path):
                faults.add(f"{file.path} is missing", [slug])
            elif store.size(file.path) != file.n_bytes:
                faults.add(f"{file.path} has {store.size(file.path):,} bytes; want {file.n_bytes:,}", [slug])
    for table in SHARED:
        if is_needed(table, partitions) and not store.exists(shared_path(table)):
            faults.add(f"{shared_path(table)} is missing; take it from another copy of the dataset")
    named_sets = {set_id for partition in partitions for set_id in partition.set_ids}
    if unknown := named_sets - {set_id for (set_id,) in rows(connection, "SELECT set_id FROM token_set")}:
        faults.add(f"the manifest names sets that token_set has not, such as {min(unknown)}")
    if _shown(partitions) != set(rows(connection, "SELECT sae_id, path, n_rows FROM dataset_file")):
        faults.add("the catalogue was made of other files than the manifest names; 'featdex migrate' makes it again")
    named = {file.path for partition in partitions for file in partition.files.values()}
    left = [path for path in store.files() if "/sae=" in path and path.endswith(".parquet") and path not in named]
    more = f"; {len(left)} others belong to no SAE that is there, and are not counted" if left else ""
    return faults.finding("files", f"every file that the manifest names is there, with its bytes{more}")


def _shown(partitions: list[Partition]) -> set[tuple[int, str, int]]:
    tables = {table.name for table in VIEWED}
    return {
        (partition.sae_id, file.path, file.n_rows)
        for partition in partitions
        for name, file in partition.files.items()
        if name in tables
    }


def _folder(connection: duckdb.DuckDBPyConnection) -> str:
    """Return the place of the dataset whose catalogue a connection reads."""
    ((reached,),) = rows(connection, "SELECT current_setting('allowed_directories')")
    # The copy of a catalogue from an object store lies elsewhere; its reader reaches that store alone.
    for place in reached or ():
        if remote := remote_place(place):
            return remote
    ((file,),) = rows(connection, "SELECT path FROM duckdb_databases() WHERE database_name = current_database()")
    folder = Path(file).absolute().parent
    try:
        json.loads((folder / MARK).read_bytes())
    except (OSError, ValueError) as error:
        raise FeatdexError(f"{folder / MARK} can't be read: {error}") from error
    return str(folder)


DATASET_CHECKS: dict[str, Check] = {"files": _files, "strongest rows": _strongest}
"""Every check of a dataset, by name."""
