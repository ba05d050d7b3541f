"""Importing explanations of features: the JSON lines that Neuronpedia exports, gzipped or not.

A line is an object with `modelId`, `layer` (the source, `8-res-jb`), `index` and `description`; `explanationModelName`,
`typeName` and scores where there are any. `modelId/layer` is `sae.neuronpedia_id`. A file is read and checked whole
before anything is written, and then written in one transaction.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .card import resolve_sae
from .catalogue import Catalogue
from .errors import CatalogueError, FeatdexError, NotFoundError, UsageError, nearest
from .file import DEFAULT_WAIT_SECONDS, translated, writing
from .given_path import given_path

if TYPE_CHECKING:
    import duckdb

METHOD = "neuronpedia"
"""Method of an explanation whose line names no type."""

_LARGEST_INDEX = (1 << 31) - 1
_FAULTS_SHOWN = 5


class Explanation(NamedTuple):
    """One explanation of a file: `source_id` is Neuronpedia's model/source, `line` its place in the file, from 1."""

    source_id: str
    feature: int
    text: str
    method: str
    explainer: str | None
    score: float | None
    file: str
    line: int


class Imported(NamedTuple):
    """What an import did.

    Attributes:
        n_rows: Explanations now in the catalogue by it, by slug of the SAE.
        n_replaced: Earlier rows that these took the place of.
        n_empty: Lines without a description, which were left out.
        others: Neuronpedia ids in the files that no SAE of the catalogue has, with the number of their lines.
    """

    n_rows: dict[str, int]
    n_replaced: int
    n_empty: int
    others: dict[str, int]


def import_explanations(
    path: str | os.PathLike[str],
    files: Sequence[Path],
    *,
    sae: str | None = None,
    replace: bool = False,
    wait: float = DEFAULT_WAIT_SECONDS,
    narrate: Callable[[str], None] | None = None,
) -> Imported:
    """Import explanations from Neuronpedia's exports, all of them or none.

    What the catalogue has of the same feature, method and explainer is replaced, so a file may be imported again.

    Args:
        path: The catalogue.
        files: JSON lines, `.jsonl` or `.jsonl.gz`.
        sae: The SAE that the files are of, whatever their ids say; None: the SAEs of these Neuronpedia ids.
        replace: Forget first every explanation that the SAEs of the files have.
        wait: Seconds to wait for other processes to let go of the catalogue.
        narrate: Told of wrong lines, and when it has to wait.

    Raises:
        FeatdexError: A file can't be read, or has wrong lines.
        NotFoundError: No SAE of the catalogue is that of the files.
        UsageError: `sae` is given for files of several.
        CatalogueError: A feature is not one of its SAE: the file is of another.
    """
    rows, n_empty = _read_all(files, narrate or (lambda _: None))
    with writing(path, wait=wait, narrate=narrate, notes=True) as connection:
        targets = _targets(connection, path, rows, sae)
        chosen = [(sae_id, row) for row in rows for sae_id in targets.get(row.source_id, {})]
        names = {sae_id: slug for saes in targets.values() for sae_id, (slug, _) in saes.items()}
        _check_features(rows, targets)
        n_replaced = _write(connection, chosen, sorted(names), replace)
    counts = Counter(names[sae_id] for sae_id, _ in chosen)
    others = Counter(row.source_id for row in rows if row.source_id not in targets)
    return Imported(dict(counts), n_replaced, n_empty, dict(others))


def _read_all(files: Sequence[Path], narrate: Callable[[str], None]) -> tuple[list[Explanation], int]:
    rows: list[Explanation] = []
    faults: list[str] = []
    n_empty = 0
    for file in files:
        for number, line in enumerate(_lines(file), start=1):
            try:
                row = _explanation(line, file.name, number)
            except ValueError as error:
                faults.append(f"{file}, line {number}: {error}")
                continue
            rows += [row] if row is not None else []
            n_empty += row is None and bool(line.strip())
    for fault in faults[:_FAULTS_SHOWN] if len(faults) > 1 else []:
        narrate(fault)
    if faults:
        many = f" ({len(faults):,} wrong lines in all)" if len(faults) > 1 else ""
        raise FeatdexError(f"{faults[0]}{many}; nothing was imported, mend the file or leave the line out")
    return rows, n_empty


def _lines(file: Path) -> Iterator[bytes]:
    """Yield the lines of a file, unpacked where it is gzip, whatever its name says."""
    file = given_path(file)
    try:
        with file.open("rb") as stream:
            is_packed = stream.read(2) == b"\x1f\x8b"
            stream.seek(0)
            if not is_packed:
                yield from stream
                return
            with gzip.open(stream) as unpacked:
                yield from unpacked
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise FeatdexError(f"cannot read {file}: {reason}; nothing was imported") from error


def _explanation(line: bytes, file: str, number: int) -> Explanation | None:
    """Return the explanation of a line, None for one that has no text; `ValueError` says what is wrong."""
    if not line.strip():
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON ({error})") from error
    if not isinstance(record, dict):
        raise ValueError("no JSON object")
    text = _text(record, "description")
    if text is None:
        return None
    model, layer = _text(record, "modelId"), _text(record, "layer")
    if model is None or layer is None:
        raise ValueError("modelId or layer is missing, which name the SAE")
    method = _text(record, "typeName") or METHOD
    explainer = _text(record, "explanationModelName")
    return Explanation(f"{model}/{layer}", _index(record), text, method, explainer, _score(record), file, number)


def _text(record: dict[str, Any], key: str) -> str | None:
    value = record.get(key)
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{key} is no text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{key} is no Unicode text") from None
    return value.strip() or None


def _index(record: dict[str, Any]) -> int:
    """Return the feature; Neuronpedia writes the index as text."""
    value = record.get("index")
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _LARGEST_INDEX:
        raise ValueError(f"index {str(value)[:40]!r} is no index of a feature")
    return value


def _score(record: dict[str, Any]) -> float | None:
    """Return the first score, else the score of older exports, where 0 stands for none."""
    scores = record.get("scores")
    value = record.get("scoreV2") or record.get("scoreV1") or None
    if isinstance(scores, list) and scores:
        value = scores[0].get("value") if isinstance(scores[0], dict) else None
    if value is None:
        return None
    # Beyond that, float32 has no finite number.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 3e38 or math.isnan(value):
        raise ValueError(f"the score {str(value)[:40]!r} is no number")
    return float(value)


def _targets(
    connection: duckdb.DuckDBPyConnection, path: str | os.PathLike[str], rows: list[Explanation], sae: str | None
) -> dict[str, dict[int, tuple[str, int]]]:
    """Return the SAEs of every Neuronpedia id of the files that has any: sae_id to slug and d_sae."""
    wanted = sorted({row.source_id for row in rows})
    if not wanted:
        raise NotFoundError("no explanation in these files; nothing was imported")
    slug = None if sae is None else resolve_sae(Catalogue(path, connection), sae)
    with translated():
        known = connection.execute("SELECT sae_id, slug, neuronpedia_id, d_sae FROM sae ORDER BY sae_id").fetchall()
    if slug is not None:
        if len(wanted) > 1:
            raise UsageError(f"the files are of {len(wanted)} SAEs ({', '.join(wanted[:5])}); leave out --sae")
        return {wanted[0]: {sae_id: (name, d_sae) for sae_id, name, _, d_sae in known if name == slug}}
    targets = {
        source_id: {sae_id: (name, d_sae) for sae_id, name, own_id, d_sae in known if own_id == source_id}
        for source_id in wanted
    }
    targets = {source_id: saes for source_id, saes in targets.items() if saes}
    if not targets:
        hint = nearest(wanted[0], [own_id for _, _, own_id, _ in known if own_id])
        raise NotFoundError(
            f"no SAE of the catalogue has the Neuronpedia id {wanted[0]!r}{hint or ''}; name it with --sae SLUG"
        )
    return targets


def _check_features(rows: list[Explanation], targets: dict[str, dict[int, tuple[str, int]]]) -> None:
    for row in rows:
        for slug, d_sae in targets.get(row.source_id, {}).values():
            if row.feature >= d_sae:
                raise CatalogueError(
                    f"{row.file}, line {row.line}: feature {row.feature}, but {slug} has features 0 to {d_sae - 1}: the"
                    " file is of another SAE; nothing was imported"
                )


def _write(
    connection: duckdb.DuckDBPyConnection, chosen: list[tuple[int, Explanation]], sae_ids: list[int], replace: bool
) -> int:
    """Write the rows, in place of the older ones; return how many these were."""
    import pyarrow as pa

    columns = {
        "sae_id": pa.array([sae_id for sae_id, _ in chosen], pa.int16()),
        "feature": pa.array([row.feature for _, row in chosen], pa.int32()),
        "text": pa.array([row.text for _, row in chosen], pa.string()),
        "method": pa.array([row.method for _, row in chosen], pa.string()),
        "explainer": pa.array([row.explainer for _, row in chosen], pa.string()),
        "score": pa.array([row.score for _, row in chosen], pa.float32()),
        "source": pa.array([row.file for _, row in chosen], pa.string()),
    }
    with translated():
        connection.register("incoming_rows", pa.table(columns))
        same = (
            "sae_id IN (SELECT unnest(?))"
            if replace
            else "EXISTS (FROM incoming_rows i WHERE i.sae_id = explanation.sae_id AND i.feature = explanation.feature"
            " AND i.method = explanation.method AND i.explainer IS NOT DISTINCT FROM explanation.explainer)"
        )
        values = [sae_ids] if replace else []
        ((n_replaced,),) = connection.execute(f"DELETE FROM explanation WHERE {same}", values).fetchall()
        # Lines that say the same, as where an export is cut into files that overlap, are one explanation.
        connection.execute("INSERT INTO explanation BY NAME SELECT DISTINCT * FROM incoming_rows ORDER BY ALL")
        connection.unregister("incoming_rows")
    return int(n_replaced)
