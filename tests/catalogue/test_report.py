"""The data files of a report against the rows of the catalogue, and the folder that they take."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import struct
import zlib
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from featdex.catalogue.card import feature_card
from featdex.catalogue.catalogue import Catalogue, connect
from featdex.catalogue.cli import run
from featdex.catalogue.errors import FeatdexError, NotFoundError, UsageError
from featdex.catalogue.report import write_report
from featdex.catalogue.report_chunks import ChunkWriter
from featdex.catalogue.report_folder import report_folder
from featdex.catalogue.report_plan import Options, make_plan
from featdex.catalogue.tables import STATISTICS
from featdex.catalogue.write import SaeRows, write_sae

Written = dict[str, SaeRows]
Featdex = Callable[..., tuple[int, str, str]]

DTYPES = {"f32": "<f4", "f16": "<f2", "i16": "<i2", "u8": "|u1", "u16": "<u2", "u32": "<u4"}
HOSTILE = "</script><script>window.hacked=1</script>\u2028'\"`\\"


def read_chunk(report: Path, name: str) -> dict[str, Any]:
    """The JSON value of a data file under `json`, and its arrays by name: what the page reads, read otherwise."""
    text = (report / "data" / f"{name}.js").read_text(encoding="ascii")
    found = re.fullmatch(r'featdex\.put\("([a-z0-9_/]+)","([A-Za-z0-9+/=]*)"\);\n', text)
    assert found is not None
    assert found[1] == name
    content = zlib.decompress(base64.b64decode(found[2], validate=True))
    (length,) = struct.unpack_from("<I", content)
    header = json.loads(content[4 : 4 + length])
    chunk = {"json": header["json"]}
    place = -(-(4 + length) // 8) * 8
    for array, kind, n in header["arrays"]:
        chunk[array] = np.frombuffer(content, DTYPES[kind], n, place)
        place += -(-chunk[array].nbytes // 8) * 8
    assert place == len(content)
    return chunk


def plain(parts: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pa.concat_tables(parts).to_pylist()
    return rows


def make(path: Path, out: Path, options: Options | None = None) -> Path:
    with connect(path) as catalogue:
        write_report(catalogue, out, make_plan(catalogue, options or Options()))
    return out


@pytest.fixture(scope="module")
def report(small: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(small, tmp_path_factory.mktemp("report") / "out")


@pytest.fixture(scope="module")
def manifest(report: Path) -> dict[str, Any]:
    value: dict[str, Any] = read_chunk(report, "manifest")["json"]
    return value


def test_statistics_are_those_of_all_features_in_the_order_of_the_saes(
    report: Path, manifest: dict[str, Any], written: Written
) -> None:
    assert [sae["slug"] for sae in manifest["saes"]] == ["tiny/8-res-jb", "tiny/29-mlp"]
    rows = plain(written["tiny/8-res-jb"].feature) + plain(written["tiny/29-mlp"].feature)
    assert manifest["n_features"] == len(rows)
    for name in STATISTICS:
        expected = np.array([np.nan if row[name] is None else row[name] for row in rows], np.float32)
        np.testing.assert_array_equal(read_chunk(report, f"stat/{name}")["values"], expected)


def test_z_and_q_of_a_set_are_within_their_steps(report: Path, manifest: dict[str, Any], written: Written) -> None:
    names = [entry["name"] for entry in manifest["sets"]]
    for rows, sae in zip((written[entry["slug"]] for entry in manifest["saes"]), manifest["saes"], strict=True):
        part = slice(sae["start"], sae["start"] + sae["n"])
        for name, table in zip(rows.token_sets.column("name").to_pylist(), rows.enrichment, strict=True):
            chunk = read_chunk(report, f"set/{names.index(name)}")
            z, q = (np.array(table.column(column).to_pylist()) for column in ("z", "log10_q"))
            step = chunk["json"]["step"]
            assert np.abs(chunk["z"][part] * step - z).max() <= step / 2 + 1e-6
            np.testing.assert_allclose(chunk["log10_q"][part].astype(float), q, rtol=2**-11, atol=1e-7)


@pytest.mark.parametrize("address", ["tiny/8-res-jb/7", "tiny/29-mlp/573", "tiny/29-mlp/511", "tiny/29-mlp/512"])
def test_a_card_says_what_the_card_of_the_command_line_says(
    report: Path, manifest: dict[str, Any], catalogue: Catalogue, address: str
) -> None:
    card = feature_card(catalogue, address)
    slug, _, index = address.rpartition("/")
    sae = [entry["slug"] for entry in manifest["saes"]].index(slug)
    chunk = read_chunk(report, f"card/{sae}/{int(index) // manifest['cards_in_a_file']}")
    row = int(index) % manifest["cards_in_a_file"]
    cells = {name: array.reshape(-1, width)[row] for name, array, width in widths(chunk, manifest)}
    for k, name in enumerate(STATISTICS):
        entry = card["statistics"][name]
        if entry["value"] is None:
            assert np.isnan(cells["value"][k])
            assert cells["percentile"][k] == 0xFFFF
            continue
        assert cells["value"][k] == np.float32(entry["value"])
        assert 0 <= entry["percentile"] - cells["percentile"][k] / 100 < 0.01 + 1e-9
    assert cells["histogram"].tolist() == card["histogram"]["counts"]
    top = manifest["n_top"]
    for tokens, part in ((card["top_tokens"], slice(0, top)), (card["bottom_tokens"], slice(top, 2 * top))):
        assert cells["token"][part].tolist() == [token["token_id"] for token in tokens]
        weights = np.array([token["weight"] for token in tokens], np.float32)
        np.testing.assert_array_equal(cells["weight"][part], weights)
    for sets, part in ((card["promoted_sets"], slice(0, top)), (card["suppressed_sets"], slice(top, 2 * top))):
        numbers = [number for number in cells["set"][part] if number != 0xFFFF]
        assert [manifest["sets"][number]["name"] for number in numbers] == [entry["set_name"] for entry in sets]
        for column in ("z", "log10_q"):
            expected = np.array([entry[column] for entry in sets], np.float32)
            np.testing.assert_array_equal(cells[column][part][: len(sets)], expected)
            assert np.isnan(cells[column][part][len(sets) :]).all()


def widths(chunk: dict[str, Any], manifest: dict[str, Any]) -> list[tuple[str, Any, int]]:
    own = {"value": len(STATISTICS), "percentile": len(STATISTICS), "histogram": 50}
    return [(name, chunk[name], own.get(name, 2 * manifest["n_top"])) for name in chunk if name != "json"]


def test_more_sets_than_are_read_at_once_have_the_same_leaders(
    small: Path, tmp_path: Path, report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featdex.catalogue.report_sets._AT_ONCE", 1)
    again = make(small, tmp_path / "again")
    for name in ("card/0/0", "card/1/1", "set/3"):
        assert (again / "data" / f"{name}.js").read_bytes() == (report / "data" / f"{name}.js").read_bytes()


def test_members_definitions_and_counts_of_a_set(report: Path, manifest: dict[str, Any], catalogue: Catalogue) -> None:
    for number, entry in enumerate(manifest["sets"]):
        page = read_chunk(report, f"page/{number}")
        members = catalogue.sql(
            "SELECT token_id FROM token_set_member JOIN token_set USING (set_id) WHERE name = ? ORDER BY 1",
            [entry["name"]],
        ).fetchall()
        assert page["members_0"].tolist() == [token_id for (token_id,) in members]
        assert page["json"]["facts"][0]["definition"] == f"terms of {entry['name']}"
        assert page["json"]["facts"][0]["dropped"] == [[f"no {entry['name']}", "no single token"]]
        counted = catalogue.sql(
            "SELECT s.slug, n_promoted, n_suppressed, best_promoted FROM set_summary JOIN sae s USING (sae_id)"
            " JOIN token_set USING (set_id) WHERE name = ? ORDER BY s.layer",
            [entry["name"]],
        ).fetchall()
        slugs = [sae["slug"] for sae in manifest["saes"]]
        assert [(slugs[row[0]], *row[1:4]) for row in page["json"]["saes"]] == counted


def test_nothing_of_a_hostile_catalogue_is_text_in_a_script(
    scratch: Path, tmp_path: Path, rows_of: Callable[..., SaeRows]
) -> None:
    write_sae(scratch, rows_of("tiny/9-</script>", members={HOSTILE: [0, 1, 2]}))
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("UPDATE token SET str = ? WHERE token_id = 0", [HOSTILE])
        connection.execute("INSERT INTO tag (sae_id, feature, tag, note) VALUES (1, 7, ?, ?)", [HOSTILE, HOSTILE])
    out = make(scratch, tmp_path / "out")
    scripts = sorted((out / "data").rglob("*.js"))
    for path in scripts:
        # `read_chunk` allows nothing but base64 in them; names are numbers and those of the statistics.
        read_chunk(out, path.relative_to(out / "data").with_suffix("").as_posix())
    assert HOSTILE in [entry["name"] for entry in read_chunk(out, "manifest")["json"]["sets"]]
    assert read_chunk(out, "token/0")["json"]["text"][0] == HOSTILE
    assert read_chunk(out, "note/0")["json"] == [[7, [["tag", HOSTILE, HOSTILE]]]]


def test_sets_of_one_name_in_two_models_are_one(scratch: Path, tmp_path: Path, rows_of: Callable[..., SaeRows]) -> None:
    write_sae(scratch, rows_of("other/3-x", model="other", seed=5, members={"digits": [5, 6], "own": [7]}))
    out = make(scratch, tmp_path / "out")
    manifest = read_chunk(out, "manifest")["json"]
    assert [model["name"] for model in manifest["models"]] == ["tiny", "other"]
    number = [entry["name"] for entry in manifest["sets"]].index("digits")
    page = read_chunk(out, f"page/{number}")
    assert page["members_0"].tolist() == [24, 40, 41, 42]
    assert page["members_1"].tolist() == [5, 6]
    other = next(sae for sae in manifest["saes"] if sae["slug"] == "other/3-x")
    own = [entry["name"] for entry in manifest["sets"]].index("own")
    z = read_chunk(out, f"set/{own}")["z"]
    inside = np.zeros(len(z), bool)
    inside[other["start"] : other["start"] + other["n"]] = True
    assert (z[~inside] == -32768).all()
    assert (z[inside] != -32768).all()


def test_options_choose_saes_sets_and_entries(small: Path, tmp_path: Path) -> None:
    out = make(small, tmp_path / "out", Options("*29*", ("names", "dig*"), top=3))
    manifest = read_chunk(out, "manifest")["json"]
    assert [sae["slug"] for sae in manifest["saes"]] == ["tiny/29-mlp"]
    assert sorted(entry["name"] for entry in manifest["sets"]) == ["Quote's", "boys_names", "digits", "girls_names"]
    assert manifest["n_top"] == 3
    assert len(read_chunk(out, "card/0/1")["token"]) == (580 - 512) * 6
    few = make(small, tmp_path / "few", Options(None, ("digits",)))
    assert [entry["name"] for entry in read_chunk(few, "manifest")["json"]["sets"]] == ["digits"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options("gpt2*"), "no SAE matches 'gpt2\\*'"),
        (Options(None, ("girl_names",)), "no token set or collection matches 'girl_names'; did you mean girls_names"),
    ],
)
def test_what_matches_nothing_is_said(catalogue: Catalogue, options: Options, message: str) -> None:
    with pytest.raises(NotFoundError, match=message):
        make_plan(catalogue, options)


@pytest.fixture
def out(report: Path, tmp_path: Path) -> Path:
    """A copy of the report to replace."""
    return Path(shutil.copytree(report, tmp_path / "out"))


def test_a_report_is_replaced_and_anything_else_is_left_alone(small: Path, tmp_path: Path, out: Path) -> None:
    (out / "stray").write_text("mine")
    with pytest.raises(UsageError, match="holds 'stray', which is no part of the report"):
        make(small, out)
    (out / "stray").unlink()
    make(small, out)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="is a folder, but no featdex report; name a new one"):
        make(small, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"
    with pytest.raises(UsageError, match="is a file; name a folder"):
        make(small, out / "index.html")
    with pytest.raises(UsageError, match="there is no folder"):
        make(small, tmp_path / "no" / "out")
    (tmp_path / "empty").mkdir()
    with report_folder(tmp_path / "empty") as folder:
        (folder / "new").touch()
    assert (tmp_path / "empty" / "new").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "mine", "out"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), FeatdexError("no"), OSError(28, "No space left on device")])
def test_a_report_that_fails_leaves_the_old_one(
    small: Path, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def fail(*_: Any) -> None:
        raise fault

    monkeypatch.setattr(ChunkWriter, "write", fail)
    with pytest.raises((KeyboardInterrupt, FeatdexError), match=r"^$|no|cannot write .*out: No space left on device"):
        make(small, out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_rename_that_fails_brings_the_old_folder_back(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(FeatdexError, match="Permission denied"), report_folder(out):
        pass
    assert (out / "index.html").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_folder_one_is_in_is_not_replaced(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(out / "data")
    with pytest.raises(UsageError, match="is the folder you are in"), report_folder(out):
        pass


def test_the_command_tells_the_size_before_and_after(featdex: Featdex) -> None:
    code, out, err = featdex("report", "out", "--sets", "names")
    assert (code, out) == (0, "")
    before, after = err.splitlines()
    found = re.fullmatch(r"592 features of 2 SAEs x 3 token sets: about ([\d.]+) MB", before)
    done = re.fullmatch(r"([\d.]+) MB in [\d.]+ s; open out/index.html in a browser", after)
    assert found
    assert done
    n_bytes = sum(path.stat().st_size for path in Path("out").rglob("*") if path.is_file())
    assert float(done[1]) == pytest.approx(n_bytes / 1e6, abs=0.051)
    assert 0.4 < float(found[1]) / float(done[1]) < 2.5
    assert featdex("report", "out", "--sets", "names")[0] == 0
    assert featdex("report", "out", "--sets", "nothing")[0] == 3
    Path("mine").mkdir()
    Path("mine/file").touch()
    assert featdex("report", "mine")[0] == 2


def test_the_libraries_are_those_recorded_with_their_licences() -> None:
    folder = files("featdex.catalogue") / "report_page" / "vendor"
    records = json.loads((folder / "vendor.json").read_text(encoding="utf-8"))
    listed = {name: digest for record in records for name, digest in record["sha256"].items()}
    there = {entry.name for entry in folder.iterdir() if entry.name.endswith((".js", ".css"))}
    assert there == set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    table = (folder / "LICENSES.md").read_text(encoding="utf-8")
    for record in records:
        assert "Permission is hereby granted" in (folder / record["licence_file"]).read_text(encoding="utf-8")
        assert record["version"] in table


def test_the_page_names_every_script_that_it_has_and_no_other_place(report: Path) -> None:
    page = (report / "index.html").read_text(encoding="utf-8")
    scripts = re.findall(r'<script src="([^"]+)"></script>', page)
    assert set(scripts) == {
        path.relative_to(report).as_posix() for path in report.rglob("*.js") if "data" not in path.parts
    }
    assert page.count("<script") == len(scripts)
    assert "script-src 'self' file:" in page
    own = [path.read_text(encoding="utf-8") for path in (report / "js").iterdir()]
    for text in own:
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", text)
        assert set(re.findall(r"https?://([\w.]+)", text)) <= {"www.neuronpedia.org", "www.w3.org"}


def test_no_path_of_this_machine_is_in_a_report(report: Path, small: Path) -> None:
    facts = read_chunk(report, "about")["json"]
    assert facts["catalogue"]["name"] == small.name
    assert facts["catalogue"]["sha256"] == hashlib.sha256(small.read_bytes()).hexdigest()
    assert str(small.parent) not in json.dumps(facts)
    assert os.environ.get("HOME", "/nowhere") not in json.dumps(facts)


def test_a_file_that_is_no_part_of_a_report_is_never_taken_away(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(["--db", str(small), "report", str(out), "--sets", "girls_names,digits"]) == 0
    assert run(["--db", str(small), "report", str(out), "--sets", "girls_names"]) == 0
    (out / "data" / "mine.txt").parent.mkdir(exist_ok=True)
    (out / "data" / "mine.txt").write_text("mine")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert run(["--db", str(small), "report", str(out)]) == 2
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
