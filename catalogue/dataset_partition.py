"""One SAE of a dataset: its files, each whole, and at the end the manifest file that says that it is there.

Nothing but the features' own statistics and one set at a time is held in memory, however many sets there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .dataset_files import part_file, read_file, write_file
from .dataset_manifest import File, Partition, as_json, generation_of, manifest_path, part_path, read_manifest
from .dataset_tables import ENRICHMENT_CUT, ENRICHMENT_TOP, TOP_PER_SIDE, arrow_schema, fitted
from .errors import CatalogueError
from .schema import Table
from .store import Store
from .tables import ENRICHMENT, FEATURE, FEATURE_TOKEN, SET_CORRELATION, SET_NULL, SET_SUMMARY
from .write import SIGNIFICANCE, SUMMARY, Row, SaeRows

if TYPE_CHECKING:
    from .dataset import Dataset, Registered

_OF_TOP = ("kurtosis", "skewness", "log10_density")


def write_partition(dataset: Dataset, sae_id: int, registered: Registered, rows: SaeRows) -> None:
    """Replace everything the dataset holds of one SAE by `rows`; it is there when this returns, or as it was before.

    Different SAEs may be written by different processes at once.

    Args:
        dataset: The dataset, of which `register` was told the model and sets.
        sae_id: The id of the SAE, its own in the dataset.
        registered: What `register` returned for `rows.token_sets`.
        rows: The rows. Where `feature` and `feature_token` are None, those that are there stay. A `run` without
            `run_id` gets the id of the SAE.

    Raises:
        CatalogueError: The rows are not all features of every set, once each and ascending, or do not fit the tables.
        FeatdexError: The dataset can't be written.
    """
    write_with_runs(dataset, sae_id, registered, rows, [{"run_id": sae_id, **rows.run}])


def write_with_runs(dataset: Dataset, sae_id: int, registered: Registered, rows: SaeRows, runs: Sequence[Row]) -> None:
    """Write a partition as `write_partition` does, with these runs, that have their ids, instead of its own."""
    dataset.begin()
    files = _Writer(dataset, sae_id, registered, rows).files()
    sae = {**rows.sae, "sae_id": sae_id, "model_id": registered.model_id}
    told = [{**run, "sae_id": sae_id} for run in runs]
    partition = Partition(sae, told, sorted(registered.set_ids), {file.path.split("/")[0]: file for file in files})
    dataset.store.write(manifest_path(sae_id), as_json(partition))


class _Writer:
    """The files of one partition under way."""

    def __init__(self, dataset: Dataset, sae_id: int, registered: Registered, rows: SaeRows) -> None:
        self._store: Store = dataset.store
        self._columns, self._sae_id, self._rows = dataset.columns, sae_id, rows
        self._n_features = int(rows.sae["d_sae"])
        self._set_ids = registered.set_ids
        # Sorted by set_id, whatever order the sets were computed in: the physical order makes queries fast.
        self._order = sorted(range(len(self._set_ids)), key=self._set_ids.__getitem__)
        self._before = read_manifest(self._store, sae_id)
        if self._before is not None and self._before.sae["slug"] != rows.sae["slug"]:
            raise CatalogueError(
                f"{dataset.store} has {self._before.sae['slug']} as SAE {sae_id}, which is no place for"
                f" {rows.sae['slug']}; run it again"
            )
        n_given = (len(rows.enrichment), rows.set_null.num_rows, rows.token_sets.num_rows)
        if set(n_given) != {len(self._set_ids)} or len(set(self._set_ids)) != len(self._set_ids):
            raise CatalogueError(
                f"enrichment of {n_given[0]} and nulls of {n_given[1]} sets do not fit {len(self._set_ids)} sets"
            )

    def files(self) -> list[File]:
        """Write all files; return what they are."""
        feature, statistics = self._features()
        tokens = self._tokens()
        scores = self._scores(statistics)
        return [feature, tokens, *scores, self._nulls(), self._correlation()]

    def _path(self, table: Table) -> str:
        # The file that readers may have open stays until all is there.
        old = self._before.files[table.name].path if self._before else None
        return part_path(table.name, self._sae_id, 0 if old is None else generation_of(old) + 1)

    def _schema(self, table: Table) -> pa.Schema:
        return arrow_schema(table, self._columns)

    def _whole(self, table: Table, rows: pa.Table) -> File:
        return write_file(self._store, self._path(table), fitted(rows, table, self._schema(table)))

    def _kept(self, table: Table) -> File:
        if self._before is None:
            raise CatalogueError(f"{self._rows.sae['slug']} has no rows of {table.name}, and none are there to keep")
        return self._before.files[table.name]

    def _features(self) -> tuple[File, pa.Table]:
        """Return the file of the features, and the columns of them that enrichment_top has."""
        schema = self._schema(FEATURE)
        if self._rows.feature is None:
            kept = self._kept(FEATURE)
            known = pa.schema([schema.field(name) for name in ("feature", *_OF_TOP)])
            rows = read_file(self._store, kept.path, known)
            _require_all_features(rows, 0, self._n_features, "feature", is_end=True)
            return kept, rows.select(_OF_TOP)
        statistics = []
        n_rows = 0
        with part_file(self._store, self._path(FEATURE), schema) as part:
            for given in self._rows.feature:
                rows = fitted(given, FEATURE, schema)
                _require_all_features(rows, n_rows, self._n_features, "feature")
                n_rows += rows.num_rows
                statistics.append(rows.select(_OF_TOP))
                part.add(rows)
            if n_rows != self._n_features:
                raise CatalogueError(f"feature has {n_rows} rows of {self._n_features} features")
            return part.end(), pa.concat_tables(statistics).combine_chunks()

    def _tokens(self) -> File:
        if self._rows.feature_token is None:
            return self._kept(FEATURE_TOKEN)
        schema = self._schema(FEATURE_TOKEN)
        last = -1
        with part_file(self._store, self._path(FEATURE_TOKEN), schema) as part:
            for given in self._rows.feature_token:
                rows = fitted(given, FEATURE_TOKEN, schema)
                last = _require_ascending(rows, last, self._n_features)
                part.add(rows)
            return part.end()

    def _scores(self, statistics: pa.Table) -> list[File]:
        """Write what has a row a feature and set, set by set: enrichment, the top of it, its cuts and summaries."""
        cuts, summaries = [], []
        with (
            part_file(self._store, self._path(ENRICHMENT), self._schema(ENRICHMENT)) as every,
            part_file(self._store, self._path(ENRICHMENT_TOP), self._schema(ENRICHMENT_TOP)) as top,
            closing(duckdb.connect(config={"threads": 1})) as connection,
        ):
            for set_id, rows in self._sets(every.schema):
                every.add(rows)
                best, cut = strongest(rows, statistics)
                top.add(fitted(best, ENRICHMENT_TOP, top.schema))
                cuts.append({"set_id": set_id, **cut})
                summaries.append({"set_id": set_id, **_summary(connection, rows)})
            files = [every.end(), top.end()]
        for table, found in ((ENRICHMENT_CUT, cuts), (SET_SUMMARY, summaries)):
            files.append(self._whole(table, pa.Table.from_pylist(found, schema=self._schema(table))))
        return files

    def _sets(self, schema: pa.Schema) -> Iterator[tuple[int, pa.Table]]:
        """Yield the rows of each set, in the order of their ids."""
        for index in self._order:
            set_id = self._set_ids[index]
            given = self._rows.enrichment[index]
            ids = pa.repeat(pa.scalar(set_id, pa.int16()), given.num_rows)
            rows = fitted(given.append_column("set_id", ids), ENRICHMENT, schema)
            _require_all_features(rows, 0, self._n_features, "enrichment", is_end=True)
            yield set_id, rows

    def _nulls(self) -> File:
        ids = pa.array(self._set_ids, pa.int16())
        return self._whole(
            SET_NULL, self._rows.set_null.append_column("set_id", ids).take(pa.array(self._order, pa.int64()))
        )

    def _correlation(self) -> File:
        given = self._rows.correlation
        ids = pa.array(self._set_ids, pa.int16())
        try:
            pairs = pa.table(
                {
                    "set_id": ids.take(given.column("set_index").combine_chunks()),
                    "other_id": ids.take(given.column("other_index").combine_chunks()),
                    "r": given.column("r"),
                }
            )
        except pa.ArrowException as error:
            raise CatalogueError(f"correlations do not fit {len(self._set_ids)} sets: {error}") from error
        return self._whole(SET_CORRELATION, pairs.sort_by([("set_id", "ascending"), ("other_id", "ascending")]))


def _summary(connection: duckdb.DuckDBPyConnection, rows: pa.Table) -> dict[str, Any]:
    connection.register("rows_of_set", rows.select(["feature", "z", "log10_q"]))
    found = connection.execute(f"SELECT {SUMMARY} FROM rows_of_set")
    names = [name for name, *_ in found.description or ()]
    return dict(zip(names, found.fetchall()[0], strict=True))


def strongest(rows: pa.Table, statistics: pa.Table) -> tuple[pa.Table, dict[str, Any]]:
    """Return what `enrichment_top` has of one set, and the row of `enrichment_cut`.

    Args:
        rows: All rows of the set, features ascending from 0.
        statistics: Columns of `feature`, a row a feature.

    Returns:
        The rows of q < .05, the 500 largest and the 500 smallest z, by descending z; and how far the z of the rest go.
    """
    is_null = rows.column("z").is_null().to_numpy()
    z = rows.column("z").to_numpy().astype(np.float32)
    # As wide as the bound: NumPy would round that to a float32, and leave out the q just below .05.
    log10_q = rows.column("log10_q").to_numpy().astype(np.float64)
    # DuckDB holds a NaN for the largest number of all, and negated as well: it is never left out.
    ranked = np.where(np.isnan(z), np.float32(np.inf), z)
    chosen = ~is_null & (np.isnan(z) | (log10_q < math.log10(SIGNIFICANCE)))
    chosen |= _largest(ranked, ~is_null) | _largest(-ranked, ~is_null)
    left = z[~chosen & ~is_null]
    cut: dict[str, Any] = {
        "promoted_z": float(left.max()) if left.size and left.max() > 0 else None,
        "suppressed_z": float(left.min()) if left.size and left.min() < 0 else None,
        "n_scored": int(np.count_nonzero(~is_null)),
    }
    places = np.flatnonzero(chosen)
    places = places[np.argsort(-ranked[places], kind="stable")]
    best = rows.select(["set_id", "feature", "z", "log10_q"]).take(pa.array(places))
    for name in statistics.column_names:
        best = best.append_column(name, statistics.column(name).take(pa.array(places)))
    return best, cut


def _largest(values: npt.NDArray[np.float32], known: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Mark the `TOP_PER_SIDE` largest of the known values; of equal ones the first."""
    places = np.flatnonzero(known)
    if len(places) <= TOP_PER_SIDE:
        return known.copy()
    there = values[places]
    edge = np.partition(there, len(there) - TOP_PER_SIDE)[len(there) - TOP_PER_SIDE]
    chosen = np.zeros_like(known)
    chosen[places[there > edge]] = True
    chosen[places[there == edge][: TOP_PER_SIDE - int(chosen.sum())]] = True
    return chosen


def _require_all_features(rows: pa.Table, first: int, n_features: int, table: str, *, is_end: bool = False) -> None:
    """Raise `CatalogueError` unless these are features `first`, `first` + 1, …, up to the last one where it is said."""
    found = rows.column("feature").to_numpy()
    end = first + len(found)
    is_right = np.array_equal(found, np.arange(first, end)) and (end == n_features if is_end else end <= n_features)
    if not is_right:
        raise CatalogueError(
            f"{table} has to have features 0 to {n_features - 1} once each and ascending, and has others"
        )


def _require_ascending(rows: pa.Table, last: int, n_features: int) -> int:
    """Raise `CatalogueError` unless (feature, rank) ascends; return the last one, as one number."""
    feature, rank = (rows.column(name).to_numpy().astype(np.int64) for name in ("feature", "rank"))
    places = (feature << 16) + rank + (1 << 15)
    if not len(places):
        return last
    is_ascending = places[0] > last and bool(np.all(np.diff(places) > 0))
    if not is_ascending or feature[0] < 0 or feature[-1] >= n_features:
        raise CatalogueError("feature_token has to ascend by feature and rank, without doubles, and does not")
    return int(places[-1])
