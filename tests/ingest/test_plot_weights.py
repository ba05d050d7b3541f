"""Pictures that read the weights again: the running sum is scipy's, its peak the stored es, the histogram numpy's."""

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
from featdex.catalogue.errors import CatalogueError, NotFoundError, WeightsError
from featdex.catalogue.plot import figure_of
from featdex.catalogue.plot_picture import Look, Source
from featdex.catalogue.plot_weights import LogitsPicture, RankedTokens, RunningSumPicture
from featdex.ingest import commands
from featdex.ingest.feature_row import FeatureRow, read_feature_row
from gguf import GGUFReader
from matplotlib.collections import LineCollection
from scipy import stats

D_MODEL, D_MLP, N_LAYERS, N_TOKENS = 16, 40, 2, 120
WORDS = ["<|end|>", *(f"{'Ġ' if k % 2 else ''}{chr(97 + k % 5)}{chr(97 + k // 5)}ing" for k in range(N_TOKENS - 1))]


def silence_a_neuron(name: str, weights: npt.NDArray[np.float32]) -> None:
    if name.startswith("blk.1"):
        weights[:, 7] = 0


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory, write_gguf: Callable[..., None]) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_gguf(folder / "tiny.gguf", WORDS, D_MODEL, D_MLP, N_LAYERS, edit=silence_a_neuron)
    (folder / "mine.toml").write_text('[sets.mine]\nkind = "regex"\npattern = " b.*"\n')
    for name, more in (("tiny", []), ("weighted", ["--weight", "1"])):
        line = ["--db", str(folder / f"{name}.duckdb"), "ingest", "mlp_neurons", "-m", str(folder / "tiny.gguf")]
        assert run([*line, "--sets", str(folder / "mine.toml"), "--directions", "30", *more]) == 0
    return folder / "tiny.duckdb"


@pytest.fixture
def catalogue(made_once: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made_once, tmp_path / "tiny.duckdb"))


def stored(path: Path, layer: int, feature: int, columns: str) -> tuple[Any, ...]:
    with duckdb.connect(str(path), read_only=True) as connection:
        (row,) = connection.execute(
            f"SELECT {columns} FROM enrichment JOIN sae USING (sae_id) WHERE layer = ? AND feature = ?",
            [layer, feature],
        ).fetchall()
    return tuple(row)


def logits_of(path: Path, layer: int, feature: int) -> npt.NDArray[np.float64]:
    """The logit weights by token id: the GGUF's own matrices, the norm folded in, centred over the vocabulary."""
    tensors = {tensor.name: np.array(tensor.data, dtype=float) for tensor in GGUFReader(path).tensors}
    W_U = tensors["token_embd.weight"] * tensors["output_norm.weight"]
    return np.asarray((W_U - W_U.mean(0)) @ tensors[f"blk.{layer}.ffn_down.weight"][:, feature])


def picture_of(row: FeatureRow) -> RunningSumPicture:
    tokens = RankedTokens(row.logits, row.is_member, row.texts, row.scores, row.weight)
    return RunningSumPicture(Source("running-sum", {"address": "x/1", "set_name": "mine"}, [], ""), tokens)


@pytest.mark.parametrize("feature", range(0, D_MLP, 3))
def test_the_running_sum_is_scipys_and_its_peak_the_stored_es(made_once: Path, feature: int) -> None:
    row = read_feature_row(made_once, f"tiny/0-mlp/{feature}", "mine")
    truth = logits_of(made_once.with_suffix(".gguf"), 0, feature)
    np.testing.assert_allclose(row.logits, np.sort(truth)[::-1], atol=1e-5)
    members = np.array([word.startswith("Ġb") for word in WORDS])
    ranking = np.argsort(-truth)
    np.testing.assert_array_equal(row.is_member, members[ranking])
    assert row.texts == [WORDS[k].replace("Ġ", " ") for k in ranking]
    at, es = picture_of(row).peak()
    assert abs(es) == pytest.approx(stats.ks_2samp(truth[members], truth[~members]).statistic)
    stored_es, peak_rank = stored(made_once, 0, feature, "es, peak_rank")
    assert at - 1 == peak_rank
    assert es == pytest.approx(stored_es, abs=1e-6)


def test_the_drawn_line_goes_through_the_peak(made_once: Path) -> None:
    row = read_feature_row(made_once, "0-mlp/5", "mine")
    picture = picture_of(row)
    top, ticks, below = figure_of(picture, Look()).axes
    x, y = np.asarray(top.lines[0].get_data(), dtype=float)
    hits, misses = np.cumsum(row.is_member) / row.is_member.sum(), np.cumsum(~row.is_member) / (~row.is_member).sum()
    np.testing.assert_allclose(y, [0, *(hits - misses)], atol=1e-12)
    assert x.tolist() == list(range(N_TOKENS + 1))
    (mark,) = [line for line in top.lines if line.get_marker() == "o"]
    es = stored(made_once, 0, 5, "es")[0]
    assert float(np.asarray(mark.get_ydata())[0]) == pytest.approx(es, abs=1e-6)
    (drawn,) = [item for item in ticks.collections if isinstance(item, LineCollection)]
    places = [float(np.asarray(segment)[0, 0]) for segment in drawn.get_segments()]
    assert places == (np.flatnonzero(row.is_member) + 0.5).tolist()
    assert below.get_xlim() == (0, N_TOKENS)


def test_a_weighted_score_has_a_weighted_running_sum(made_once: Path) -> None:
    path = made_once.with_name("weighted.duckdb")
    for feature in (1, 2, 3):
        row = read_feature_row(path, f"0-mlp/{feature}", "mine")
        at, es = picture_of(row).peak()
        stored_es, peak_rank = stored(path, 0, feature, "es, peak_rank")
        assert (row.weight, at - 1) == (1.0, peak_rank)
        assert es == pytest.approx(stored_es, abs=1e-5)


def test_ties_are_stepped_over_as_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        logits = np.sort(rng.integers(0, 8, 50).astype(float))[::-1]
        is_member = rng.permutation(np.arange(50) < 9)
        tokens = RankedTokens(logits, is_member, [""] * 50, {"es": None})
        picture = RunningSumPicture(Source("running-sum", {}, [], ""), tokens)
        want = stats.ks_2samp(logits[is_member], logits[~is_member]).statistic
        assert abs(picture.peak()[1]) == pytest.approx(want)


def test_the_histogram_is_numpys_and_the_first_members_are_named(made_once: Path) -> None:
    row = read_feature_row(made_once, "0-mlp/5", "mine")
    tokens = RankedTokens(row.logits, row.is_member, row.texts, {**row.scores, "z": 1.0}, row.weight)
    source = Source("logits", {"address": "x/5", "set_name": "mine"}, [], "")
    axes = figure_of(LogitsPicture(source, tokens, False, 2), Look()).axes[0]
    others, members = axes.patches
    for patch, chosen in ((members, row.is_member), (others, ~row.is_member)):
        data: Any = patch
        values, edges, _ = data.get_data()
        want = np.histogram(row.logits[chosen], edges)[0] / chosen.sum()
        np.testing.assert_allclose(values, want)
        assert values.sum() == pytest.approx(1)
    named = {text.get_text() for text in axes.texts}
    assert named == {row.texts[k].replace(" ", "␣") for k in np.flatnonzero(row.is_member)[:2]}


class Entry:
    name, load = "ingest", staticmethod(lambda: commands.register)


@pytest.fixture
def featdex(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Entry()])
    (tmp_path / "files").mkdir()
    monkeypatch.chdir(tmp_path / "files")

    def call(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run(["--db", str(catalogue), *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


Call = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("kind", ["logits", "running-sum"])
def test_both_come_as_figures_and_pages(featdex: Call, kind: str) -> None:
    import plotly.graph_objects as go

    for form in ("pdf", "html"):
        code, out, err = featdex("plot", kind, "0-mlp/5", "--set", "mine", "-o", f"x.{form}")
        assert (code, out, err) == (0, "", f"reading the weights\nwrote x.{form}\n")
    text = Path("x.html").read_text(encoding="utf-8")
    figure = json.loads(text.split("const figure = ")[1].split(";\n")[0])
    assert go.Figure(figure).data
    facts = json.loads(Path("x.pdf.json").read_text(encoding="utf-8"))
    assert (facts["kind"], facts["parameters"]["feature"], facts["saes"]) == (kind, 5, ["tiny/0-mlp"])


WRONG = [
    (["0-mlp/999", "--set", "mine"], 3, "its features are 0 to 39"),
    (["0-mlp/5", "--set", "min"], 3, "nearest: mine"),
    (["5-mlp/5", "--set", "mine"], 3, "no SAE matches"),
    (["mlp/5", "--set", "mine"], 2, "matches 2 SAEs"),
    (["0-mlp", "--set", "mine"], 2, "is no feature"),
    (["1-mlp/7", "--set", "mine"], 3, "all zeros"),
    (["0-mlp/5"], 2, "--set"),
]


@pytest.mark.parametrize(("line", "code", "told"), WRONG)
def test_a_fault_is_one_line(featdex: Call, line: list[str], code: int, told: str) -> None:
    found, out, err = featdex("plot", "running-sum", *line, "-o", "x.pdf")
    assert (found, out) == (code, "")
    assert told in err.splitlines()[-1]
    assert list(Path().iterdir()) == []


def test_other_weights_or_scores_are_told(catalogue: Path) -> None:
    with duckdb.connect(str(catalogue)) as connection:
        connection.execute("UPDATE enrichment SET es = es * 0.9 WHERE feature = 5")
        connection.execute("UPDATE sae SET weights_sha256 = 'other' WHERE layer = 1")
    with pytest.raises(CatalogueError, match="in the catalogue and"):
        read_feature_row(catalogue, "0-mlp/5", "mine")
    with pytest.raises(WeightsError, match="another decoder than is there now"):
        read_feature_row(catalogue, "1-mlp/4", "mine")


def test_weights_that_are_gone_and_sets_without_results_are_told(catalogue: Path) -> None:
    with duckdb.connect(str(catalogue)) as connection:
        connection.execute("DELETE FROM enrichment WHERE sae_id = (SELECT sae_id FROM sae WHERE layer = 1)")
        ((params,),) = connection.execute("SELECT params FROM run ORDER BY run_id LIMIT 1").fetchall()
        told = json.loads(params)
        told["origin"]["model"] = str(catalogue.with_name("gone.gguf"))
        connection.execute("UPDATE run SET params = ?", [json.dumps(told)])
    with pytest.raises(NotFoundError, match="no results of 'mine'"):
        read_feature_row(catalogue, "1-mlp/4", "mine")
    with pytest.raises(WeightsError, match="not at hand"):
        read_feature_row(catalogue, "0-mlp/5", "mine")
