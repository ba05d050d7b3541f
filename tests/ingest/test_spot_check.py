"""Features computed again from the weights: whatever differs is told, and so is that the weights are gone."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pytest
from featdex.catalogue.cli import run
from featdex.ingest import commands, spot_commands
from featdex.ingest.spot_check import Spot, choose_spots, spot_check
from featdex.ingest.spot_truth import auroc, running_sum
from scipy import stats

D_MODEL, D_MLP, N_LAYERS, N_TOKENS = 16, 40, 2, 120
WORDS = ["<|end|>", *(f"{'Ġ' if k % 2 else ''}{chr(97 + k % 5)}{chr(97 + k // 5)}ing" for k in range(N_TOKENS - 1))]
SLUGS = ["tiny/0-mlp", "tiny/1-mlp"]


def silence_a_neuron(name: str, weights: npt.NDArray[np.float32]) -> None:
    if name.startswith("blk.1"):
        weights[:, 7] = 0


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory, write_gguf: Callable[..., None]) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_gguf(folder / "tiny.gguf", WORDS, D_MODEL, D_MLP, N_LAYERS, edit=silence_a_neuron)
    made = ["--sets", "affix,shape", "--directions", "30"]
    for name, more in (("tiny", []), ("weighted", ["--weight", "1", "--null", "isotropic"])):
        line = ["--db", str(folder / f"{name}.duckdb"), "ingest", "mlp_neurons", "-m", str(folder / "tiny.gguf")]
        assert run([*line, *made, *more]) == 0
    return folder / "tiny.duckdb"


@pytest.fixture
def catalogue(made_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made_once, tmp_path / "tiny.duckdb"))


class Entry:
    def __init__(self, register: Any) -> None:
        self.name, self.load = "ingest", lambda: register


@pytest.fixture
def featdex(
    catalogue: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, list[str], str]]:
    """Run a command on the catalogue: exit code, lines of stdout, stderr."""
    entries = [Entry(commands.register), Entry(spot_commands.register)]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: entries)

    def call(*arguments: object) -> tuple[int, list[str], str]:
        capsys.readouterr()
        code = run(["--db", str(catalogue), *map(str, arguments)])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err

    return call


Call = Callable[..., tuple[int, list[str], str]]


def test_every_feature_follows_from_its_weights(featdex: Call) -> None:
    code, out, _ = featdex("spot-check", 1000)
    assert code == 0
    assert sorted(line.split(":")[0] for line in out) == [f"ok     spot check of {slug}" for slug in SLUGS]
    assert "features 0, 1, 2, 3, 4, 5, 6, 7, … follow from the weights" in min(out)


def test_a_weighted_score_and_an_isotropic_null(made_once: Path) -> None:
    path = made_once.with_name("weighted.duckdb")
    assert [finding.ok for finding in spot_check(path, choose_spots(path, 80))] == [True, True]


def test_doctor_does_it_after_its_other_checks(featdex: Call) -> None:
    code, out, err = featdex("doctor", "--spot-check", 3)
    assert code == 0, err
    assert out[0].startswith("ok     features: ")
    assert out[-1].startswith("ok     spot check of tiny/")


FAULTS = {
    "kurtosis": ("UPDATE feature SET kurtosis = kurtosis * 1.01", "kurtosis is "),
    "mean": ("UPDATE feature SET mean = mean + 0.01", "mean is "),
    "cosine": ("UPDATE feature SET cos_std = cos_std * 1.001", "cos_std is "),
    "quantile": ("UPDATE feature SET q25 = q25 + 0.01", "q25 is "),
    "missing statistic": ("UPDATE feature SET max = NULL", "max is None"),
    "norm": ("UPDATE feature SET dec_norm = dec_norm * 1.001", "dec_norm is "),
    "weight of a token": ("UPDATE feature_token SET weight = weight + 0.01 WHERE rank = 5", "token "),
    "tokens exchanged": ("UPDATE feature_token SET rank = 10 - rank WHERE rank IN (1, 9)", "token "),
    "another token": ("UPDATE feature_token SET token_id = (token_id + 1) % 120 WHERE rank = -3", "token "),
    "es": ("UPDATE enrichment SET es = -es", "es of "),
    "auroc": ("UPDATE enrichment SET auroc = 1 - auroc", "auroc of "),
    "z": ("UPDATE enrichment SET z = z * 1.001 + 0.001 WHERE set_id = 3", "z of "),
    "z of another set": ("UPDATE enrichment e SET z = o.z FROM enrichment o WHERE o.set_id = 4 AND e.set_id = 3"
                         " AND o.sae_id = e.sae_id AND o.feature = e.feature", "z of "),
    "a set without rows": ("DELETE FROM enrichment WHERE set_id = 3", "sets have scores; want "),
}  # fmt: skip


@pytest.mark.parametrize(("sql", "told"), FAULTS.values(), ids=FAULTS)
def test_what_differs_is_told(catalogue: Path, sql: str, told: str) -> None:
    with duckdb.connect(str(catalogue)) as connection:
        connection.execute(sql)
    (finding,) = spot_check(catalogue, [Spot(2, SLUGS[1], 11)])
    assert (finding.ok, finding.slugs) == (False, frozenset({SLUGS[1]}))
    assert f"tiny/1-mlp/11: {told}" in finding.detail or told == FAULTS["a set without rows"][1] in finding.detail


def test_other_weights_are_told_before_any_number(
    catalogue: Path, tmp_path: Path, featdex: Call, write_gguf: Callable[..., None]
) -> None:
    moved = tmp_path / "other.gguf"
    write_gguf(moved, WORDS, D_MODEL, D_MLP, N_LAYERS, seed=1, edit=silence_a_neuron)
    name_model(catalogue, moved)
    code, out, _ = featdex("spot-check", 1000)
    assert code == 1
    assert "was computed from another decoder, unembedding than is there now" in out[0]


def name_model(catalogue: Path, model: Path) -> None:
    """Have the ledger say that everything came from another model file."""
    with duckdb.connect(str(catalogue)) as connection:
        for sae_id, params in connection.execute("SELECT sae_id, params FROM run").fetchall():
            told = json.loads(params)
            told["origin"] |= {"model": str(model), "model_name": "tiny"}
            connection.execute("UPDATE run SET params = ? WHERE sae_id = ?", [json.dumps(told), sae_id])


def test_weights_that_are_not_there_are_a_line(catalogue: Path, tmp_path: Path, featdex: Call) -> None:
    name_model(catalogue, tmp_path / "gone.gguf")
    code, out, err = featdex("spot-check", 1000)
    assert (code, len(out)) == (1, 2)
    assert all("its weights are not at hand: " in line and "gone.gguf" in line for line in out)
    assert err.endswith("'featdex ingest … --force' computes an SAE again\n")


def test_features_are_drawn_from_all_and_each_once(catalogue: Path) -> None:
    everything = choose_spots(catalogue, 10**6)
    assert [(spot.slug, spot.feature) for spot in everything] == [(slug, k) for slug in SLUGS for k in range(D_MLP)]
    drawn = [choose_spots(catalogue, 8, seed) for seed in range(60)]
    assert all(len(set(spots)) == 8 for spots in drawn)
    assert {spot for spots in drawn for spot in spots} == set(everything)
    assert choose_spots(catalogue, 8, 5) == choose_spots(catalogue, 8, 5)


def test_the_truth_is_that_of_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        logits = rng.integers(0, 12, 60).astype(float)
        members = rng.choice(60, rng.integers(1, 59), replace=False)
        rest = np.delete(logits, members)
        _, group = np.unique(-logits, return_inverse=True)
        # scipy's alternatives are about distribution functions: less means larger values.
        ways = [stats.ks_2samp(logits[members], rest, way, "asymp").statistic for way in ("less", "greater")]
        assert running_sum(group[members], np.bincount(group)) == pytest.approx(ways)
        midranks = stats.rankdata(logits)
        pairs = np.sign(logits[members][:, None] - rest[None]).mean() / 2 + 0.5
        assert auroc(midranks[members], len(rest)) == pytest.approx(pairs)
