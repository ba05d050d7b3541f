"""The commands that compute, from the command line: a whole ingest of a small model, and every kind of bad input."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pytest
from featdex.catalogue.cli import run
from safetensors.numpy import load_file, save_file

D_MODEL, D_MLP, N_LAYERS, N_TOKENS = 32, 80, 3, 120
DEMO_SAE = Path(__file__).parents[2] / "ingest" / "data" / "demo_sae"


WORDS = ["<|end|>", *(f"{'Ġ' if k % 2 else ''}{chr(97 + k % 5)}{chr(97 + k // 5)}ing" for k in range(N_TOKENS - 1))]


def break_layer_1(name: str, weights: npt.NDArray[np.float32]) -> None:
    if name == "blk.1.ffn_down.weight":
        weights[1, 5] = np.nan


@pytest.fixture(scope="module")
def write_model(write_gguf: Callable[..., None]) -> Callable[..., Path]:
    """Write a GGUF language model with random weights and words of every letter; layer 1 may be broken."""

    def write(path: Path, *, broken: bool = False) -> Path:
        write_gguf(path, WORDS, D_MODEL, D_MLP, N_LAYERS, edit=break_layer_1 if broken else None)
        return path

    return write


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory, write_model: Callable[..., Path]) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "tiny.gguf")


@pytest.fixture(scope="module")
def made_once(model_file: Path) -> Path:
    path = model_file.with_name("tiny.duckdb")
    assert run(["--db", str(path), "ingest", "mlp_neurons", "-m", str(model_file), "--layers", "1"]) == 0
    return path


@pytest.fixture
def catalogue(tmp_path: Path, made_once: Path) -> Path:
    return Path(shutil.copy(made_once, tmp_path / "tiny.duckdb"))


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_an_ingest_can_be_asked(catalogue: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["--db", str(catalogue), "top", "suffix_ing", "-n", "3", "-f", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["sae"] for row in found] == ["tiny/1-mlp"] * 3
    assert run(["--db", str(catalogue), "doctor"]) == 0


def test_neurons_of_all_layers_are_ingested_by_default(tmp_path: Path, model_file: Path) -> None:
    path = tmp_path / "all.duckdb"
    assert run(["--db", str(path), "ingest", "mlp_neurons", "-m", str(model_file), "--sets", "affix"]) == 0
    assert rows(path, "SELECT slug, d_sae FROM sae ORDER BY slug") == [
        (f"tiny/{layer}-mlp", D_MLP) for layer in range(N_LAYERS)
    ]
    assert rows(path, "SELECT DISTINCT collection FROM token_set") == [("affix",)]


def test_a_second_ingest_skips_and_a_forced_one_does_not(
    catalogue: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--db", str(catalogue), "ingest", "mlp_neurons", "-m", str(model_file), "--layers", "1"]
    assert run(command) == 0
    assert "current, skipped" in capsys.readouterr().err
    assert run([*command, "--force"]) == 0
    assert "1 written" in capsys.readouterr().err


def test_options_of_the_method_are_recorded(tmp_path: Path, model_file: Path) -> None:
    path = tmp_path / "options.duckdb"
    options = ["--null", "isotropic", "--directions", "60", "--seed", "5", "--weight", "1", "--memory", "5MB"]
    command = ["--db", str(path), "ingest", "mlp_neurons", "-m", str(model_file), "--layers", "0", *options]
    assert run(command) == 0
    assert rows(path, "SELECT DISTINCT sigma_kind, R, seed FROM set_null") == [("isotropic", 60, 5)]
    params = json.loads(str(rows(path, "SELECT params FROM run")[0][0]))
    assert (params["null"], params["weight"], params["directions"]) == ("isotropic", 1.0, 60)
    assert set(params["nuisance_directions"]) == {"log1p_token_id", "leading_space", "initial_capital"}
    assert rows(path, "SELECT count(*) FROM enrichment WHERE log10_p_ks IS NOT NULL") == [(0,)]


def sae_folder(folder: Path, *, d_model: int = 576, nan: bool = False) -> Path:
    """The demo SAE, cut to another width or broken."""
    folder.mkdir()
    tensors = load_file(DEMO_SAE / "sae_weights.safetensors")
    config = json.loads((DEMO_SAE / "cfg.json").read_text())
    config |= {"d_in": d_model, "d_sae": 64}
    small = {
        "W_dec": tensors["W_dec"][:64, :d_model].copy(),
        "W_enc": tensors["W_enc"][:d_model, :64].copy(),
        "b_enc": tensors["b_enc"][:64].copy(),
        "b_dec": tensors["b_dec"][:d_model].copy(),
    }
    if nan:
        small["W_dec"][5, 1] = np.nan
    save_file(small, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def test_an_sae_folder_is_ingested(tmp_path: Path, model_file: Path) -> None:
    folder = sae_folder(tmp_path / "mine", d_model=D_MODEL)
    path = tmp_path / "sae.duckdb"
    assert run(["--db", str(path), "ingest", str(folder), "-m", str(model_file), "--slug", "mine"]) == 0
    assert rows(path, "SELECT slug, kind, layer, d_sae FROM sae") == [("mine", "sae", 20, 64)]
    assert rows(path, "SELECT count(*) FROM feature WHERE b_enc IS NULL OR enc_dec_cos IS NULL") == [(0,)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ingest", "mlp_neurons", "-m", "nowhere.gguf"], 3, "nowhere.gguf"),
        (["ingest", "mlp_neurons"], 2, "--model"),
        (["ingest", "mlp_neurons", "-m", "{model}", "--layers", "7"], 3, "layers 0-2"),
        (["ingest", "mlp_neurons", "-m", "{model}", "--layers", "x"], 2, "0-11"),
        (["ingest", "mlp_neurons", "-m", "{model}", "--sets", "shapes"], 2, "shape"),
        (["ingest", "mlp_neurons", "-m", "{model}", "--memory", "lots"], 2, "2GB"),
        (["ingest", "mlp_neurons", "-m", "{model}", "--device", "gpu"], 2, "cpu"),
        (["ingest", "mlp_neurons", "-m", "{model}", "--null", "flat"], 2, "isotropic"),
        (["ingest", "mlp_neurons", "-m", "{model}", "--sae", "x*"], 2, "--layers"),
        (["ingest", "mlp_neurons", "-m", "{model}", "-f", "json"], 2, "--dry-run"),
        (["ingest", "mlp_neurons", "-m", "{model}", "--layers", "7", "--dry-run"], 3, "layers 0-2"),
        (["ingest", "gpt2-smal-res-jb", "-m", "{model}"], 3, "gpt2-small-res-jb"),
        (["ingest", "gpt2-small-res-jb", "-m", "{model}", "--sae", "blocks.99.*"], 3, "blocks.99"),
        (["ingest", "{folder}/wide", "-m", "{model}"], 1, "d_model"),
        (["ingest", "{folder}/nan", "-m", "{model}"], 1, "feature 5"),
        (["ingest", "{folder}/none", "-m", "{model}"], 3, "none"),
        (["saes", "gtp2-small-res-jb"], 3, "gpt2-small-res-jb"),
    ],
)
def test_bad_input_is_one_line_and_leaves_the_catalogue_as_it_was(
    catalogue: Path,
    model_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    sae_folder(tmp_path / "wide")
    sae_folder(tmp_path / "nan", d_model=D_MODEL, nan=True)
    before = rows(catalogue, "SELECT * FROM enrichment ORDER BY ALL"), rows(catalogue, "FROM run")
    capsys.readouterr()
    filled = [part.format(model=model_file, folder=tmp_path) for part in arguments]
    assert run(["--db", str(catalogue), *filled]) == code
    complaint = capsys.readouterr().err.strip().splitlines()
    assert words in complaint[-1]
    assert len([line for line in complaint if line.startswith("featdex:")]) == 1
    assert before == (rows(catalogue, "SELECT * FROM enrichment ORDER BY ALL"), rows(catalogue, "FROM run"))


def test_bad_input_makes_no_catalogue(tmp_path: Path, model_file: Path) -> None:
    path = tmp_path / "new.duckdb"
    folder = sae_folder(tmp_path / "wide")
    assert run(["--db", str(path), "ingest", str(folder), "-m", str(model_file)]) == 1
    assert not path.exists()
    assert run(["--db", str(tmp_path / "no" / "x.duckdb"), "ingest", "mlp_neurons", "-m", str(model_file)]) == 1


def test_a_file_that_is_no_catalogue_is_left_alone(tmp_path: Path, model_file: Path) -> None:
    foreign = tmp_path / "foreign.duckdb"
    foreign.write_text("not a database")
    assert run(["--db", str(foreign), "ingest", "mlp_neurons", "-m", str(model_file)]) == 1
    assert foreign.read_text() == "not a database"


def test_a_layer_that_fails_is_told_and_the_others_are_written(
    tmp_path: Path, write_model: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = tmp_path / "some.duckdb", write_model(tmp_path / "tiny.gguf", broken=True)
    command = ["--db", str(path), "ingest", "mlp_neurons", "-m", str(model), "--sets", "affix", "--directions", "9"]
    assert run(command) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert [line.split(":")[0] for line in said if "failed, skipped" in line] == ["mlp_neurons 1"]
    assert said[-2].endswith("2 written, 0 current already, 1 failed")
    assert said[-1] == "featdex: 1 failed, see above; run it again to try them again"
    assert rows(path, "SELECT layer FROM sae ORDER BY sae_id") == [(0,), (2,)]
    write_model(model)
    assert run(command) == 0
    assert "1 written, 2 current already" in capsys.readouterr().err


def test_fail_fast_ends_at_the_first_layer_that_fails(
    tmp_path: Path, write_model: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path, model = tmp_path / "some.duckdb", write_model(tmp_path / "tiny.gguf", broken=True)
    options = ["--sets", "affix", "--directions", "0", "--fail-fast"]
    assert run(["--db", str(path), "ingest", "mlp_neurons", "-m", str(model), *options]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("featdex: mlp_neurons 1: ")
    assert rows(path, "SELECT layer FROM sae") == [(0,)]


def test_a_dry_run_shows_the_plan_and_makes_nothing(
    tmp_path: Path, model_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new.duckdb"
    command = ["--db", str(path), "ingest", "mlp_neurons", "-m", str(model_file), "--dry-run", "-f", "json"]
    assert run(command) == 0
    out, err = capfd.readouterr()
    found = json.loads(out)
    assert [(row["sae"], row["status"]) for row in found] == [(f"mlp_neurons {k}", "new") for k in range(N_LAYERS)]
    assert {(row["features"], row["rows"] // row["sets"], row["seconds"]) for row in found} == {(D_MLP, D_MLP, None)}
    assert "3 SAEs: 3 new" in err
    assert "time unknown" in err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_knows_what_the_catalogue_has(
    tmp_path: Path, catalogue: Path, model_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("aaing\nabing\n")
    before = catalogue.read_bytes()
    command = ["--db", str(catalogue), "ingest", "mlp_neurons", "-m", str(model_file), "--dry-run", "-f", "json"]
    assert run(command) == 0
    found = {row["sae"]: row for row in json.loads(capfd.readouterr().out)}
    assert found["tiny/1-mlp"]["status"] == "current"
    assert found["mlp_neurons 0"]["status"] == "new"
    assert found["mlp_neurons 0"]["seconds"] > 0
    assert run(["--db", str(catalogue), "ingest", "--sets", str(words), "--dry-run"]) == 0
    out, err = capfd.readouterr()
    assert out.splitlines()[1].startswith("tiny/1-mlp,more sets,80,1,80,")
    assert "1 SAEs: 1 more sets" in err
    assert catalogue.read_bytes() == before


def test_saes_whose_model_is_gone_are_told_and_skipped(
    tmp_path: Path, write_model: Callable[..., Path], catalogue: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    moved = write_model(tmp_path / "moved.gguf")
    options = ["--layers", "0", "--sets", "affix", "--model-name", "other"]
    assert run(["--db", str(catalogue), "ingest", "mlp_neurons", "-m", str(moved), *options]) == 0
    moved.unlink()
    for dry in ([], ["--dry-run"]):
        capfd.readouterr()
        assert run(["--db", str(catalogue), "ingest", "--sets", "affix", *dry]) == 1
        said = capfd.readouterr().err.strip().splitlines()
        assert [line.split(":")[0] for line in said if "failed, skipped" in line] == ["other/0-mlp"]
        assert said[-1].startswith("featdex: 1 failed, see above")
    assert run(["--db", str(catalogue), "ingest", "--fail-fast", "--dry-run"]) == 3
    assert "moved.gguf" in capfd.readouterr().err


def test_pickles_are_read_only_where_they_are_allowed(
    tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featdex.ingest import batches

    allowed: list[bool] = []

    def jobs_for(*_: object, allow_pickle: bool, **__: object) -> list[object]:
        allowed.append(allow_pickle)
        return []

    monkeypatch.setattr(batches, "jobs_for", jobs_for)
    options = ["-m", str(model_file), "--sets", "affix", "--dry-run"]
    command = ["--db", str(tmp_path / "x.duckdb"), "ingest", "some/folder", *options]
    assert run(command) == run([*command, "--allow-pickle"]) == 0
    assert allowed == [False, True]


HOLD = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
print("held", flush=True)
sys.stdin.readline()
"""


def holder(path: Path) -> subprocess.Popen[bytes]:
    """A process that has a catalogue open until it is told a line."""
    command = [sys.executable, "-c", HOLD, str(path)]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert started.stdout is not None
    assert started.stdout.readline() == b"held\n"
    return started


def test_a_reader_is_waited_for(
    catalogue: Path, model_file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with holder(catalogue) as reader:
        # The first thing that a wait does is to sleep; then the reader lets go.
        monkeypatch.setattr("featdex.catalogue.file.time.sleep", lambda _: reader.communicate(b"\n"))
        command = ["--db", str(catalogue), "ingest", "mlp_neurons", "-m", str(model_file), "--layers", "2"]
        assert run([*command, "--sets", "affix"]) == 0
    assert "waiting" in capsys.readouterr().err
    assert len(rows(catalogue, "FROM sae")) == 2


def test_a_catalogue_in_use_is_exit_code_4_at_once(catalogue: Path, model_file: Path) -> None:
    with holder(catalogue) as reader:
        command = ["--db", str(catalogue), "--wait", "0.2", "ingest", "mlp_neurons", "-m", str(model_file)]
        started = time.monotonic()
        assert run([*command, "--sets", "affix"]) == 4
        assert time.monotonic() - started < 15
        reader.communicate(b"\n")


def test_saes_lists_releases_and_ids(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["saes", "gpt2-small-res-jb", "--ids", "-f", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"sae_id": "blocks.8.hook_resid_pre", "neuronpedia_id": "gpt2-small/8-res-jb"}.items() <= next(
        row for row in found if row["sae_id"] == "blocks.8.hook_resid_pre"
    ).items()


def test_commands_load_no_torch_before_they_run() -> None:
    code = "import sys, featdex.ingest.commands; print([m for m in ('torch', 'sae_lens', 'numba') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
