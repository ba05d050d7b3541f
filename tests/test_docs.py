"""What the docs say of the library of token sets is so."""

from __future__ import annotations

import json
import lzma
import re
from pathlib import Path

from featdex.ingest.inputs import TokenSet
from featdex.ingest.set_file import read_set_file
from featdex.ingest.set_resolve import resolve_sets
from featdex.ingest.token_sets import builtin_collections, core_names
from featdex.ingest.vocabulary import vocabulary_from_raw

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "token_sets.md").read_text(encoding="utf-8")
TOKENS = json.loads(lzma.decompress((ROOT / "tests" / "data" / "gpt2_vocab.json.xz").read_bytes()))["tokens"]
GPT2 = vocabulary_from_raw(TOKENS, "byte_level", [len(TOKENS) - 1])


def test_the_table_has_every_collection_with_its_size_and_licence(gpt2_library: list[TokenSet]) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|.*\| ([^|]+) \|$", PAGE, re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(builtin_collections())
    for name, size, licences in rows:
        sets = [found for found in gpt2_library if found.collection == name]
        assert len(sets) == int(size.replace(",", ""))
        assert {found.licence for found in sets} == set(licences.split(", "))


def test_the_totals_are_those_of_the_library(gpt2_library: list[TokenSet]) -> None:
    core = core_names()
    assert f"{sum(found.name in core for found in gpt2_library)} of these sets on GPT-2" in PAGE
    assert f"({len(gpt2_library):,} sets)" in PAGE
    assert len(gpt2_library) >= 500
    published = next(found for found in gpt2_library if found.name == "bloom_starts_with_space")
    assert f"has {len(published.token_ids):,}\n" in PAGE


def test_the_example_file_works(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "kitchen.toml").write_text(example, encoding="utf-8")
    (tmp_path / "spices.txt").write_text("# spices\npepper\nginger\n", encoding="utf-8")
    sets = {found.name: found for found in resolve_sets(read_set_file(tmp_path / "kitchen.toml"), GPT2)}
    assert {" apple", "apple", " lemon", " Pear"} <= {GPT2.text[k] for k in sets["fruits"].token_ids}
    assert sets["fruits"].dropped == (("dragon fruit", "no single token"),)
    assert {" ginger", " pepper"} <= {GPT2.text[k] for k in sets["spices"].token_ids}
    assert {len(GPT2.text[k]) > 15 for k in sets["longest"].token_ids} == {True}
    assert all(re.fullmatch(" ?[0-9a-f]{2,}", GPT2.text[k]) for k in sets["hex"].token_ids)
