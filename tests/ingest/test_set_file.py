"""What set files say, and the one line that says what is wrong with a file, whatever its bytes."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from featdex.catalogue.errors import FeatdexError, NotFoundError, TokenSetError, UsageError
from featdex.ingest import set_definition
from featdex.ingest.set_definition import SetDefinition, check_distinct_names
from featdex.ingest.set_file import read_set_file
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

KITCHEN = """
[collection]
name = "kitchen"
description = '''Things
in a kitchen.'''
source = "a cook"
licence = "CC0-1.0"
version = "3"
casing = "given"

[sets.fruits]
description = "Names of fruits."
terms = ["apple", " pear", "caf\\u0065\\u0301", "apple"]

[sets.spices]
kind = "file"
path = "lists/spices.txt"
space = "leading"
multi_token = "first"
source = "a grocer"

[sets.hex]
kind = "regex"
pattern = ' ?[0-9a-f]+'
on = "raw"

[sets."of.sql"]
kind = "sql"
query = "SELECT 1"
"""


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refusal(path: Path, expected: type[FeatdexError] = TokenSetError) -> str:
    """The message with which a file is refused."""
    with pytest.raises(expected) as caught:
        read_set_file(path)
    message = str(caught.value)
    assert type(caught.value) is expected
    assert "\n" not in message
    assert len(message) < 500 + len(str(path))
    return message


def test_a_toml_file_defines_sets_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    write(tmp_path / "lists", "spices.txt", "# of India\ncumin\n\nstar anise \n clove\n#salt\ncumin\n")
    fruits, spices, hexes, of_sql = read_set_file(write(tmp_path, "mine.toml", KITCHEN))
    shared = SetDefinition(
        "", "kitchen", "list", source="a cook", licence="CC0-1.0", version="3", origin="mine.toml", casing="given"
    )
    assert fruits == replace(
        shared, name="fruits", description="Names of fruits.", terms=("apple", " pear", "caf\u00e9")
    )
    assert spices == replace(
        shared,
        name="spices",
        source="a grocer",
        terms=("cumin", "star anise", " clove"),
        space="leading",
        multi_token="first",
    )
    rule = replace(shared, casing="any")
    assert hexes == replace(rule, name="hex", kind="regex", pattern=" ?[0-9a-f]+", on="raw")
    assert of_sql == replace(rule, name="of.sql", kind="sql", query="SELECT 1")


def test_a_short_toml_file_has_the_defaults(tmp_path: Path) -> None:
    (found,) = read_set_file(write(tmp_path, "mine.toml", '[sets.a]\nterms = ["x"]\n'))
    assert found == SetDefinition("a", "mine", "list", source="user", origin="mine.toml", terms=("x",))
    assert (found.casing, found.space, found.multi_token) == ("any", "either", "drop")


def test_a_gmt_file_defines_a_set_a_line(tmp_path: Path) -> None:
    content = "# a comment\nfruits\tNames  of fruits\tapple\tpear\t\tapple\t\t\n\nSIGNS\t\t ,\t.\n"
    fruits, signs = read_set_file(write(tmp_path, "my.sets.gmt", content))
    shared = SetDefinition("", "my.sets", "list", source="user", origin="my.sets.gmt")
    assert fruits == replace(shared, name="fruits", description="Names of fruits", terms=("apple", "pear"))
    assert signs == replace(shared, name="SIGNS", terms=(" ,", "."))


def test_a_plain_file_is_a_set_named_after_it(tmp_path: Path) -> None:
    (found,) = read_set_file(write(tmp_path, "fruits.TXT", "apple\n pear\t\n#no\n #yes\napple"))
    assert found.name == found.collection == "fruits"
    assert found.terms == ("apple", " pear", " #yes")


@pytest.mark.parametrize("name", ["a.toml", "a.gmt", "a.txt"])
def test_line_ends_and_a_byte_order_mark_change_nothing(name: str, tmp_path: Path) -> None:
    content = {"a.toml": KITCHEN.replace("lists/", ""), "a.gmt": "a\tb\tc\nd\te\tf\n", "a.txt": "a\nb\n"}[name]
    write(tmp_path, "spices.txt", "cumin\n")
    plain = read_set_file(write(tmp_path, name, content))
    assert read_set_file(write(tmp_path, name, content.replace("\n", "\r\n"))) == plain
    assert read_set_file(write(tmp_path, name, b"\xef\xbb\xbf" + content.encode())) == plain


TOML_FAULTS = {
    "": "holds no sets; add a table [sets.NAME]",
    "[collection]\nname = 'a'": "holds no sets",
    "sets = 3": "sets is 3; write a table",
    "collection = []\n[sets.a]\nterms = ['x']": "collection is []; write a table",
    "[set.a]\nterms = ['x']": "unknown key 'set'; did you mean sets?",
    "[collection]\nlicense = 'MIT'\n[sets.a]\nterms = ['x']": "unknown key 'license'; did you mean licence?",
    "[collection]\nversion = 1\n[sets.a]\nterms = ['x']": "version is 1; give a text in quotes",
    "[collection]\nname = 'a b'\n[sets.a]\nterms = ['x']": "collection's name 'a b' may hold only",
    "[collection]\ncasing = 'lower'\n[sets.a]\nterms = ['x']": "no casing 'lower' (known: given, capital, any)",
    "[sets.a]\nterms = ['x']\nspace = 'leeding'": "set 'a': no space 'leeding'; did you mean leading?",
    "[sets.a]\nterms = ['x']\nmulti_token = true": "multi_token is True; give a text",
    "[sets.a]\nterms = ['x']\nterm = 'x'": "set 'a': unknown key 'term'; did you mean terms?",
    "[sets.a]\nterms = []": "set 'a' has no terms",
    "[sets.a]\nterms = 'x'": "set 'a': terms is 'x'; give a list of texts",
    "[sets.a]\nterms = ['x', 7]": "set 'a': term 2 is 7; give a text in quotes",
    "[sets.a]\nterms = ['x', ['y']]": "set 'a': term 2 is ['y']",
    "[sets.a]\nterms = ['']": "set 'a': term 1 is ''",
    "[sets.a]\ndescription = 'x'": "set 'a' is of kind 'list' and has no terms",
    "[sets.a]\nkind = 'regexp'\npattern = 'x'": "no kind 'regexp'; did you mean regex? (known: list, file, regex, sql)",
    "[sets.a]\nkind = 1": "no kind 1 (known",
    "[sets.a]\npattern = 'x'": "is of kind 'list' and has a pattern, which goes with 'regex'",
    "[sets.a]\nkind = 'sql'\nquery = 'x'\ncasing = 'any'": "has a casing, which goes with 'list' or 'file'",
    "[sets.a]\nkind = 'regex'\npattern = ''": "pattern is empty",
    "[sets.a]\nkind = 'regex'\npattern = 'x'\non = 'str'": "no on 'str' (known: text, raw)",
    "[sets.a]\nkind = 'file'\npath = ''": "path is empty",
    "[sets.a]\nkind = 'file'\npath = '.'": "set 'a': ",
    "[sets.a]\nkind = 'file'\npath = \"\\u0000\"": "set 'a': can't read",
    "[sets]\na = ['x']": "set 'a' is ['x']; write a table",
    "[sets.a.b]\nterms = ['x']": """holds a table 'b'; put a name with a dot in quotes: [sets."a.b"]""",
    "[sets.'a@12ab']\nterms = ['x']": "set's name 'a@12ab' may hold only",
    "[sets.'']\nterms = ['x']": "set's name '' may hold only",
    f"[sets.{'a' * 81}]\nterms = ['x']": "may hold only 1 to 80",
    "[sets.'ümlaut']\nterms = ['x']": "set's name 'ümlaut' may hold only",
    "[sets.a]\nterms = ['x']\n[sets.a]\nterms = ['y']": "no valid TOML: Cannot declare ('sets', 'a') twice (at line 3",
    "[sets.a]\n\nterms = ['x'": "is no valid TOML: Unclosed array (at end of document)",
    "[sets.a]\nterms: ['x']": "(at line 2, column",
    "a = " + "[" * 5000: "nests too deeply",
    "a = " + "9" * 5000: "is no valid TOML",
    "x=1\n" + ".".join(["a"] * 5000) + " = 1": "line 2 has a key of a hundred parts",
    "[" + " . ".join(['"a b"'] * 5000) + "]": "line 1 has a key of a hundred parts",
    "[sets.a]\nterms = ['\0']": "line 2 holds a NUL character",
}  # fmt: skip


@pytest.mark.parametrize("content", TOML_FAULTS, ids=range(len(TOML_FAULTS)))
def test_a_toml_file_with_a_fault_is_refused_in_one_line(content: str, tmp_path: Path) -> None:
    path = write(tmp_path, "mine.toml", content)
    message = refusal(path)
    assert TOML_FAULTS[content] in message
    assert str(path) in message


GMT_FAULTS = {
    "": "holds no sets",
    "# nothing\n\n": "holds no sets",
    "fruits": "line 1 needs a name, a description and terms",
    "a\tb\tc\nfruits\tdescription": "line 2 needs a name",
    "fruits\tdescription\t\t\t": "line 1 needs a name",
    "a\tb\tc\n\na\tb\td": "line 3: line 1 has a set 'a' already",
    "my fruits\tb\tc": "line 1: the name 'my fruits' may hold only",
    "\tb\tc": "line 1: the name '' may hold only",
}


@pytest.mark.parametrize("content", GMT_FAULTS, ids=range(len(GMT_FAULTS)))
def test_a_gmt_file_with_a_fault_is_refused_in_one_line(content: str, tmp_path: Path) -> None:
    assert GMT_FAULTS[content] in refusal(write(tmp_path, "mine.gmt", content))


@pytest.mark.parametrize("name", ["a.toml", "a.gmt", "a.txt"])
def test_bytes_that_are_no_utf8_are_named(name: str, tmp_path: Path) -> None:
    assert "is no UTF-8: byte 3 is 0xff" in refusal(write(tmp_path, name, b"a\t\xff"))
    assert "is no UTF-8: byte 4 is 0xe9" in refusal(write(tmp_path, name, b"\xef\xbb\xbf\xe9t\xe9"))
    assert "is no UTF-8: byte 1 is 0xff" in refusal(write(tmp_path, name, "a\tb\tc".encode("utf-16")))


@pytest.mark.parametrize("name", ["a.toml", "a.gmt", "a.txt"])
def test_a_path_that_is_no_file_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    assert str(path) in refusal(path, NotFoundError)
    path.mkdir()
    assert "is a folder" in refusal(path)
    path.rmdir()
    os.mkfifo(path)
    assert "is no regular file" in refusal(path)


def test_a_missing_list_names_its_set(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "a.toml", "[sets.a]\nkind = 'file'\npath = 'b.txt'"), NotFoundError)
    assert message == f"{tmp_path / 'a.toml'}: set 'a': no file {tmp_path / 'b.txt'}; check the path"


@pytest.mark.parametrize("name", ["a.csv", "a", "a.toml.bak", ".toml"])
def test_another_ending_names_those_that_are_known(name: str, tmp_path: Path) -> None:
    assert "give .toml, .gmt or .txt" in refusal(write(tmp_path, name, ""), UsageError)


@pytest.mark.parametrize("name", ["my fruits.txt", "a@b.gmt", "é.toml"])
def test_a_file_whose_name_can_name_nothing_says_so(name: str, tmp_path: Path) -> None:
    content = {".txt": "apple", ".gmt": "a\tb\tc", ".toml": "[sets.a]\nterms = ['x']"}[Path(name).suffix]
    assert f"{Path(name).stem!r} may hold only" in refusal(write(tmp_path, name, content))


def test_a_file_of_more_than_the_limit_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(200 * 2**20)  # one line of 200 MB, on disk without taking any
    assert "has more than 64 MiB; split it" in refusal(path)
    monkeypatch.setattr(set_definition, "MAX_FILE_BYTES", 2**20)
    assert len(read_set_file(write(tmp_path, "b.txt", b"x" * 2**20))[0].terms[0]) == 2**20
    assert "has more than 1 MiB" in refusal(write(tmp_path, "b.txt", b"x" * (2**20 + 1)))


def test_an_unreadable_file_says_why(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "apple")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert "Permission denied" in refusal(path)


def test_two_files_with_a_set_of_one_name_are_refused(tmp_path: Path) -> None:
    one = read_set_file(write(tmp_path, "one.txt", "x"))
    two = read_set_file(write(tmp_path, "two.gmt", "one\tb\tc"))
    with pytest.raises(TokenSetError, match=r"two token sets are named 'one' \(in one.txt and two.gmt\)"):
        check_distinct_names([*one, *two])


FILE_BYTES = st.one_of(
    st.binary(max_size=200),
    st.text(alphabet="[]{}=.,'\"#\\\n\t abcsetskindterms\u00e9\u2028", max_size=200).map(lambda text: text.encode()),
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=FILE_BYTES, ending=st.sampled_from([".toml", ".gmt", ".txt"]))
@example(content=b"a\tb\tc", ending=".gmt")
def test_any_bytes_are_sets_or_a_fault_of_one_line(content: bytes, ending: str, tmp_path: Path) -> None:
    assert_sets_or_one_line(write(tmp_path, f"a{ending}", content))


def assert_sets_or_one_line(path: Path) -> None:
    try:
        found = read_set_file(path)
    except FeatdexError as fault:
        found, lines = [], str(fault).split("\n")
    else:
        lines = ["no fault"]
        assert found
    assert len(lines) == 1
    assert all(isinstance(definition, SetDefinition) for definition in found)
    assert all(definition.terms or definition.pattern or definition.query for definition in found)


SCALARS = st.one_of(
    st.sampled_from(["'given'", "'any'", "'leading'", "'list'", "'regex'", "'sql'", "'file'", "'raw'", "'x'", "''"]),
    st.sampled_from(["1", "1.5", "true", "nan", "1979-05-27", "[]", "{}", "['x', 'y']", "[['x']]", "{a = 1}"]),
)
WORD_KEYS = ["name", "description", "source", "licence", "version", "casing", "space", "multi_token", "on", "odd-key"]
KEYS = st.sampled_from(["kind", "terms", "pattern", "path", "query", *WORD_KEYS])
TABLES = st.dictionaries(KEYS, SCALARS, max_size=5)
NAMES = st.sampled_from(["a", "B-1", "'a b'", "'a.b'", "a.b", "''", "kind"])


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(head=TABLES, sets=st.dictionaries(NAMES, TABLES, max_size=3))
def test_any_keys_and_types_are_sets_or_a_fault_of_one_line(
    head: dict[str, str], sets: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    tables = {"collection": head} | {f"sets.{name}": table for name, table in sets.items()}
    content = "\n".join(
        line for name, table in tables.items() for line in [f"[{name}]", *(f"{k} = {v}" for k, v in table.items())]
    )
    assert_sets_or_one_line(write(tmp_path, "a.toml", content))


def toml_of(terms: list[str]) -> str:
    return f"[sets.a]\nterms = [{', '.join(map(repr, terms))}]\n"


FORMATS: dict[str, Any] = {
    ".toml": toml_of,
    ".gmt": lambda terms: "a\tb\t" + "\t".join(terms),
    ".txt": lambda terms: "\n".join(terms),
}


@pytest.mark.parametrize("ending", FORMATS)
def test_the_formats_agree_on_terms(ending: str, tmp_path: Path) -> None:
    draw = random.Random(0)
    terms = ["".join(draw.choices("abcXYZ,.", k=draw.randint(1, 4))) for _ in range(2000)]
    (found,) = read_set_file(write(tmp_path, f"a{ending}", FORMATS[ending](terms)))
    assert list(found.terms) == sorted(set(terms), key=terms.index)
