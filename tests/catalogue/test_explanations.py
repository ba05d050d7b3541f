"""Explanations from Neuronpedia's exports: joined by id, checked, all of a file or none, found by their words."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from featdex.catalogue.catalogue import connect
from featdex.catalogue.doctor import examine
from featdex.catalogue.errors import CatalogueError, FeatdexError, NotFoundError, UsageError
from featdex.catalogue.explanations import import_explanations
from featdex.catalogue.file import open_reader
from featdex.catalogue.write import SaeRows, write_sae

Featdex = Callable[..., tuple[int, str, str]]
Ask = Callable[..., list[dict[str, Any]]]
Maker = Callable[..., SaeRows]


def line(index: Any, description: Any, **more: Any) -> dict[str, Any]:
    """A line as the export of Neuronpedia's table has it, with the index as text."""
    index = str(index) if type(index) is int else index
    return {
        "id": "cl1", "modelId": "tiny", "layer": "8-res-jb", "index": index, "authorId": "someone",
        "description": description, "embedding": "[0.1, 0.2]", "typeName": "oai_token-act-pair",
        "explanationModelName": "gpt-4o-mini", "umap_x": 0, "umap_y": 0, "umap_cluster": 0,
        "umap_log_feature_sparsity": 0,
    } | more  # fmt: skip


LINES = [
    line(7, "female names"),
    line(3, "Names of Girls, in lists"),
    line(7, "names in general", explanationModelName="claude"),
    line(0, " é日本 \x1b[31m "),
    line(11, None),
    line(10, "  "),
]


def write_lines(path: Path, lines: list[Any]) -> Path:
    text = "\n".join(item if isinstance(item, str) else json.dumps(item) for item in lines) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def stored(path: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(
            "SELECT s.slug, x.feature, x.text, x.method, x.explainer, x.score, x.source"
            " FROM explanation x JOIN sae s USING (sae_id) ORDER BY ALL"
        ).fetchall()


@pytest.mark.parametrize("name", ["batch-0.jsonl", "batch-0.jsonl.gz"])
def test_an_export_is_joined_by_id(scratch: Path, tmp_path: Path, name: str) -> None:
    done = import_explanations(scratch, [write_lines(tmp_path / name, LINES)])
    assert (done.n_rows, done.n_replaced, done.n_empty, done.others) == ({"tiny/8-res-jb": 4}, 0, 2, {})
    common = ("oai_token-act-pair", "gpt-4o-mini", None, name)
    assert stored(scratch) == [
        ("tiny/8-res-jb", 0, "é日本 \x1b[31m", *common),
        ("tiny/8-res-jb", 3, "Names of Girls, in lists", *common),
        ("tiny/8-res-jb", 7, "female names", *common),
        ("tiny/8-res-jb", 7, "names in general", "oai_token-act-pair", "claude", None, name),
    ]


def test_an_import_again_changes_nothing_and_a_newer_one_replaces(scratch: Path, tmp_path: Path) -> None:
    old = write_lines(tmp_path / "batch-0.jsonl", LINES)
    import_explanations(scratch, [old])
    before = stored(scratch)
    assert import_explanations(scratch, [old, old]).n_replaced == 4
    assert stored(scratch) == before
    newer = write_lines(tmp_path / "newer.jsonl", [line(7, "girls"), line(2, "more")])
    assert import_explanations(scratch, [newer]).n_replaced == 1
    assert [(row[1], row[2]) for row in stored(scratch)] == [
        (0, "é日本 \x1b[31m"), (2, "more"), (3, "Names of Girls, in lists"), (7, "girls"), (7, "names in general"),
    ]  # fmt: skip
    assert import_explanations(scratch, [newer], replace=True).n_replaced == 5
    assert [(row[1], row[2]) for row in stored(scratch)] == [(2, "more"), (7, "girls")]


def test_an_sae_without_an_id_is_named(scratch: Path, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "x.jsonl", [line(579, "last", layer="29-mlp-elsewhere")])
    with pytest.raises(NotFoundError, match="no SAE of the catalogue has the Neuronpedia id 'tiny/29-mlp-elsewhere'"):
        import_explanations(scratch, [file])
    assert import_explanations(scratch, [file], sae="29-mlp").n_rows == {"tiny/29-mlp": 1}
    several = write_lines(tmp_path / "several.jsonl", [line(1, "a"), line(1, "b", layer="9-res-jb")])
    with pytest.raises(UsageError, match=r"the files are of 2 SAEs \(tiny/8-res-jb, tiny/9-res-jb\); leave out --sae"):
        import_explanations(scratch, [several], sae="29-mlp")
    done = import_explanations(scratch, [several])
    assert (done.n_rows, done.others) == ({"tiny/8-res-jb": 1}, {"tiny/9-res-jb": 1})


def test_a_file_of_another_sae_is_refused_whole(scratch: Path, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "x.jsonl", [*LINES, line(12, "one too many")])
    with pytest.raises(CatalogueError, match=r"x\.jsonl, line 7: feature 12, but tiny/8-res-jb has features 0 to 11"):
        import_explanations(scratch, [file])
    assert stored(scratch) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("{", "no JSON"),
        ("[1]", "no JSON object"),
        ("[" * 100_000, "no JSON"),
        (line(-1, "x"), "index '-1' is no index"),
        (line("٣", "x"), "is no index of a feature"),
        (line(1.5, "x"), "index '1.5' is no index"),
        (line(True, "x"), "is no index"),
        (line(1 << 40, "x"), "is no index"),
        (line(1, "x", modelId=None), "modelId or layer is missing"),
        (line(1, "x", layer=8), "layer is no text"),
        (line(1, ["x"]), "description is no text"),
        ('{"description": "\\ud800", "index": "1"}', "description is no Unicode text"),
        (line(1, "x", scores=[{"value": "high"}]), "the score 'high' is no number"),
        (line(1, "x", scores=[{"value": 1e300}]), "is no number"),
    ],
)
def test_a_wrong_line_is_told_and_nothing_is_lost(scratch: Path, tmp_path: Path, wrong: Any, message: str) -> None:
    import_explanations(scratch, [write_lines(tmp_path / "good.jsonl", LINES)])
    before = stored(scratch)
    file = write_lines(tmp_path / "bad.jsonl", [line(7, "newer"), wrong, line(8, "newer")])
    with pytest.raises(FeatdexError) as caught:
        import_explanations(scratch, [tmp_path / "good.jsonl", file], replace=True)
    assert f"{file}, line 2: " in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert stored(scratch) == before


def test_several_wrong_lines_are_counted(scratch: Path, tmp_path: Path) -> None:
    told: list[str] = []
    file = write_lines(tmp_path / "bad.jsonl", [line(1, "a"), *["{"] * 9])
    with pytest.raises(FeatdexError, match=r"line 2: no JSON.*\(9 wrong lines in all\); nothing was imported"):
        import_explanations(scratch, [file], narrate=told.append)
    assert [text.split(":")[0] for text in told] == [f"{file}, line {k}" for k in range(2, 7)]


def test_a_file_that_can_not_be_read_is_one_line(scratch: Path, tmp_path: Path) -> None:
    whole = write_lines(tmp_path / "whole.jsonl.gz", LINES * 50).read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-9])
    (tmp_path / "damaged.jsonl.gz").write_bytes(whole[:20] + b"\xff" * 30 + whole[50:])
    for name in ("cut.jsonl.gz", "damaged.jsonl.gz", "missing.jsonl"):
        with pytest.raises(FeatdexError, match=f"cannot read .*{name}: .*; nothing was imported"):
            import_explanations(scratch, [tmp_path / name])
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(NotFoundError, match="no explanation in these files"):
        import_explanations(scratch, [tmp_path / "empty.jsonl"])
    assert stored(scratch) == []


def test_scores_are_read_from_new_and_old_exports(scratch: Path, tmp_path: Path) -> None:
    given = [
        line(0, "a", scores=[{"value": 0.75, "explanationScoreTypeName": "eleuther_fuzz"}, {"value": 0.1}]),
        line(1, "b", scoreV1=0.5, scoreV2=None),
        line(2, "c", scoreV1=0),
        line(3, "d", scores=[]),
        line(4, "e", typeName=None, explanationModelName=None),
    ]
    import_explanations(scratch, [write_lines(tmp_path / "x.jsonl", given)])
    assert [row[5] for row in stored(scratch)] == [0.75, 0.5, None, None, None]
    assert stored(scratch)[4][3:5] == ("neuronpedia", None)


def test_they_stay_with_their_id(scratch: Path, tmp_path: Path, rows_of: Maker) -> None:
    import_explanations(scratch, [write_lines(tmp_path / "x.jsonl", LINES)])
    before = stored(scratch)
    write_sae(scratch, rows_of(seed=9, members={"girls_names": [0, 1]}))
    assert stored(scratch) == before
    connection = open_reader(scratch)
    assert [finding.check for finding in examine(connection) if not finding.ok] == []
    connection.close()
    # Without density this fixture has no Neuronpedia id.
    write_sae(scratch, rows_of(seed=9, density=False))
    assert stored(scratch) == []


def test_they_go_where_the_features_are_others(scratch: Path, tmp_path: Path, rows_of: Maker) -> None:
    import_explanations(scratch, [write_lines(tmp_path / "x.jsonl", LINES)])
    write_sae(scratch, rows_of(n_features=13, seed=9))
    assert stored(scratch) == []


@pytest.mark.parametrize(
    ("statement", "detail"),
    [
        ("INSERT INTO explanation (sae_id, feature, text) VALUES (1, 12, 'x')", "which has features 0 to 11"),
        ("INSERT INTO explanation (sae_id, feature) VALUES (1, 3)", "has no text"),
        ("INSERT INTO tag (sae_id, feature, tag) VALUES (1, 3, 'x'), (1, 3, 'x')", "is there 2 times"),
        ("INSERT INTO tag (sae_id, feature, tag) VALUES (1, 12, 'x')", "features 0 to 11"),
    ],
)
def test_the_doctor_finds_notes_of_no_feature(scratch: Path, statement: str, detail: str) -> None:
    with duckdb.connect(str(scratch)) as connection:
        connection.execute(statement)
    connection = open_reader(scratch)
    (fault,) = (finding for finding in examine(connection) if not finding.ok)
    connection.close()
    assert fault.check == "notes"
    assert detail in fault.detail


def test_explanations_are_found_by_their_words(
    scratch: Path, tmp_path: Path, written: dict[str, SaeRows], ask: Ask
) -> None:
    import_explanations(scratch, [write_lines(tmp_path / "x.jsonl", LINES)])
    other = write_lines(tmp_path / "y.jsonl", [line(44, "NAMES")])
    import_explanations(scratch, [other], sae="29-mlp")
    rows = written["tiny/8-res-jb"]
    z = rows.enrichment[rows.token_sets.column("name").to_pylist().index("digits")].column("z").to_pylist()
    with connect(scratch) as catalogue:
        found = ask(catalogue, "explained_as", words="names", sae="tiny/8*")
        assert [(row["feature"], row["explanation"], row["z"], row["q"]) for row in found] == [
            (3, "Names of Girls, in lists", None, None),
            (7, "female names", None, None),
            (7, "names in general", None, None),
        ]
        assert len(found[0]["top_tokens"]) == 8
        assert found[0]["url"] == "https://www.neuronpedia.org/tiny/8-res-jb/3"
        ranked = ask(catalogue, "explained_as", words="NAMES", sae="tiny/8*", set_name="digits")
        order = sorted([(3, "Names"), (7, "female"), (7, "names")], key=lambda entry: -z[entry[0]])
        assert [(row["feature"], row["explanation"].split()[0]) for row in ranked] == order
        assert [row["z"] for row in ranked] == pytest.approx([z[feature] for feature, _ in order])
        assert len(ask(catalogue, "explained_as", words="names")) == 4
        assert len(ask(catalogue, "explained_as", words="names", n=2)) == 2
        assert ask(catalogue, "explained_as", words="%") == []
        assert ask(catalogue, "explained_as", words="zebra") == []
        for parameters in ({"sae": "x"}, {"set_name": "digit"}):
            with pytest.raises(NotFoundError, match="nearest: "):
                ask(catalogue, "explained_as", words="names", **parameters)


def test_the_verb(featdex: Featdex, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATDEX_DB", str(scratch))
    write_lines(tmp_path / "batch-0.jsonl.gz", [*LINES, line(1, "x", layer="9-res")])
    code, out, err = featdex("import", "explanations", "batch-0.jsonl.gz")
    assert (code, out) == (0, "")
    assert err.splitlines() == [
        "wrote 4 explanations of tiny/8-res-jb",
        "2 lines without a description were left out",
        "1 lines were left out: the catalogue has no SAE of tiny/9-res",
    ]
    assert "4 earlier ones were replaced" in featdex("import", "explanations", "batch-0.jsonl.gz")[2]
    assert json.loads(featdex("q", "explained_as", "girls", "-f", "json")[1])[0]["feature"] == 3
    assert featdex("import", "explanations", "missing.jsonl")[0] == 1
    assert featdex("import", "explanations", "batch-0.jsonl.gz", "--sae", "x")[0] == 3
    assert featdex("import", "--help")[1].rstrip().endswith("featdex import explanations batch-0.jsonl.gz")
