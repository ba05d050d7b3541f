"""What a dataset says of its SAEs: one JSON file each, written when all else of that SAE is there.

The files may come from anybody: what they say is checked before it is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from .dataset_tables import PARTITIONED
from .errors import CatalogueError
from .store import Store
from .tables import RUN, SAE

FOLDER = "manifest"
_KIND = "featdex_sae"
_MANIFEST = re.compile(rf"{FOLDER}/sae=(\d{{4,5}})\.json")
_FILE = re.compile(r"(\w+)/sae=(\d{4,5})/part-(\d{1,9})\.parquet")
_READERS = 16


class File(NamedTuple):
    """A parquet file of a partition."""

    path: str
    n_rows: int
    n_bytes: int


class Partition(NamedTuple):
    """One SAE of a dataset: its row and its runs as the tables have them, the sets it has results of, its files."""

    sae: dict[str, Any]
    runs: list[dict[str, Any]]
    set_ids: list[int]
    files: dict[str, File]

    @property
    def sae_id(self) -> int:
        """Return its id."""
        return int(self.sae["sae_id"])


def manifest_path(sae_id: int) -> str:
    """Return the name of an SAE's manifest file in its dataset."""
    return f"{FOLDER}/sae={sae_id:04d}.json"


def part_path(table: str, sae_id: int, generation: int) -> str:
    """Return the name of a file of a partition. A table that is written again gets a file of another generation."""
    return f"{table}/sae={sae_id:04d}/part-{generation}.parquet"


def generation_of(path: str) -> int:
    """Return the generation of a file by its name."""
    found = _FILE.fullmatch(path)
    return int(found[3]) if found else 0


def as_json(partition: Partition) -> bytes:
    """Return the text of a manifest file."""
    content = {
        _KIND: 1,
        "sae": partition.sae,
        "runs": partition.runs,
        "set_ids": partition.set_ids,
        "files": {file.path: {"rows": file.n_rows, "bytes": file.n_bytes} for file in partition.files.values()},
    }
    return (json.dumps(content, indent=1, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    """Return a value of a row as JSON has it: numbers of numpy as numbers, times as text."""
    return value.item() if hasattr(value, "item") else str(value)


def parse(content: bytes, path: str, where: str) -> Partition:
    """Read a manifest file.

    Args:
        content: What it holds.
        path: Its name in the dataset.
        where: Its full name, for the message.

    Raises:
        CatalogueError: It is no such file, or names files that are not those of its SAE.
    """
    try:
        partition = _parsed(json.loads(content), path)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CatalogueError(f"{where} is damaged, or no manifest of an SAE; remove it and ingest that SAE") from error
    return partition


def _parsed(found: Any, path: str) -> Partition:
    named = _MANIFEST.fullmatch(path)
    sae = {name: found["sae"].get(name) for name in SAE.column_names}
    runs = [{name: run.get(name) for name in RUN.column_names} for run in found["runs"]]
    files = [File(name, _count(entry["rows"]), _count(entry["bytes"])) for name, entry in found["files"].items()]
    by_table = {}
    for file in files:
        parts = _FILE.fullmatch(file.path)
        if not parts or int(parts[2]) != sae["sae_id"]:
            raise ValueError(file.path)
        by_table[parts[1]] = file
    is_named_so = named is not None and int(named[1]) == sae["sae_id"] == _count(sae["sae_id"]) <= 2**15 - 1
    if found[_KIND] != 1 or not is_named_so or by_table.keys() != {table.name for table in PARTITIONED}:
        raise ValueError(path)
    if len(files) != len(by_table) or not isinstance(sae["slug"], str) or not isinstance(sae["d_sae"], int):
        raise ValueError(path)
    for run in runs:
        if not isinstance(json.loads(run["params"]), dict) or run["sae_id"] != sae["sae_id"]:
            raise ValueError(path)
    _require_plain([sae, *runs])
    return Partition(sae, runs, [_count(set_id) for set_id in found["set_ids"]], by_table)


def _require_plain(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        for value in row.values():
            if not isinstance(value, str | int | float | None):
                raise ValueError(value)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(value)
    return value


def read_manifest(store: Store, sae_id: int) -> Partition | None:
    """Return one SAE of a dataset, None where it is not there whole."""
    path = manifest_path(sae_id)
    return parse(store.read(path), path, store.place(path)) if store.exists(path) else None


def read_manifests(store: Store) -> list[Partition]:
    """Return the SAEs of a dataset by their ids.

    Raises:
        CatalogueError: One of the files is damaged, or two SAEs have one slug.
    """
    paths = [path for path in store.files(FOLDER) if _MANIFEST.fullmatch(path)]
    with ThreadPoolExecutor(_READERS) as readers:
        contents = list(readers.map(store.read, paths))
    partitions = [parse(content, path, store.place(path)) for content, path in zip(contents, paths, strict=True)]
    partitions.sort(key=lambda partition: partition.sae_id)
    by_slug: Mapping[str, list[Partition]] = _by_slug(partitions)
    for slug, those in by_slug.items():
        if len(those) > 1:
            names = " and ".join(manifest_path(one.sae_id) for one in those[:2])
            raise CatalogueError(f"{store}: {names} are both of {slug}; remove one of them")
    return partitions


def _by_slug(partitions: list[Partition]) -> dict[str, list[Partition]]:
    found: dict[str, list[Partition]] = {}
    for partition in partitions:
        found.setdefault(partition.sae["slug"], []).append(partition)
    return found
