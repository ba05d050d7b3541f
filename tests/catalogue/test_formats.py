"""Formats: what programs read back is what went in; what people see can't steer their terminal."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from featdex.catalogue.catalogue import Catalogue
from featdex.catalogue.display import printable, visible_token
from featdex.catalogue.errors import FeatdexError, QueryError
from featdex.catalogue.formats import LISTS, Answer, Format, inert_json, read, write, write_parquet
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

AWKWARD = "SELECT str AS token, token_id FROM token ORDER BY token_id"


def answer(names: list[str], types: list[str], rows: Iterable[tuple[Any, ...]]) -> Answer:
    listed = list(rows)
    return Answer(names, types, iter(listed), not listed)


def text_of(source: Answer | duckdb.DuckDBPyRelation, form: Format, width: int | None = None) -> str:
    stream = io.BytesIO()
    write(source if isinstance(source, Answer) else read(source), form, stream, width=width)
    return stream.getvalue().decode()


def sql(query: str) -> duckdb.DuckDBPyRelation:
    return duckdb.connect().sql(query)


# A loaded machine is no fault of the format.
unhurried = settings(deadline=None)
texts = st.text(max_size=12)
cells = st.one_of(texts, st.integers(), st.floats(allow_nan=False, allow_infinity=False))


@unhurried
@given(st.lists(st.tuples(texts, st.integers(), st.lists(texts, max_size=3)), max_size=5))
@pytest.mark.parametrize(("form", "delimiter"), [(Format.CSV, ","), (Format.TSV, "\t")])
def test_csv_comes_back(form: Format, delimiter: str, rows: list[tuple[str, int, list[str]]]) -> None:
    text = text_of(answer(["token", "n", "tokens"], ["VARCHAR", "BIGINT", "VARCHAR[]"], rows), form)
    header, *records = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    assert header == ["token", "n", "tokens"]
    assert [(token, int(n), json.loads(tokens)) for token, n, tokens in records] == rows


@unhurried
@given(st.lists(st.tuples(texts, cells, st.lists(cells, max_size=3)), max_size=5))
@pytest.mark.parametrize("form", [Format.JSON, Format.JSONL])
def test_json_comes_back(form: Format, rows: list[tuple[str, Any, list[Any]]]) -> None:
    text = text_of(answer(["token", "x", "xs"], ["VARCHAR", "VARCHAR", "VARCHAR[]"], rows), form)
    records = json.loads(text) if form is Format.JSON else [json.loads(line) for line in text.split("\n")[:-1]]
    assert [(record["token"], record["x"], record["xs"]) for record in records] == rows


@unhurried
@given(st.lists(st.tuples(texts, texts, st.lists(texts, max_size=3)), min_size=1, max_size=5))
@pytest.mark.parametrize("form", [Format.TABLE, Format.MD, Format.LATEX])
def test_people_get_one_line_a_row_and_nothing_that_steers(
    form: Format, rows: list[tuple[str, str, list[str]]]
) -> None:
    text = text_of(answer(["token", "name", "top_tokens"], ["VARCHAR", "VARCHAR", "VARCHAR[]"], rows), form)
    lines = text.split("\n")
    assert len(lines) == len(rows) + (7 if form is Format.LATEX else 3)
    assert not [character for line in lines for character in line if unicodedata.category(character)[0] == "C"]
    # Nothing in a cell is taken for the end of the cell.
    if form is Format.MD:
        bars = [line.replace("\\\\", "").replace("\\|", "").count("|") for line in lines[:-1]]
        assert set(bars) == {4}


def test_the_vocabulary_comes_back_from_csv(catalogue: Catalogue) -> None:
    expected = catalogue.sql(AWKWARD).fetchall()
    records = list(csv.reader(io.StringIO(text_of(catalogue.sql(AWKWARD), Format.CSV), newline="")))[1:]
    assert [(token, int(token_id)) for token, token_id in records] == expected
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(io.StringIO(text_of(catalogue.sql(AWKWARD), Format.CSV), newline=""), keep_default_na=False)
    assert list(frame.itertuples(index=False, name=None)) == expected


def test_the_vocabulary_comes_back_from_parquet(catalogue: Catalogue) -> None:
    stream = io.BytesIO()
    write_parquet(catalogue.sql(AWKWARD), stream)
    table = parquet.read_table(pa.BufferReader(stream.getvalue()))
    assert (
        list(zip(*(column.to_pylist() for column in table.columns), strict=True)) == catalogue.sql(AWKWARD).fetchall()
    )


def test_parquet_keeps_types_and_lists() -> None:
    stream = io.BytesIO()
    write_parquet(sql("SELECT 0.9::FLOAT AS f, [' a', NULL] AS tokens, NULL::INTEGER AS nothing"), stream)
    table = parquet.read_table(pa.BufferReader(stream.getvalue()))
    assert [str(kind) for kind in table.schema.types] == ["float", "list<element: string>", "int32"]
    assert table.to_pylist()[0]["tokens"] == [" a", None]


def test_programs_get_the_shortest_exact_number() -> None:
    query = "SELECT 0.9::FLOAT AS f, 0.1::DOUBLE AS d, 1e-45::FLOAT AS tiny, [0.9::FLOAT] AS list, 12345678901 AS n"
    assert text_of(sql(query), Format.CSV) == "f,d,tiny,list,n\n0.9,0.1,1e-45,[0.9],12345678901\n"
    assert json.loads(text_of(sql(query), Format.JSON))[0] == {
        "f": 0.9,
        "d": 0.1,
        "tiny": 1e-45,
        "list": [0.9],
        "n": 12345678901,
    }


def test_nothing_and_no_numbers() -> None:
    query = (
        "SELECT NULL AS x, 'nan'::FLOAT AS y, 'inf'::DOUBLE AS z, '' AS token, [NULL, 1.5::FLOAT] AS list, true AS b"
    )
    assert text_of(sql(query), Format.CSV) == 'x,y,z,token,list,b\n,nan,inf,,"[null, 1.5]",true\n'
    assert json.loads(text_of(sql(query), Format.JSONL)) == {
        "x": None, "y": None, "z": None, "token": "", "list": [None, 1.5], "b": True,
    }  # fmt: skip
    assert text_of(sql(query), Format.TABLE).splitlines()[2].split() == ["nan", "inf", "''", "1.5", "true"]


def test_every_type_of_duckdb_is_written() -> None:
    query = (
        "SELECT DATE '2026-01-02' AS d, TIMESTAMP '2026-01-02 03:04:05' AS t, TIME '10:00' AS c, INTERVAL 1 DAY AS i,"
        " {'a': 1.5::FLOAT} AS s, MAP {'k': 'v'} AS m, 'x'::ENUM ('x') AS e, '\\xAB'::BLOB AS b,"
        " 1.50::DECIMAL(5, 2) AS n, 10::HUGEINT AS h, '101'::BIT AS bits,"
        " '00000000-0000-0000-0000-000000000001'::UUID AS u"
    )
    record = json.loads(text_of(sql(query), Format.JSON))[0]
    assert record == {
        "d": "2026-01-02", "t": "2026-01-02T03:04:05", "c": "10:00:00", "i": "1 day, 0:00:00", "s": {"a": 1.5},
        "m": {"k": "v"}, "e": "x", "b": "ab", "n": 1.5, "h": 10, "bits": "101",
        "u": "00000000-0000-0000-0000-000000000001",
    }  # fmt: skip
    assert len(next(csv.reader(io.StringIO(text_of(sql(query), Format.CSV).split("\n", 1)[1])))) == 12
    assert text_of(sql("SELECT TIMESTAMPTZ '2026-01-02 03:04:05+00' AS z"), Format.CSV).startswith("z\n2026-01-0")


def test_columns_of_the_same_name_are_numbered() -> None:
    assert text_of(sql("SELECT 1 AS a, 2 AS a"), Format.JSONL) == '{"a": 1, "a_1": 2}\n'


def test_spaces_of_tokens_are_visible_to_people_only() -> None:
    query = "SELECT ' Mary' AS token, [' a b', ''] AS top_tokens, 'two words' AS title"
    assert text_of(sql(query), Format.LATEX).splitlines()[4] == (
        r"\textvisiblespace{}Mary & \textvisiblespace{}a\textvisiblespace{}b '{}' & two words \\"
    )
    for form in (Format.TABLE, Format.MD):
        last = text_of(sql(query), form).splitlines()[-1]
        assert "␣Mary" in last
        assert "␣a␣b ''" in last
        assert "two words" in last
    for form in (Format.CSV, Format.TSV, Format.JSON, Format.JSONL):
        assert "␣" not in text_of(sql(query), form)


def test_people_get_four_digits_and_aligned_numbers() -> None:
    lines = text_of(sql("SELECT 'x' AS name, 36.092228 AS k UNION ALL SELECT 'longer', 3.0"), Format.TABLE).splitlines()
    assert lines == ["name            k", "──────  ─────────", "x       36.092228", "longer   3.000000"]
    lines = text_of(sql("SELECT 36.092228::FLOAT AS k UNION ALL SELECT 1e-30"), Format.TABLE).splitlines()
    assert lines == ["    k", "─────", "36.09", "1e-30"]


def test_wide_characters_are_aligned() -> None:
    lines = text_of(sql("SELECT '日本' AS token, 1 AS n UNION ALL SELECT 'a', 22"), Format.TABLE).splitlines()
    assert lines[2:] == ["日本    1", "a      22"]


def test_a_narrow_terminal_cuts_text_but_never_numbers() -> None:
    query = "SELECT 'gpt2-small/8-res-jb' AS sae, 123456789 AS feature, repeat('word ', 40) AS title, 'u' AS url"
    lines = text_of(sql(query), Format.TABLE, width=60).splitlines()
    assert max(map(len, lines)) <= 60
    assert "123456789" in lines[2]
    assert "…" in lines[2]
    assert "gpt2-small/8-res-jb" in lines[2]
    # Below the readable minimum the line is left too long for the terminal to wrap.
    assert "123456789" in text_of(sql(query), Format.TABLE, width=5).splitlines()[2]


def test_markdown_is_escaped() -> None:
    text = text_of(sql("SELECT '<|end|> *a* `b` _c_ d_e [f] &lt; $x$' AS name"), Format.MD)
    assert text.splitlines()[2] == r"| \<\|end\|\> \*a\* \`b\` \_c\_ d_e \[f\] \&lt; \$x\$ |"


LATEX_NAMES = {
    "textbackslash": "\\", "textasciicircum": "^", "textasciitilde": "~", "textasciigrave": "`", "textless": "<",
    "textgreater": ">", "textbar": "|", "textvisiblespace": "␣", "char34": '"',
}  # fmt: skip


def latex_text(source: str) -> str:
    """What LaTeX shows for a cell, by its own rules: a small reader that knows no more than the escapes it allows."""
    shown = ""
    while source:
        if found := re.match(r"\\([a-z]+[0-9]*)\{\}", source):
            shown += LATEX_NAMES[found[1]]
        elif found := re.match(r"\\([{}$&#%_])", source):
            shown += found[1]
        elif found := re.match(r"\{([\[*])\}|\{\}", source):
            shown += found[1] or ""
        else:
            found = re.match(r"[^\\{}$&#%_^~`<>|\"*\[␣\n]", source)
            assert found, source
            # Two of these in a row would become one sign.
            assert not (source[0] in "-'," and source[:2] == 2 * source[0]), source
            shown += found[0]
        source = source[found.end() :]
    return shown


@unhurried
@given(st.text("\\{}$&#%_^~`<>|\"'*[]-,␣ aé=@!?\n\x1b", max_size=9), texts)
def test_latex_shows_the_text_whatever_it_is(awkward: str, text: str) -> None:
    lines = text_of(answer(["a_b", "token"], ["VARCHAR", "VARCHAR"], [(awkward + text, awkward)]), Format.LATEX)
    head, rule, names, middle, row, bottom, end, last = lines.split("\n")
    assert (head, rule, middle, bottom) == (r"\begin{tabular}{ll}", r"\toprule", r"\midrule", r"\bottomrule")
    assert (names, end, last) == (r"a\_b & token \\", r"\end{tabular}", "")
    first, second = re.split(r"(?<!\\) & ", row.removesuffix(r" \\"))
    assert (latex_text(first), latex_text(second)) == (printable(awkward + text), visible_token(awkward))


def test_latex_sets_numbers_as_mathematics() -> None:
    query = "SELECT -3.5::FLOAT AS z, 4.021e-14::FLOAT AS q, -1e30::FLOAT AS m, 7 AS n, 'nan'::FLOAT AS x, '-7' AS t"
    lines = text_of(sql(query), Format.LATEX).splitlines()
    assert lines[0] == r"\begin{tabular}{rrrrrl}"
    assert lines[4] == r"$-3.5$ & $4.021\times10^{-14}$ & $-1\times10^{30}$ & 7 & nan & -7 \\"


FORMULAS = ["=cmd|' /C calc'!A0", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\xa0=1", "＝1"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_a_spreadsheet_gets_no_formula(formula: str) -> None:
    rows = [(formula, -1.5, [formula]), ("plain", 2.0, [])]
    names, types = [formula, "z", "tokens"], ["VARCHAR", "DOUBLE", "VARCHAR[]"]
    text = text_of(answer(names, types, rows), Format.SPREADSHEET)
    assert text[0] == "\ufeff"
    records = list(csv.reader(io.StringIO(text[1:], newline="")))
    assert records == [
        [f"'{formula}", "z", "tokens"],
        [f"'{formula}", "-1.5", json.dumps([formula], ensure_ascii=False)],
        ["plain", "2.0", "[]"],
    ]
    # For programs csv is exact.
    exact = list(csv.reader(io.StringIO(text_of(answer(names, types, rows), Format.CSV), newline="")))
    assert (exact[0][0], exact[1][0]) == (formula, formula)


@unhurried
@given(st.lists(st.tuples(texts, st.text("\x1b\x9b\u202e\x7f\u2028\n\t a", max_size=5)), min_size=1, max_size=4))
def test_nothing_steers_a_terminal_in_any_format(rows: list[tuple[str, str]]) -> None:
    for form in Format:
        if form is not Format.PARQUET and form not in LISTS:
            text = text_of(answer(["token", "name"], ["VARCHAR", "VARCHAR"], rows), form, width=80)
            steering = [c for c in text.replace("\n", "") if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")]
            # Between the columns of tsv stands a tab, which is spelled out too.
            assert steering == [], form


@unhurried
@given(st.text())
def test_inert_json_is_the_same_value(text: str) -> None:
    made = inert_json(json.dumps({"x": text}, ensure_ascii=False, indent=1))
    assert json.loads(made) == {"x": text}
    assert all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in made.replace("\n", ""))


def test_an_empty_answer_is_valid() -> None:
    nothing = "SELECT 1 AS a, 'x' AS b WHERE false"
    assert read(sql(nothing)).is_empty
    assert text_of(sql(nothing), Format.CSV) == "a,b\n"
    assert json.loads(text_of(sql(nothing), Format.JSON)) == []
    assert text_of(sql(nothing), Format.JSONL) == ""
    assert text_of(sql(nothing), Format.TABLE).splitlines() == ["a  b", "─  ─"]


def test_parquet_is_no_text() -> None:
    with pytest.raises(ValueError, match="no text"):
        text_of(sql("SELECT 1"), Format.PARQUET)
    with pytest.raises(FeatdexError, match="can't write this as parquet"):
        write_parquet(sql("SELECT INTERVAL 1 MONTH AS i"), io.BytesIO())


def test_a_query_that_fails_while_it_is_read_is_translated() -> None:
    failing = "SELECT CASE WHEN range > 5000 THEN error('late') ELSE range END AS x FROM range(10000)"
    with pytest.raises(QueryError, match="late"):
        text_of(sql(failing), Format.CSV)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\r\t", r"a\nb\r\t"),
        ("\u202e\u200b\ufeff", r"\u202e\u200b\ufeff"),
        ("\xa0\u3000\u2028", r"\xa0\u3000\u2028"),
        ("\x9b1m", r"\x9b1m"),
        ("é日本🙂\ufffd", "é日本🙂\ufffd"),
    ],
)
def test_what_steers_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@unhurried
@given(st.text(), st.text())
def test_different_tokens_rarely_look_the_same(first: str, second: str) -> None:
    # Only a literal backslash or the sign for a space can be taken for an escape.
    if "\\" not in first + second and "␣" not in first + second and "''" not in (first, second):
        assert (visible_token(first) == visible_token(second)) == (first == second)


def test_large_answers_are_read_in_pieces() -> None:
    stream = io.BytesIO()
    write(read(sql("SELECT range AS n FROM range(50_000)")), Format.CSV, stream)
    assert stream.getvalue().count(b"\n") == 50_001
    assert math.isclose(sum(map(int, stream.getvalue().split()[1:])), 50_000 * 49_999 / 2)
