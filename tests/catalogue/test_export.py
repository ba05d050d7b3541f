"""Exports: what other programs read back is the query, and a file can be made again from what lies beside it."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from featdex.catalogue.catalogue import connect
from featdex.catalogue.lists import module_of
from featdex.catalogue.tables import TABLES
from featdex.catalogue.write import SaeRows, write_sae

Featdex = Callable[..., tuple[int, str, str]]

NAMES = ("export", "enriched_for", "girls_names", "n=1000", "-o")
TOKENS = "SELECT token_id, str AS token, raw, [str, NULL] AS tokens FROM token ORDER BY token_id"


def files() -> list[str]:
    return sorted(path.name for path in Path.cwd().iterdir())


def as_r_reads(text: str) -> list[list[str]]:
    """Records as R's read.csv takes them: fields in double quotes, two of which are one; NA only where it says NA."""
    records: list[list[str]] = []
    fields: list[str] = []
    field, is_quoted, index = "", False, 0
    while index < len(text):
        character = text[index]
        if is_quoted and character == '"' and text[index + 1 : index + 2] == '"':
            field, index = field + '"', index + 1
        elif character == '"':
            is_quoted = not is_quoted
        elif not is_quoted and character in ",\n":
            fields, field = [*fields, field], ""
            if character == "\n":
                records.append(fields)
                fields = []
        else:
            field += character
        index += 1
    assert (is_quoted, field, fields) == (False, "", [])
    return records


def test_csv_of_a_question_equals_the_query_in_pandas_and_as_r_reads(featdex: Featdex, small: Path) -> None:
    assert featdex(*NAMES, "girls.csv")[0] == 0
    with connect(small) as catalogue:
        relation = catalogue.query("enriched_for", set_name="girls_names", n=1000)
        names, rows = relation.columns, relation.fetchall()
    assert {'"quoted"', "a,b", "line\nbreak", "\ufffd", " Mary"} <= {token for row in rows for token in row[-2]}
    frame = pd.read_csv("girls.csv", keep_default_na=False, na_values={"log10_density": "", "url": ""})
    assert list(frame.columns) == names
    assert list(frame["sae"]) == [row[0] for row in rows]
    assert [json.loads(tokens) for tokens in frame["top_tokens"]] == [row[names.index("top_tokens")] for row in rows]
    header, *records = as_r_reads(Path("girls.csv").read_bytes().decode())
    assert header == names
    for record, row in zip(records, rows, strict=True):
        for text, value in zip(record, row, strict=True):
            if isinstance(value, float):
                assert float(text) == pytest.approx(value, rel=1e-6)
            else:
                read = json.loads(text) if isinstance(value, list) else text
                assert read == (value if isinstance(value, list) else "" if value is None else str(value))


def test_every_token_comes_back_in_pandas_and_as_r_reads(featdex: Featdex, small: Path) -> None:
    assert featdex("export", "--sql", TOKENS, "-o", "tokens.csv")[0] == 0
    expected = duckdb.connect(str(small), read_only=True).execute(TOKENS).fetchall()
    frame = pd.read_csv("tokens.csv", keep_default_na=False, na_filter=False)
    frame["tokens"] = frame["tokens"].map(json.loads)
    assert list(frame.itertuples(index=False, name=None)) == expected
    _, *records = as_r_reads(Path("tokens.csv").read_bytes().decode())
    assert [(int(i), token, raw, json.loads(tokens)) for i, token, raw, tokens in records] == expected


@pytest.mark.skipif(shutil.which("Rscript") is None, reason="R is not installed")
def test_every_token_comes_back_in_r(featdex: Featdex, small: Path) -> None:
    assert featdex("export", "--sql", TOKENS, "-o", "tokens.csv")[0] == 0
    script = (
        "x <- read.csv('tokens.csv', na.strings = character(), encoding = 'UTF-8');"
        " cat(paste(vapply(x$token, function(t) paste(as.character(charToRaw(t)), collapse = ''), ''), collapse = ' '))"
    )
    done = subprocess.run(["Rscript", "--vanilla", "-e", script], capture_output=True, text=True, check=True)
    expected = duckdb.connect(str(small), read_only=True).execute(TOKENS).fetchall()
    # R itself makes one newline of a carriage return and a newline, in quotes too.
    assert done.stdout.split(" ") == [row[1].replace("\r\n", "\n").encode().hex() for row in expected]


def test_a_sidecar_tells_what_was_asked_and_what_came_out(featdex: Featdex) -> None:
    assert featdex(*NAMES, "girls.csv")[0] == 0
    told = json.loads(Path("girls.csv.json").read_text())
    assert (told["question"], told["parameters"]) == ("enriched_for", {"set_name": "girls_names", "n": 1000})
    assert told["sql"] == "FROM enriched_for(set_name := 'girls_names', n := 1000)"
    text = Path("girls.csv").read_bytes().decode()
    assert told["rows"] == len(list(csv.reader(io.StringIO(text, newline="")))) - 1
    summed = subprocess.run(["sha256sum", "girls.csv"], capture_output=True, text=True, check=True).stdout.split()[0]
    assert told["sha256"] == summed
    assert told["versions"]["duckdb"] == duckdb.__version__
    assert sorted(told["catalogue"]["saes"]) == ["tiny/29-mlp", "tiny/8-res-jb"]
    assert "/" not in told["catalogue"]["file"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl", "md", "tex", "parquet", "rnk"])
def test_an_export_is_made_again(featdex: Featdex, ending: str) -> None:
    output = Path(f"girls.{ending}")
    assert featdex(*NAMES, str(output))[0] == 0
    first = output.read_bytes()
    assert featdex("export", "--again", f"{output}.json")[0] == 0
    output.unlink()
    assert featdex("export", "--again", f"{output}.json")[0] == 0
    assert output.read_bytes() == first
    assert featdex("export", "--again", f"{output}.json", "-o", "second")[0] == 0
    assert Path("second").read_bytes() == first


def test_what_a_user_changed_is_told_and_kept(featdex: Featdex) -> None:
    featdex(*NAMES, "girls.csv")
    Path("girls.csv").write_text("mine")
    code, _, err = featdex("export", "--again", "girls.csv.json")
    assert (code, "was changed since" in err, Path("girls.csv").read_text()) == (0, True, "mine")


def test_the_same_contents_have_the_same_hash_whoever_wrote_them(
    featdex: Featdex, scratch: Path, tmp_path: Path, written: dict[str, SaeRows]
) -> None:
    featdex("export", "coverage", "-o", "first.csv")
    write_sae(scratch, written["tiny/8-res-jb"])
    featdex("--db", str(scratch), "export", "coverage", "-o", "second.csv")
    first, second = (json.loads(Path(f"{name}.csv.json").read_text())["catalogue"] for name in ("first", "second"))
    assert first["sha256"] == second["sha256"]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE enrichment SET z = z + 1 WHERE feature = 7", " lines, the first of them line "),
        ("UPDATE sae SET weights_sha256 = 'x' WHERE slug = 'tiny/29-mlp'", "tiny/29-mlp has other weights"),
        ("UPDATE run SET params_sha256 = 'x' WHERE sae_id = 1", "tiny/8-res-jb was computed with other sets"),
        ("UPDATE token_set SET members_sha256 = 'x' WHERE name = 'digits'", "the catalogue has other token sets"),
        ("INSERT INTO tag (sae_id, feature, tag) VALUES (1, 7, 'mine')", "the catalogue has other tags"),
        ("CREATE OR REPLACE MACRO _set_ids(x) AS TABLE SELECT set_id FROM token_set WHERE x=name", "otherwise"),
        ("DELETE FROM enrichment WHERE feature = 3", "rows then, "),
    ],
)  # fmt: skip
def test_what_changed_is_told(featdex: Featdex, scratch: Path, statement: str, told: str) -> None:
    featdex("--db", str(scratch), *NAMES, "girls.csv")
    first = Path("girls.csv").read_bytes()
    with duckdb.connect(str(scratch)) as connection:
        connection.execute("UPDATE enrichment SET z = z * 1.01, es = es / 2 WHERE feature = 7")
        connection.execute(statement)
    code, _, err = featdex("--db", str(scratch), "export", "--again", "girls.csv.json")
    assert (code, Path("girls.csv").read_bytes() == first) == (1, True)
    assert told in err
    assert err.splitlines()[-1] == "featdex: girls.csv does not come out as it was; -o FILE keeps the new one"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no sidecar of an export: it is no JSON"),
        ("[" * 100_000, "is no sidecar of an export"),
        ("{}", "is no sidecar of an export"),
        ('{"featdex_export": 2}', "is of version 2, this featdex reads 1"),
        ('{"featdex_export": 1, "sql": "SELECT 1"}', "is no whole sidecar"),
    ],
)
def test_a_bad_sidecar_is_one_line(featdex: Featdex, text: str, message: str) -> None:
    Path("x.csv.json").write_text(text)
    code, _, err = featdex("export", "--again", "x.csv.json")
    assert (code, err.count("\n"), message in err) == (2, 1, True)
    code, _, err = featdex("export", "coverage", "-o", "x.csv")
    assert (code, files(), Path("x.csv.json").read_text()) == (2, ["x.csv.json"], text)
    assert featdex("export", "coverage", "--no-sidecar", "-o", "x.csv")[0] == 0
    assert Path("x.csv.json").read_text() == text


def test_a_sidecar_of_what_is_no_more_is_taken_away(featdex: Featdex) -> None:
    featdex("export", "coverage", "-o", "x.csv")
    assert featdex("export", "coverage", "--no-sidecar", "-o", "x.csv")[0] == 0
    assert files() == ["x.csv"]
    assert featdex("export", "--again", "x.csv.json")[0] == 3
    assert featdex("export", "coverage", "--again", "x.csv.json")[0] == 2


def test_rnk_and_gmt_for_gsea(featdex: Featdex) -> None:
    ranked = [line.split("\t") for line in featdex("q", "enriched_for", "girls_names", "-f", "rnk")[1].splitlines()]
    assert [pair for pair in sorted(ranked) if pair[1] == "15.0"] == [
        ["tiny/29-mlp/573", "15.0"],
        ["tiny/8-res-jb/7", "15.0"],
    ]
    assert [float(score) for _, score in ranked] == sorted((float(score) for _, score in ranked), reverse=True)
    assert featdex("sql", "SELECT 'a' AS x, NULL AS y UNION ALL SELECT 'b c', 2", "-f", "rnk")[1] == "b␣c\t2\n"
    assert featdex("q", "tokens_of", "tiny/8-res-jb", "7", "-f", "rnk")[1].startswith("ĠMary\t12.0\n")
    assert featdex("sql", "SELECT 'a', 1 UNION ALL SELECT 'a', 2", "-f", "rnk")[0] == 2
    assert featdex("export", "set_members", "-o", "sets.gmt")[0] == 0
    sets = {name: items for name, _, *items in (line.split("\t") for line in Path("sets.gmt").read_text().splitlines())}
    assert sets["girls_names"] == ["ĠMary", "ĠAnna", "Mary", "Ġword4", "Ġword5"]
    assert sorted(sets) == ["Quote's", "boys_names", "digits", "girls_names"]
    code, _, err = featdex("q", "coverage", "-f", "gmt")
    assert (code, err) == (2, "featdex: gmt is made of columns that this answer has not: set_name\n")


def test_a_quick_list_is_the_url_that_saelens_makes(featdex: Featdex) -> None:
    code, out, err = featdex("q", "enriched_for", "girls_names", "min_kurtosis=8", "-f", "neuronpedia")
    assert (code, err) == (0, "left out, for they are not at neuronpedia.org: tiny/29-mlp\n")
    url = urllib.parse.urlsplit(out.strip())
    assert (url.netloc, url.path) == ("www.neuronpedia.org", "/quick-list/")
    fields = urllib.parse.parse_qs(url.query, strict_parsing=True)
    assert json.loads(fields["features"][0]) == [{"modelId": "tiny", "layer": "8-res-jb", "index": "7"}]
    assert featdex("q", "enriched_for", "girls_names", "sae=*29*", "-f", "neuronpedia")[0] == 3
    assert featdex("q", "coverage", "-f", "neuronpedia")[0] == 2


def test_steering_is_the_csv_that_lm_eval_reads(featdex: Featdex) -> None:
    line = ("export", "enriched_for", "girls_names", "sae=*8*", "-f", "steering", "-o", "steer.csv")
    assert featdex(*line)[0] == 2
    code, _, err = featdex(*line, "--coefficient", "8")
    assert (code, "lm-eval steers one feature a module, and layers.7 has one already" in err) == (0, True)
    frame = pd.read_csv("steer.csv")
    (row,) = frame.to_dict("records")
    assert (row["loader"], row["action"], row["sparse_model"]) == ("sae_lens", "add", "tiny-release")
    assert (row["hookpoint"], int(row["feature_index"]), row["sae_id"]) == ("layers.7", 7, "tiny/8-res-jb")
    assert float(row["steering_coefficient"]) == 8.0
    assert pd.isna(row["head_index"])
    assert featdex("export", "--again", "steer.csv.json")[0] == 0


@pytest.mark.parametrize(
    ("model", "site", "layer", "module"),
    [
        ("gpt2-small", "resid_pre", 8, "h.7"), ("gpt2-small", "resid_pre", 0, None),
        ("gpt2-xl", "attn_out", 3, "h.3.attn"), ("gemma-2-2b", "resid_post", 20, "layers.20"),
        ("gemma-2-2b", "mlp_out", 2, "layers.2.post_feedforward_layernorm"),
        ("pythia-70m-deduped", "attn_out", 2, "layers.2.attention"), ("llama-3-8b", "mlp_out", 1, "layers.1.mlp"),
        ("gpt2-small", "attn_z", 1, None), ("gpt2-small", "embed", None, None),
    ],
)  # fmt: skip
def test_a_hook_is_the_output_of_a_module(model: str, site: str, layer: int | None, module: str | None) -> None:
    assert module_of({"model": model, "site": site, "layer": layer}) == module


@pytest.fixture
def tables(featdex: Featdex) -> Path:
    assert featdex("export", "parquet", "tables")[0] == 0
    return Path("tables")


def same(rows: list[tuple[Any, ...]], others: list[tuple[Any, ...]]) -> bool:
    return sorted(map(repr, rows)) == sorted(map(repr, others))


def test_all_tables_are_read_back_by_duckdb_pandas_and_polars(tables: Path, small: Path) -> None:
    polars = pytest.importorskip("polars")
    stored = duckdb.connect(str(small), read_only=True)
    for table in TABLES:
        is_split = (tables / table.name).is_dir()
        columns = ", ".join(f'"{name}"' for name in table.column_names)
        source = f"{tables}/{table.name}/*/*.parquet" if is_split else f"{tables}/{table.name}.parquet"
        found = duckdb.execute(f"SELECT {columns} FROM '{source}'").fetchall()
        assert same(found, stored.execute(f'SELECT {columns} FROM "{table.name}"').fetchall()), table.name
        assert polars.read_parquet(source).height == len(found)
        assert len(pd.read_parquet(tables / table.name if is_split else source)) == len(found)
    parts = sorted(path.parent.name for path in (tables / "enrichment").glob("*/*.parquet"))
    assert parts == ["sae=0001", "sae=0002"]
    assert duckdb.execute(f"SELECT count(DISTINCT sae) FROM '{tables}/feature/*/*.parquet'").fetchall() == [(2,)]


def test_the_tables_say_what_they_are(tables: Path) -> None:
    page = (tables / "README.md").read_text()
    assert all(f"| `{column.name}` |" in page for table in TABLES for column in table.columns)
    manifest = json.loads((tables / "featdex.json").read_text())
    there = {str(path.relative_to(tables)) for path in tables.rglob("*.parquet")}
    assert set(manifest["files"]) == there
    assert manifest["files"]["enrichment/sae=0002/enrichment.parquet"]["rows"] == 2320


def test_tables_replace_tables_and_nothing_else(featdex: Featdex, tables: Path) -> None:
    assert featdex("export", "parquet", "tables")[0] == 0
    (tables / "mine.txt").write_text("mine")
    code, _, err = featdex("export", "parquet", "tables")
    assert (code, "'mine.txt', which is no part of an export" in err) == (2, True)
    assert (tables / "mine.txt").read_text() == "mine"
    Path("file").write_text("x")
    assert featdex("export", "parquet", "file")[0] == 2
    assert featdex("export", "parquet")[0] == 2
    assert files() == ["file", "tables"]


def test_tables_that_fail_leave_the_old_ones(featdex: Featdex, tables: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = sorted(path.stat().st_mtime_ns for path in tables.rglob("*"))

    def full(*_: object) -> Iterator[None]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("featdex.catalogue.parquet_folder._write_part", full)
    code, _, err = featdex("export", "parquet", "tables")
    assert (code, err.splitlines()[-1]) == (1, "featdex: cannot write tables: No space left on device")
    assert sorted(path.stat().st_mtime_ns for path in tables.rglob("*")) == before
    assert files() == ["tables"]


def test_a_slow_query_draws_no_bar_into_the_data(featdex: Featdex) -> None:
    told = featdex("sql", "SELECT current_setting('enable_progress_bar') AS bar")
    assert told == (0, "bar\nfalse\n", "")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a name of a file is Unicode text")
def test_a_name_of_a_file_may_be_no_unicode_text(featdex: Featdex) -> None:
    name = "a\udc8d.csv"
    assert featdex("export", "--sql", "SELECT 1 AS one", "-o", name)[0] == 0
    assert json.loads(Path(f"{name}.json").read_text(encoding="utf-8"))["file"] == name
    assert featdex("export", "--again", f"{name}.json")[0] == 0
