"""Daft answers SQL on a dataset as DuckDB answers it on the catalogue that the dataset was made of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from featdex.catalogue.daft_engine import answered
from featdex.catalogue.dataset_manifest import manifest_path
from featdex.catalogue.dataset_pack import unpack
from featdex.catalogue.errors import CatalogueError, FeatdexError, QueryError, UsageError
from featdex.catalogue.ray_connection import join
from featdex.catalogue.store import Store
from featdex.catalogue.tables import TABLES
from pyarrow import parquet

pytest.importorskip("daft")

QUERIES = {
    "groups": "SELECT sae_id, set_id, count(*) AS n, avg(z) AS mean, min(z) AS low, max(z) AS high, count(z) AS n_z"
    " FROM enrichment GROUP BY sae_id, set_id ORDER BY sae_id, set_id",
    "join": "SELECT s.slug, t.name, count(*) AS n, sum(e.top_hits) AS hits FROM enrichment e"
    " JOIN sae s ON e.sae_id = s.sae_id JOIN token_set t ON e.set_id = t.set_id"
    " WHERE e.log10_q < -1.3 GROUP BY s.slug, t.name ORDER BY s.slug, t.name",
    "top": "SELECT e.sae_id, e.feature, e.z, f.kurtosis FROM enrichment e"
    " JOIN feature f ON e.sae_id = f.sae_id AND e.feature = f.feature JOIN token_set t ON e.set_id = t.set_id"
    " WHERE t.name = 'girls_names' AND e.z IS NOT NULL ORDER BY e.z DESC, e.sae_id, e.feature LIMIT 7",
    "one SAE": "SELECT feature, es FROM enrichment WHERE sae_id = 2 AND set_id = 1 ORDER BY feature",
    "tokens": "SELECT k.str, count(*) AS n FROM feature_token x JOIN sae s ON x.sae_id = s.sae_id"
    " JOIN token k ON x.token_id = k.token_id AND k.model_id = s.model_id"
    " WHERE x.rank <= 3 AND x.rank > 0 GROUP BY k.str ORDER BY n DESC, k.str LIMIT 10",
    "window": "WITH ranked AS (SELECT sae_id, set_id, feature, row_number() OVER"
    " (PARTITION BY sae_id, set_id ORDER BY z DESC) AS place FROM enrichment WHERE z IS NOT NULL)"
    " SELECT * FROM ranked WHERE place <= 2 ORDER BY sae_id, set_id, place",
    "lists": "SELECT sae_id, feature, histogram FROM feature ORDER BY sae_id, feature LIMIT 30",
    "other case": "SELECT count(*) AS n FROM Enrichment",
}


@pytest.fixture(scope="module")
def dataset(mixed_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalogue of `mixed_path` as a dataset."""
    folder = tmp_path_factory.mktemp("daft") / "data set"
    unpack(mixed_path, str(folder), lambda text: None)
    return folder


def daft_rows(where: str | Path, text: str) -> list[dict[str, Any]]:
    with answered(where, text) as relation:
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def duckdb_rows(path: Path, text: str) -> list[dict[str, Any]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        relation = connection.sql(text)
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def close(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    return [list(row) for row in found] == [list(row) for row in expected] and all(
        value == (pytest.approx(other, rel=1e-12) if isinstance(other, float) else other)
        for row, right in zip(found, expected, strict=True)
        for value, other in zip(row.values(), right.values(), strict=True)
    )


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_daft_answers_as_duckdb_does(mixed_path: Path, dataset: Path, query: str) -> None:
    expected = duckdb_rows(mixed_path, query)
    assert expected
    assert close(daft_rows(dataset, query), expected)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_table_has_its_columns_and_rows(mixed_path: Path, dataset: Path, table: Any) -> None:
    (expected,) = duckdb_rows(mixed_path, f'SELECT count(*) AS n FROM "{table.name}"')
    with answered(dataset, f"SELECT * FROM {table.name}") as relation:
        assert tuple(relation.columns) == table.column_names
        n_rows = len(relation)
    assert n_rows == expected["n"] + (1 if table.name == "meta" else 0)


def test_core_columns_are_all_there_and_the_rest_is_null(mixed_path: Path, tmp_path: Path) -> None:
    unpack(mixed_path, str(tmp_path / "core"), lambda text: None, "core")
    query = "SELECT count(*) AS n, count(z) AS n_z, max(log10_q) AS q, count(nes) AS n_nes, max(nes) AS nes"
    (found,) = daft_rows(tmp_path / "core", f"{query} FROM enrichment")
    (expected,) = duckdb_rows(mixed_path, f"{query} FROM enrichment")
    assert found == expected | {"n_nes": 0, "nes": None}


def test_means_of_many_are_exact(dataset: Path, tmp_path: Path) -> None:
    copy, n_rows = tmp_path / "copy", 400_000
    subprocess.run(["cp", "-r", str(dataset), str(copy)], check=True)
    (file,) = (copy / "enrichment" / "sae=0002").iterdir()
    z = np.random.default_rng(1).normal(100, 1, n_rows).astype(np.float32)
    schema = parquet.read_schema(file)
    given = {"set_id": np.ones(n_rows, np.int16), "feature": np.arange(n_rows, dtype=np.int32), "z": z}
    columns = {name: pa.array(values) for name, values in given.items()}
    rows = [
        pa.array(columns[field.name]) if field.name in columns else pa.nulls(n_rows, field.type) for field in schema
    ]
    parquet.write_table(pa.Table.from_arrays(rows, schema=schema), file)
    query = (
        "SELECT set_id, avg(z) AS mean, sum(z) AS total, min(z) AS low FROM enrichment WHERE sae_id = 2 GROUP BY set_id"
    )
    (found,) = daft_rows(copy, query)
    assert found["mean"] == pytest.approx(z.astype(np.float64).mean(), rel=1e-12)
    assert found["total"] == pytest.approx(z.astype(np.float64).sum(), rel=1e-12)
    assert found["low"] == z.min()


def test_only_saes_of_the_manifest_count(dataset: Path, mixed_path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(dataset), str(copy)], check=True)
    (copy / manifest_path(2)).unlink()
    query = "SELECT sae_id, count(*) AS n FROM enrichment GROUP BY sae_id ORDER BY sae_id"
    assert daft_rows(copy, query) == [row for row in duckdb_rows(mixed_path, query) if row["sae_id"] != 2]
    assert [row["sae_id"] for row in daft_rows(copy, "SELECT sae_id FROM sae ORDER BY sae_id")] == [1, 3, 4]
    for path in (copy / "manifest").iterdir():
        path.unlink()
    assert daft_rows(copy, query) == []


def test_an_object_store_is_read_as_a_folder_is(dataset: Path, mixed_path: Path, object_store: Any) -> None:
    here, there = Store(dataset), Store(object_store.url)
    for path in here.files():
        there.write(path, here.read(path))
    assert close(daft_rows(object_store.url, QUERIES["join"]), duckdb_rows(mixed_path, QUERIES["join"]))
    assert close(daft_rows(Path(object_store.url), QUERIES["top"]), duckdb_rows(mixed_path, QUERIES["top"]))
    there.remove(next(path for path in there.files("feature") if "sae=0001" in path))
    with pytest.raises(QueryError, match=r"^Daft: .*sae=0001"):
        daft_rows(object_store.url, QUERIES["top"])


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("SELECT foo FROM enrichment", QueryError, "^Daft: .*foo"),
        ("SELECT * FROM enrichmnt", QueryError, "^Daft: no table 'enrichmnt'; did you mean enrichment"),
        ("SELECT * FROM enrichments", QueryError, "^Daft: no table 'enrichments'; did you mean enrichment"),
        ("SELECT", QueryError, "^Daft: "),
        ("SELECT 1; SELECT 2", QueryError, "one SQL statement"),
        ("SET x = 1", UsageError, "Daft answers SELECT and WITH"),
        ("FROM enrichment", UsageError, "Daft answers SELECT and WITH"),
        ("-- SELECT\nDROP TABLE x", UsageError, "Daft answers SELECT and WITH"),
        ("SELECT * FROM read_csv('/etc/passwd')", UsageError, "leave out read_csv"),
    ],
)
def test_what_daft_refuses_is_one_line(dataset: Path, text: str, kind: type[FeatdexError], told: str) -> None:
    with pytest.raises(kind, match=told) as caught:
        daft_rows(dataset, text)
    assert "\n" not in str(caught.value)


def test_a_file_a_missing_folder_and_missing_packages_are_told(
    mixed_path: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"a catalogue in one file, which Daft can't read; .*featdex unpack"):
        daft_rows(mixed_path, "SELECT 1")
    with pytest.raises(CatalogueError, match="no dataset at"):
        daft_rows(tmp_path / "none", "SELECT 1")
    with pytest.raises(UsageError, match="takes for a pattern"):
        daft_rows(tmp_path / "a[b]", "SELECT 1")
    monkeypatch.setitem(sys.modules, "daft", None)
    with pytest.raises(FeatdexError, match=r"Daft is not installed: pip install 'featdex\[daft\]'"):
        daft_rows(dataset, "SELECT 1")


@pytest.mark.parametrize("form", ["json", "csv", "table", "rnk", "neuronpedia"])
def test_the_command_line_writes_the_same_in_every_format(
    featdex: Callable[..., tuple[int, str, str]], dataset: Path, mixed_path: Path, form: str
) -> None:
    query = (
        "SELECT s.slug AS sae, e.feature, e.z FROM enrichment e"
        " JOIN sae s ON s.sae_id = e.sae_id WHERE e.set_id = 2 AND s.sae_id = 1 ORDER BY e.feature LIMIT 5"
    )
    code, out, err = featdex("--db", str(dataset), "sql", "--engine", "daft", query, "-f", form)
    expected = featdex("--db", str(mixed_path), "sql", query, "-f", form)
    assert (code, err) == (0, "")
    assert (code, out) == expected[:2]


def test_parquet_has_the_exact_rows(dataset: Path, mixed_path: Path, tmp_path: Path) -> None:
    query = "SELECT * FROM enrichment WHERE sae_id = 3 ORDER BY set_id, feature"
    with answered(dataset, query) as relation:
        relation.write_parquet(str(tmp_path / "found.parquet"))
    found = parquet.read_table(tmp_path / "found.parquet")
    with duckdb.connect(str(mixed_path), read_only=True) as connection:
        expected = connection.sql(query).to_arrow_table()
    assert found.cast(expected.schema).equals(expected)


def test_options_that_do_not_go_together(featdex: Callable[..., tuple[int, str, str]], dataset: Path) -> None:
    code, _, err = featdex("--db", str(dataset), "sql", "SELECT 1", "--ray", "auto")
    assert (code, err) == (2, "featdex: DuckDB runs on one machine; add --engine daft, or leave out --ray\n")


@pytest.mark.parametrize(
    ("address", "kind", "told"),
    [
        ("nonsense", UsageError, "name HOST:PORT"),
        ("host:99999", UsageError, "name HOST:PORT"),
        ("127.0.0.1:9", FeatdexError, "no Ray cluster at 127.0.0.1:9"),
        ("ray://127.0.0.1:9", FeatdexError, "no Ray cluster at ray://127.0.0.1:9"),
    ],
)
def test_a_cluster_that_is_not_there_is_told(address: str, kind: type[FeatdexError], told: str) -> None:
    class Ray:
        """Nothing is asked of it but whether this process is in a cluster."""

        @staticmethod
        def is_initialized() -> bool:
            return False

    with pytest.raises(kind, match=told):
        join(Ray, address)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM '{file}'",
        "SELECT * FROM sae, '{file}'",
        "SELECT * FROM sae JOIN '{file}' x ON true",
        'SELECT * FROM "{file}"',
        "WITH a AS (SELECT * FROM '{file}') SELECT * FROM a",
        "SELECT 'x' FROM/**/'{file}'",
    ],
)
def test_a_file_in_the_place_of_a_table_is_refused(text: str, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    with (
        pytest.raises(UsageError, match="reads the dataset and nothing else"),
        answered(dataset, text.format(file=tmp_path / "secret.csv")),
    ):
        raise AssertionError


def test_text_that_is_no_table_is_let_through(dataset: Path) -> None:
    query = "SELECT slug FROM sae WHERE slug LIKE '%/%' OR slug = 'FROM /x/y' ORDER BY slug"
    with answered(dataset, query) as found:
        assert found.fetchall()
