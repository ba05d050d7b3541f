"""Every question answers of a dataset what it answers of the file, from few rows where these are sure to be enough."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from featdex.catalogue import dataset_partition
from featdex.catalogue.catalogue import Catalogue, connect
from featdex.catalogue.dataset_pack import unpack
from featdex.catalogue.dataset_partition import strongest
from featdex.catalogue.dataset_tables import CORE, OWN
from featdex.catalogue.errors import NotFoundError
from featdex.catalogue.file import translated
from featdex.catalogue.questions import QUERY_FOLDER, install_queries, read_query, saved_queries
from featdex.catalogue.tables import ENRICHMENT, TABLES

CALLS = [
    "enriched_for('girls_names')",
    "enriched_for('girls_names', n := NULL)",
    "enriched_for('digits', max_q := 0.05, n := NULL)",
    "enriched_for('digits', max_q := 0.5, min_kurtosis := 3, max_kurtosis := 6, n := 5)",
    "enriched_for('girls_names', role := 'partition', role_variance := 0.001)",
    "enriched_for('odd')",
    "suppressed_for('girls_names', sae := 'tiny/*', max_q := 0.5, n := 3)",
    "suppressed_for('boys_names', min_skewness := 0, max_density := 0.1)",
    "sets_of('tiny/29-mlp', 40)",
    "independent_sets_of('tiny/*', 7, min_z := 2)",
    "correlated_sets('girls_names', min_r := 0)",
    "tokens_of('tiny/29-mlp', 40, n := 3)",
    "outliers('-skewness')",
    "features_promoting(' Mary', max_rank := 5)",
    "features_suppressing('ĠMary')",
    "similar_by_tokens('tiny/29-mlp', 40)",
    "similar_by_sets('tiny/29-mlp', 40, within := 'tiny/*')",
    "roles(role_kurtosis := 3.5)",
    "features_by_role('prediction')",
    "layer_profile('kurtosis')",
    "compare_sets('girls_names', 'boys_names', min_kurtosis := 3)",
    "specific_to('girls_names', min_z := 2)",
    "specific_to('girls_names', other := 'boys_names', min_z := 1)",
    "set_by_layer('girls_names')",
    "set_by_layer('girls_names', max_q := 0.01)",
    "set_by_layer('girls_names', max_q := 0.3)",
    "set_by_layer('girls_names', max_q := NULL)",
    "best_feature_per_set(collection := 'names')",
    "unexplained(min_kurtosis := 3, max_z := 5)",
    "unexplained(min_kurtosis := 3, max_z := 1)",
    "unexplained(min_kurtosis := 3, max_z := 0)",
    "set_overlap(set_name := 'girls_names', min_jaccard := 0)",
    "explained_as('names', set_name := 'digits')",
    "coverage",
]
ABSENT = {column.name for column in ENRICHMENT.columns} - {*CORE, "sae_id"}


@pytest.fixture(scope="module")
def few() -> Iterator[None]:
    """Only so few rows of a side are kept that small sets leave most of theirs out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_partition, "TOP_PER_SIDE", 6)
        yield


@pytest.fixture(scope="module", params=["full", "core"])
def unpacked(
    request: pytest.FixtureRequest, few: None, mixed_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Catalogue]:
    """The catalogue of `mixed_path` as a dataset, of all columns and of the core ones."""
    where = tmp_path_factory.mktemp(request.param) / "dataset"
    unpack(mixed_path, where, lambda line: None, request.param)
    with connect(where) as opened:
        assert opened.sql("SELECT count(*) < (SELECT count(*) FROM enrichment) FROM enrichment_top").fetchall() == [
            (True,)
        ]
        yield opened


@pytest.mark.parametrize("call", CALLS)
def test_a_question_answers_as_it_does_of_the_file(mixed: Catalogue, unpacked: Catalogue, call: str) -> None:
    expected, found = mixed.sql(f"FROM {call}"), unpacked.sql(f"FROM {call}")
    assert (found.columns, found.types) == (expected.columns, expected.types)
    is_core = unpacked.sql("SELECT count(auroc) FROM enrichment").fetchall() == [(0,)]
    kept = [place for place, name in enumerate(expected.columns) if not (is_core and name in ABSENT)]
    rows = expected.fetchall()
    assert rows or "odd" in call or "names'" in call or "max_z := 0" in call
    assert [[row[k] for k in kept] for row in found.fetchall()] == [[row[k] for k in kept] for row in rows]


def test_every_question_is_asked() -> None:
    asked = {call.partition("(")[0] for call in CALLS}
    assert asked >= {query.name for query in saved_queries() if query.kind == "MACRO TABLE" and query.name[0] != "_"}


def test_names_that_are_not_there_are_told_as_in_a_file(unpacked: Catalogue) -> None:
    for call, reason in (
        ("enriched_for('girls')", "no token set 'girls'; nearest: girls_names"),
        ("enriched_for('digits', sae := 'x*')", "no SAE matches 'x\\*'"),
        ("enriched_for('digits', role := 'x')", "no role 'x'"),
        ("set_by_layer('x')", "no token set 'x'"),
        ("unexplained(sae := 'x*')", "no SAE matches"),
    ):
        with pytest.raises(NotFoundError, match=reason), translated():
            unpacked.sql(f"FROM {call}").fetchall()


def test_a_query_for_datasets_says_what_its_namesake_says() -> None:
    """The page of questions has one of the two; a reader of either must not notice."""
    there = {query.name: query for query in saved_queries()}
    own = [read_query(file) for file in sorted((QUERY_FOLDER / "dataset").glob("*.sql"))]
    assert own
    for query in own:
        if not query.name.startswith("_"):
            assert query.comment == there[query.name].comment
        assert query.comment.splitlines()[-1] == there[query.name].comment.splitlines()[-1]
    assert {query.name for query in saved_queries(dataset=True)} == there.keys()


class Made:
    """Random scores of a few sets in a catalogue as that of a dataset is, its large tables in memory."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.choice = random.Random(seed).choice
        self.connection = connection
        self.rows: list[dict[str, Any]] = []
        self.left: list[dict[str, Any]] = []
        for table in ("enrichment", "enrichment_top", "enrichment_cut", "feature"):
            connection.execute(f"DELETE FROM {table}")
        for sae_id in (1, 2, 3):
            self._add(sae_id, int(self.random.integers(1, 40)))

    def _add(self, sae_id: int, n: int) -> None:
        dice = self.random
        # Few different values, so that there are ties everywhere; and sets of one side only.
        z = dice.integers(-6, 7, n).astype(np.float32) / 2 * dice.choice([1, 1, 1, 0]) + dice.choice([0, 0, 4, -4])
        missing = dice.random(n) < 0.1
        q = np.where(dice.random(n) < 0.2, -3.0, dice.choice([-1.3010, -1.30103, -1.3011, -0.1], n))
        features = pa.table(
            {
                "feature": pa.array(range(n), pa.int32()),
                "kurtosis": pa.array(dice.integers(2, 6, n).astype(np.float32)),
                "skewness": pa.array(dice.integers(-2, 3, n).astype(np.float32)),
                "log10_density": pa.array(dice.integers(-3, 0, n).astype(np.float32), mask=dice.random(n) < 0.2),
            }
        )
        scores = pa.table(
            {
                "set_id": pa.array([1] * n, pa.int16()),
                "feature": features["feature"],
                "z": pa.array(z, mask=missing),
                "log10_q": pa.array(q.astype(np.float32), mask=missing),
            }
        )
        best, cut = strongest(scores, features.drop(["feature"]))
        for table, rows in (("feature", features), ("enrichment", scores), ("enrichment_top", best)):
            self.connection.register("incoming", rows)
            self.connection.execute(f"INSERT INTO {table} BY NAME SELECT {sae_id} AS sae_id, * FROM incoming")
        self.connection.execute(
            "INSERT INTO enrichment_cut VALUES (?, 1, ?, ?, ?)",
            [sae_id, cut["promoted_z"], cut["suppressed_z"], cut["n_scored"]],
        )
        kept = set(best["feature"].to_pylist())
        for row, more in zip(scores.to_pylist(), features.to_pylist(), strict=True):
            self.rows.append({"sae_id": sae_id, **row, **more})
            if row["feature"] not in kept:
                self.left.append(self.rows[-1])


@pytest.fixture(scope="module")
def memory(few: None) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        for table in (*TABLES, *OWN):
            connection.execute(table.ddl()[0])
        install_queries(connection, dataset=True)
        connection.execute("INSERT INTO model BY NAME SELECT 1 AS model_id, 'm' AS name")
        connection.execute("INSERT INTO token_set BY NAME SELECT 1 AS set_id, 1 AS model_id, 'asked' AS name")
        for sae_id in (1, 2, 3):
            connection.execute(
                "INSERT INTO sae BY NAME SELECT $id AS sae_id, 1 AS model_id, 'm/' || $id AS slug, 'm' AS release",
                {"id": sae_id},
            )
        yield connection


def ranked(made: Made, direction: int, asked: dict[str, Any]) -> list[tuple[str, int, float]]:
    """The answer by its definition, row by row."""
    hits = []
    for row in made.rows:
        z, q = row["z"], row["log10_q"]
        if z is None or z * direction <= 0 or not f"m/{row['sae_id']}".startswith(asked["sae"] or "m/"):
            continue
        if asked["max_q"] is not None and 10**q > asked["max_q"]:
            continue
        if asked["min_kurtosis"] is not None and row["kurtosis"] < asked["min_kurtosis"]:
            continue
        if asked["max_density"] is not None:
            density = row["log10_density"]
            if density is None or 10**density > asked["max_density"]:
                continue
        hits.append((f"m/{row['sae_id']}", row["feature"], z))
    hits.sort(key=lambda hit: (-hit[2] * direction, hit[0], hit[1]))
    return hits if asked["n"] is None else hits[: asked["n"]]


def test_few_rows_answer_only_where_they_are_sure_to(memory: duckdb.DuckDBPyConnection) -> None:
    n_sure = n_others = 0
    for seed in range(60):
        made = Made(memory, seed)
        for direction, name in ((1, "enriched_for"), (-1, "suppressed_for")):
            asked: dict[str, Any] = {
                "sae": made.choice([None, "m/2"]),
                "max_q": made.choice([None, 0.01, 0.05, 0.0501, 0.9]),
                "min_kurtosis": made.choice([None, 4]),
                "max_density": made.choice([None, 0.02]),
                "n": made.choice([None, 0, 1, 3, 7, 20]),
            }
            arguments = ", ".join(f"{key} := {'NULL' if v is None else repr(v)}" for key, v in asked.items())
            query = f"SELECT sae, feature, z FROM {name}('asked', {arguments})"
            expected = ranked(made, direction, asked)
            assert memory.execute(query).fetchall() == expected, (seed, query)
            # Where no row left out comes near, nothing but the strongest rows was looked at.
            saes = [1, 2, 3] if asked["sae"] is None else [2]
            further = [row["z"] * direction for row in made.left if row["sae_id"] in saes and row["z"] is not None]
            is_full = asked["n"] is not None and 0 < asked["n"] == len(expected)
            nearest = expected[-1][2] * direction if is_full else -math.inf
            is_sure = (asked["max_q"] or 1) <= 0.05 or max(further, default=0) <= 0 or nearest > max(further)
            n_sure, n_others = n_sure + is_sure, n_others + (not is_sure)
            if is_sure:
                memory.execute("BEGIN")
                memory.execute("DELETE FROM enrichment e WHERE NOT EXISTS (FROM enrichment_top t WHERE"
                               " t.sae_id = e.sae_id AND t.feature = e.feature)")  # fmt: skip
                memory.execute("UPDATE feature SET kurtosis = 0")
                assert memory.execute(query).fetchall() == expected
                memory.execute("ROLLBACK")
    assert min(n_sure, n_others) > 20


def test_the_strongest_rows_and_their_cuts(few: None) -> None:
    for seed in range(200):
        dice = np.random.default_rng(seed)
        n = int(dice.integers(0, 40))
        rows: list[dict[str, Any]] = [
            {"set_id": 1, "feature": k, "z": None if dice.random() < 0.1 else float(dice.integers(-5, 6)),
             "log10_q": float(dice.choice([-2.0, -0.5], p=[0.1, 0.9]))}
            for k in range(n)
        ]  # fmt: skip
        schema = pa.schema(
            [("set_id", pa.int16()), ("feature", pa.int32()), ("z", pa.float32()), ("log10_q", pa.float32())]
        )
        best, cut = strongest(
            pa.Table.from_pylist(rows, schema=schema), pa.table({"kurtosis": [float(k) for k in range(n)]})
        )
        scored = [(row["z"], row["feature"]) for row in rows if row["z"] is not None]
        wanted = {row["feature"] for row in rows if row["z"] is not None and row["log10_q"] < math.log10(0.05)}
        wanted |= {feature for _, feature in sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:6]}
        wanted |= {feature for _, feature in sorted(scored)[:6]}
        found = best.to_pylist()
        assert {row["feature"] for row in found} == wanted
        assert [(-row["z"], row["feature"]) for row in found] == sorted((-row["z"], row["feature"]) for row in found)
        assert all(row["kurtosis"] == row["feature"] for row in found)
        left = [z for z, feature in scored if feature not in wanted]
        assert cut == {
            "promoted_z": max((z for z in left if z > 0), default=None),
            "suppressed_z": min((z for z in left if z < 0), default=None),
            "n_scored": len(scored),
        }
