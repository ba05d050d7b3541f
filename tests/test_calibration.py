"""The calibration report: its functions on a tiny model, and its page against the files that it was made from."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "significance.md"
FOLDER = ROOT / "docs" / "significance"
N_DIRECTIONS = 400


class Bench:
    """The modules of the report, which lie in no package."""

    def __init__(self) -> None:
        self.material = importlib.import_module("calibration_material")
        self.rates = importlib.import_module("calibration_rates")
        self.power = importlib.import_module("calibration_power")
        self.page = importlib.import_module("calibration_page")
        self.results = importlib.import_module("calibration_results")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    return Bench()


@pytest.fixture
def material(bench: Bench) -> Any:
    """Clustered tokens, so that one set is coherent and random tokens are the wrong null for it."""
    random = np.random.default_rng(0)
    d, n_tokens = 12, 1500
    centres = random.standard_normal((5, d))
    cluster = random.integers(0, 5, n_tokens)
    W_U = (centres[cluster] + random.standard_normal((n_tokens, d))).T
    W_dec = random.standard_normal((150, d)) * np.linspace(0.5, 2, d)
    sets = {"cluster": np.flatnonzero(cluster == 0), "scattered": np.sort(random.choice(n_tokens, 60, replace=False))}
    covariates = np.array([np.log1p(np.arange(n_tokens)), cluster == 1], dtype=np.float64)
    return bench.material.prepare(
        "tiny/decoder", torch.from_numpy(W_dec).float(), torch.from_numpy(W_U).float(), sets, covariates
    )


def scored(bench: Bench, material: Any) -> tuple[Any, Any, Any, Any]:
    fresh = bench.rates.draw_directions(material.covariance, N_DIRECTIONS, 7)
    ranked = bench.material.rank(fresh, material.W_U, material.packed)
    null = bench.rates.draw_directions(material.covariance, N_DIRECTIONS, 0)
    of_null = bench.material.rank(null, material.W_U, material.packed)
    return fresh, ranked, of_null, bench.rates.p_columns(material, fresh, ranked, of_null.es)


def test_rates(bench: Bench, material: Any) -> None:
    _, ranked, _, columns = scored(bench, material)
    rows = bench.rates.set_rows(material, ranked, columns, {"log10_p": np.zeros(2)})
    assert [row["set"] for row in rows] == ["cluster", "scattered"]
    cluster = rows[0]
    for column in ("log10_p", "log10_p_adj", "log10_p_es"):
        assert cluster[f"{column}_0.05"] == pytest.approx(0.05, abs=0.04)
    assert cluster["log10_p_ks_0.05"] > 0.5
    assert cluster["vif"] > 10 * rows[1]["vif"]
    assert cluster["score_q95_directions"] > cluster["score_q95_tokens"]


def test_summary(bench: Bench, material: Any) -> None:
    _, _, _, columns = scored(bench, material)
    log10_p = columns["log10_p"].copy()
    summary = bench.rates.column_summary(log10_p, material.names)
    entry = summary["levels"]["0.05"]
    assert entry["pooled"] == pytest.approx((10**log10_p <= 0.05).mean())
    assert 0 < entry["standard_error"] < 0.03
    assert summary["tail"][0] == 1.0
    log10_p[1] = np.nan
    assert bench.rates.column_summary(log10_p, material.names)["sets"] == 1
    assert bench.rates.global_null(columns["log10_p"], 100, together=False)["families"] == 8
    assert bench.rates.global_null(columns["log10_p"], 100, together=True)["families"] == 4


def test_other_nulls(bench: Bench, material: Any) -> None:
    table = bench.rates.in_sample_rates(material, 2 * N_DIRECTIONS)
    assert table["log10_p"]["levels"]["0.05"]["pooled"] == pytest.approx(0.05, abs=0.03)
    mixed = bench.rates.mixture_rates(material, N_DIRECTIONS)
    assert mixed[-1]["pooled"]["0.05"] == pytest.approx(0.05, abs=0.03)
    forms = bench.rates.tail_forms(material.W_dec, material, [0, 1])
    assert np.isfinite(forms["normal"]).all()
    lengths = bench.rates.whitened_lengths(material.W_dec, material.covariance)
    # Sigma is made of these rows, so their squared whitened lengths average to d.
    assert np.mean(lengths**2) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("strength", [0.3, 0.9])
def test_strength_is_the_whitened_cosine(bench: Bench, material: Any, strength: float) -> None:
    roots = bench.power.whitening(material)
    vectors = bench.power.whitened_set_vectors(material, roots, 0, "conditional", 2000)
    whitened = bench.power.plant(vectors, strength, roots, 1).double() @ roots.inverse
    cosine = torch.nn.functional.cosine_similarity(whitened, vectors, dim=1)
    assert float(cosine.mean()) == pytest.approx(strength, abs=0.02)


def test_power(bench: Bench, material: Any) -> None:
    fresh, ranked, of_null, columns = scored(bench, material)
    noise = bench.power.Noise(
        fresh, ranked, columns["log10_p"], columns["log10_p_adj"], of_null.es, of_null.top_hits.astype(np.float64)
    )
    design = bench.power.Design(features=200, planted=10, dictionaries=2, in_sample=1, null=200)
    roots = bench.power.whitening(material)
    for kind in ("conditional", "mean", "prediction", "frequency"):
        rows = bench.power.power_of_plants(material, noise, 0, kind, (0.05, 0.95), design, roots)
        assert {row["method"] for row in rows} >= {"z", "z_adj", "es", "score", "top", "z_in_sample"}
        if kind == "conditional":
            weak, strong = (row for row in rows if row["method"] == "z")
            assert weak["power"] < 0.5 < strong["power"]
            assert strong["fdr"] < 0.3
            score = next(row for row in rows if row["method"] == "score")
            assert score["fdr"] > 0.5


def test_page_says_what_was_measured(bench: Bench) -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert bench.page.fill_page(text, bench.results.read_results(FOLDER)) == text
    written = set(re.findall(r"<!-- generated: (\w+) -->", text))
    assert written == set(bench.page.PARTS)
    for link in re.findall(r"\]\((significance/[^)]+)\)", text):
        assert (PAGE.parent / link).is_file()


def test_closed_forms_hold(bench: Bench) -> None:
    summary = bench.results.read_results(FOLDER).summary
    for decoder in summary["decoders"]:
        assert decoder["directions"] == 20_000
        for column in ("log10_p", "log10_p_adj"):
            levels = decoder["columns"][column]["levels"]
            assert levels["0.05"]["pooled"] == pytest.approx(0.05, rel=0.1)
            assert levels["0.001"]["pooled"] == pytest.approx(0.001, rel=0.3)
            assert min(entry["worst_p_bonferroni"] for entry in levels.values()) > 1e-3


def test_figures(bench: Bench, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figures = importlib.import_module("calibration_figures")
    figures.draw_figures(bench.results.read_results(FOLDER), tmp_path)
    drawn = {path.name for path in tmp_path.iterdir()}
    assert drawn == {path.name for path in FOLDER.glob("*.svg")}
    assert "<dc:date>" not in (tmp_path / "tail.svg").read_text(encoding="utf-8")
