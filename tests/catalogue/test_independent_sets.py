"""The smallest list of sets that explains a feature, against least squares by numpy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from featdex.catalogue.catalogue import Catalogue, connect
from featdex.catalogue.file import create, translated
from featdex.catalogue.write import SaeRows, write_sae

Array = np.ndarray[Any, Any]
N_SETS, N_FEATURES, DIMENSION = 30, 12, 14


class Material:
    """Unit contrasts of sets, some nearly alike, and the z that features have for them."""

    def __init__(self) -> None:
        rng = np.random.default_rng(4)
        contrasts = rng.normal(size=(N_SETS, DIMENSION))
        for k in range(0, 12, 3):
            contrasts[k + 1] = contrasts[k] + 0.15 * rng.normal(size=DIMENSION)
            contrasts[k + 2] = contrasts[k] + 0.6 * rng.normal(size=DIMENSION)
        contrasts /= np.linalg.norm(contrasts, axis=1, keepdims=True)
        features = rng.normal(size=(N_FEATURES, DIMENSION)) + 5 * contrasts[rng.integers(0, N_SETS, N_FEATURES)]
        features[0] = 0.1 * rng.normal(size=DIMENSION)
        self.z: Array = (contrasts @ features.T).astype(np.float32).astype(np.float64)
        self.r: Array = (contrasts @ contrasts.T).astype(np.float32).astype(np.float64)

    def rows(self, rows: SaeRows) -> SaeRows:
        enrichment = []
        for k, part in enumerate(rows.enrichment):
            place = part.column_names.index("z")
            enrichment.append(part.set_column(place, "z", pa.array(self.z[k], pa.float32())))
        index, other = np.nonzero(~np.eye(N_SETS, dtype=bool))
        columns = [
            pa.array(index, pa.int32()),
            pa.array(other, pa.int32()),
            pa.array(self.r[index, other], pa.float32()),
        ]
        correlation = pa.table(columns, names=["set_index", "other_index", "r"])
        return replace(rows, enrichment=enrichment, correlation=correlation)

    def conditional(self, feature: int, k: int, given: list[int]) -> tuple[float, float]:
        """z of set k given others, and the share of its variance that those have, by solving the normal equations."""
        slopes = np.linalg.solve(self.r[np.ix_(given, given)], self.r[given, k]) if given else np.empty(0)
        share = float(slopes @ self.r[given, k]) if given else 0.0
        left = self.z[k, feature] - (float(slopes @ self.z[given, feature]) if given else 0.0)
        return left / math.sqrt(max(1 - share, 1e-12)), share

    def chosen(self, feature: int, min_z: float, max_r2: float, n: int) -> list[tuple[int, float, float]]:
        candidates = [k for k in range(N_SETS) if abs(self.z[k, feature]) >= min_z]
        picked: list[tuple[int, float, float]] = []
        while len(picked) < n:
            given = [k for k, _, _ in picked]
            left = [(k, *self.conditional(feature, k, given)) for k in candidates if k not in given]
            left = [entry for entry in left if entry[2] <= max_r2 and abs(entry[1]) >= min_z]
            if not left:
                break
            picked.append(max(left, key=lambda entry: abs(entry[1])))
        return picked


MATERIAL = Material()


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory, rows_of: Callable[..., SaeRows]) -> Iterator[Catalogue]:
    path = tmp_path_factory.mktemp("grouped") / "grouped.duckdb"
    create(path)
    members = {f"set{k:02d}": [k, k + 1, k + 2] for k in range(N_SETS)}
    write_sae(path, MATERIAL.rows(rows_of(members=members, n_features=N_FEATURES)))
    with connect(path) as catalogue:
        yield catalogue


def ask(catalogue: Catalogue, name: str, **parameters: Any) -> list[dict[str, Any]]:
    with translated():
        relation = catalogue.query(name, **parameters)
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


@pytest.mark.parametrize(("min_z", "max_r2", "n"), [(1.5, 0.9, 10), (2.0, 0.5, 10), (1.5, 0.9, 2), (1.0, 0.99, 10)])
@pytest.mark.parametrize("feature", range(N_FEATURES))
def test_the_list_is_that_of_greedy_least_squares(
    grouped: Catalogue, feature: int, min_z: float, max_r2: float, n: int
) -> None:
    found = ask(grouped, "independent_sets_of", sae="tiny/8-res-jb", feature=feature, min_z=min_z, max_r2=max_r2, n=n)
    expected = MATERIAL.chosen(feature, min_z, max_r2, n)
    assert [row["set_name"] for row in found] == [f"set{k:02d}" for k, _, _ in expected]
    assert [row["place"] for row in found] == list(range(1, len(expected) + 1))
    assert [row["z_given"] for row in found] == pytest.approx([z for _, z, _ in expected], abs=1e-5)
    assert [row["r2"] for row in found] == pytest.approx([share for _, _, share in expected], abs=1e-5)
    assert [row["z"] for row in found] == pytest.approx([MATERIAL.z[k, feature] for k, _, _ in expected])


@pytest.mark.parametrize("feature", range(1, N_FEATURES))
def test_each_set_names_those_that_it_leaves_nothing_of(grouped: Catalogue, feature: int) -> None:
    min_z, max_r2 = 1.5, 0.9
    found = ask(grouped, "independent_sets_of", sae="tiny/8-res-jb", feature=feature, min_z=min_z)
    picked = [int(row["set_name"][3:]) for row in found]
    gone: set[int] = set()
    for place, row in enumerate(found, start=1):
        now = set()
        for k in range(N_SETS):
            if abs(MATERIAL.z[k, feature]) >= min_z and k not in picked and k not in gone:
                left, share = MATERIAL.conditional(feature, k, picked[:place])
                if abs(left) < min_z or share > max_r2:
                    now.add(k)
        assert {int(name[3:]) for name in row["explains"]} == now
        strengths = [abs(MATERIAL.z[int(name[3:]), feature]) for name in row["explains"]]
        assert strengths == sorted(strengths, reverse=True)
        gone |= now


def test_a_feature_that_no_set_explains_has_an_empty_list(grouped: Catalogue) -> None:
    assert ask(grouped, "independent_sets_of", sae="tiny/8-res-jb", feature=0) == []


def test_correlated_sets_are_those_of_the_null(grouped: Catalogue) -> None:
    found = ask(grouped, "correlated_sets", set_name="set03", min_r=0.3, n=5)
    order = sorted((k for k in range(N_SETS) if k != 3), key=lambda k: -abs(MATERIAL.r[3, k]))
    expected = [k for k in order if abs(MATERIAL.r[3, k]) >= 0.3][:5]
    assert [row["other_set"] for row in found] == [f"set{k:02d}" for k in expected]
    assert [row["r"] for row in found] == pytest.approx([MATERIAL.r[3, k] for k in expected])
    for row, k in zip(found, expected, strict=True):
        one, other = {3, 4, 5}, {k, k + 1, k + 2}
        assert row["jaccard"] == pytest.approx(len(one & other) / len(one | other))
