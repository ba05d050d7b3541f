"""An ingest from weights to rows: what it writes, what it skips, and that bad input changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from featdex.catalogue.catalogue import connect
from featdex.catalogue.doctor import examine
from featdex.catalogue.errors import CatalogueError, FeatdexError, TokenSetError, WeightsError
from featdex.ingest.device import Options
from featdex.ingest.inputs import FeatureDictionary, LanguageModel, Recipe, TokenSet
from featdex.ingest.pipeline import Job, Outcome, ingest
from featdex.ingest.vocabulary import vocabulary_from_raw
from scipy import stats

D_MODEL, N_TOKENS = 12, 150


def tiny_model(seed: int = 0, name: str = "tiny") -> LanguageModel:
    generator = torch.Generator().manual_seed(seed)
    raw = ["<|end|>"] + [("Ġ" if i % 2 else "") + f"tok{i}" for i in range(1, N_TOKENS)]

    def no_neurons(layer: int) -> torch.Tensor:
        raise WeightsError(f"no neurons at {layer}")

    return LanguageModel(
        name=name,
        n_layers=2,
        W_U=torch.randn(D_MODEL, N_TOKENS, generator=generator),
        vocabulary=vocabulary_from_raw(raw, "byte_level", [0]),
        recipe=Recipe(fold_ln=True, center_d_model=False, center_unembed=True),
        mlp_out=no_neurons,
    )


def tiny_dictionary(seed: int = 1, slug: str = "tiny/0-res", n_features: int = 40) -> FeatureDictionary:
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng(seed)
    return FeatureDictionary(
        kind="sae",
        release="made",
        sae_name=slug,
        slug=slug,
        layer=0,
        hook_name="blocks.0.hook_resid_post",
        site="resid_post",
        to_resid="identity",
        architecture="standard",
        d_in=D_MODEL,
        W_dec=torch.randn(n_features, D_MODEL, generator=generator),
        log10_density=np.where(np.arange(n_features) == 3, -10, rng.uniform(-4, -1, n_features)).astype(np.float32),
        b_enc=rng.standard_normal(n_features).astype(np.float32),
    )


def tiny_sets(n: int = 3, seed: int = 2) -> list[TokenSet]:
    rng = np.random.default_rng(seed)
    return [
        TokenSet(
            name=f"set{k}",
            collection="made",
            kind="list",
            definition="random",
            description="random tokens",
            source="test",
            token_ids=np.sort(rng.choice(N_TOKENS, 5 + 40 * k % 113, replace=False)).astype(np.int32),
        )
        for k in range(n)
    ]


class Lines:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def start(self, label: str, position: int, n_jobs: int) -> None: ...

    def loaded(self, slug: str, n_features: int) -> None: ...

    def advance(self, n_features: int) -> None: ...

    def finish(self, slug: str, line: str) -> None:
        self.lines.append(line)


def job(dictionary: FeatureDictionary) -> Job:
    return Job(dictionary.slug, lambda: dictionary)


def run(path: Path, model: LanguageModel, jobs: list[Job], sets: list[TokenSet], **more: Any) -> Outcome:
    options = more.pop("options", Options(device="cpu"))
    return ingest(path, model, jobs, sets, options=options, reporter=Lines(), narrate=print, **more)


def table(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with connect(path) as catalogue:
        return catalogue.sql(sql).fetchall()


def content(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    names = ("model", "token", "sae", "token_set", "token_set_member", "feature", "feature_token", "enrichment")
    return {name: table(path, f"SELECT * FROM {name} ORDER BY ALL") for name in names}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiny.duckdb"


def test_rows_agree_with_numbers_computed_from_the_weights(path: Path) -> None:
    model, dictionary, sets = tiny_model(), tiny_dictionary(), tiny_sets()
    assert run(path, model, [job(dictionary)], sets) == Outcome(written=1, current=0)
    logits = (dictionary.W_dec.double() @ model.W_U.double()).numpy()
    found = table(path, "SELECT feature, set_name, es, log10_q FROM enrichments ORDER BY set_id, feature")
    assert len(found) == 40 * 3
    for feature, name, es, _ in found[::7]:
        ids = sets[int(name[3:])].token_ids
        oracle = stats.ks_2samp(logits[feature, ids], np.delete(logits[feature], ids), method="asymp")
        assert es == pytest.approx(-oracle.statistic * oracle.statistic_sign, abs=1e-6)
    moments = table(path, "SELECT std, skewness, kurtosis, dead FROM features ORDER BY feature")
    assert [row[2] for row in moments] == pytest.approx(stats.kurtosis(logits, axis=1, fisher=False), rel=1e-5)
    assert [row[3] for row in moments] == [feature == 3 for feature in range(40)]
    best = table(path, "SELECT token FROM top_tokens WHERE feature = 5 AND rank IN (-1, 1) ORDER BY rank")
    assert best == [(model.vocabulary.text[logits[5].argmin()],), (model.vocabulary.text[logits[5].argmax()],)]


def test_the_doctor_finds_nothing(path: Path) -> None:
    with_zero = tiny_dictionary()
    with_zero.W_dec[17] = 0
    run(path, tiny_model(), [job(with_zero), job(tiny_dictionary(5, "tiny/1-res"))], tiny_sets())
    with connect(path) as catalogue:
        faults = [finding for finding in examine(catalogue.connection) if not finding.ok]
    assert faults == []


def test_a_second_run_skips_what_is_current(path: Path) -> None:
    jobs = [job(tiny_dictionary()), job(tiny_dictionary(5, "tiny/1-res"))]
    run(path, tiny_model(), jobs, tiny_sets())
    before = path.read_bytes()
    assert run(path, tiny_model(), jobs, tiny_sets()) == Outcome(written=0, current=2)
    assert run(path, tiny_model(), jobs, tiny_sets(2)) == Outcome(written=0, current=2)
    assert path.read_bytes() == before
    assert run(path, tiny_model(), jobs, tiny_sets(), force=True) == Outcome(written=2, current=0)


@pytest.mark.parametrize("change", ["weights", "sets", "null"])
def test_a_changed_input_is_computed_again(path: Path, change: str) -> None:
    run(path, tiny_model(), [job(tiny_dictionary())], tiny_sets())
    dictionary = tiny_dictionary(9) if change == "weights" else tiny_dictionary()
    sets = tiny_sets(seed=8) if change == "sets" else tiny_sets()
    options = Options(device="cpu", null="isotropic" if change == "null" else "decoder")
    assert run(path, tiny_model(), [job(dictionary)], sets, options=options).written == 1
    fresh = path.with_name("fresh.duckdb")
    run(fresh, tiny_model(), [job(dictionary)], sets, options=options)
    columns = "SELECT set_name, feature, es, z, log10_q FROM enrichments ORDER BY ALL"
    assert table(path, columns) == table(fresh, columns)
    assert len(table(path, "FROM sae")) == 1


def test_a_run_that_fails_keeps_the_dictionaries_before_it(path: Path) -> None:
    def broken() -> FeatureDictionary:
        raise WeightsError("feature 3 holds NaN")

    with pytest.raises(WeightsError, match="NaN"):
        run(path, tiny_model(), [job(tiny_dictionary()), Job("broken", broken)], tiny_sets(), fail_fast=True)
    assert table(path, "SELECT slug FROM sae") == [("tiny/0-res",)]
    again = [job(tiny_dictionary()), job(tiny_dictionary(5, "tiny/1-res"))]
    assert run(path, tiny_model(), again, tiny_sets()) == Outcome(written=1, current=1)


def changed_model() -> tuple[LanguageModel, list[Job], list[TokenSet]]:
    return tiny_model(7), [job(tiny_dictionary(4, "tiny/4-res"))], tiny_sets()


def empty_set() -> tuple[LanguageModel, list[Job], list[TokenSet]]:
    empty = replace(tiny_sets(1)[0], token_ids=np.empty(0, np.int32))
    return tiny_model(), [job(tiny_dictionary(4, "tiny/4-res"))], [empty]


def overflowing_weights() -> tuple[LanguageModel, list[Job], list[TokenSet]]:
    dictionary = tiny_dictionary(4, "tiny/4-res")
    return tiny_model(), [job(replace(dictionary, W_dec=dictionary.W_dec * 5e37))], tiny_sets()


@pytest.mark.parametrize(
    ("case", "kind", "words"),
    [
        (changed_model, CatalogueError, "other weights"),
        (empty_set, TokenSetError, "set0"),
        (overflowing_weights, WeightsError, "overflow"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    path: Path,
    case: Callable[[], tuple[LanguageModel, list[Job], list[TokenSet]]],
    kind: type[FeatdexError],
    words: str,
) -> None:
    run(path, tiny_model(), [job(tiny_dictionary())], tiny_sets())
    before = content(path)
    with pytest.raises(kind, match=words) as caught:
        run(path, *case())
    assert "\n" not in str(caught.value)
    assert content(path) == before


def test_a_changed_set_keeps_its_old_rows_under_a_versioned_name(path: Path) -> None:
    run(path, tiny_model(), [job(tiny_dictionary()), job(tiny_dictionary(5, "tiny/1-res"))], tiny_sets(1))
    run(path, tiny_model(), [job(tiny_dictionary())], tiny_sets(1, seed=3))
    names = dict(table(path, "SELECT sae, set_name FROM enrichments GROUP BY ALL"))
    assert names["tiny/0-res"] == "set0"
    assert names["tiny/1-res"].startswith("set0@")


def test_tokens_without_weights_take_no_part(path: Path) -> None:
    universe = np.ones(N_TOKENS, dtype=bool)
    universe[:7] = False
    sets = tiny_sets()
    run(path, replace(tiny_model(), has_weights=universe), [job(tiny_dictionary())], sets)
    members = table(path, "SELECT name, count(*) FROM token_set_member JOIN token_set USING (set_id) GROUP BY ALL")
    assert dict(members) == {item.name: int((item.token_ids >= 7).sum()) for item in sets}
    assert table(path, "SELECT count(*) FROM feature_token WHERE token_id < 7") == [(0,)]


EVERYTHING = "SELECT s.name, e.* EXCLUDE (set_id) FROM enrichment e JOIN token_set s USING (set_id) ORDER BY ALL"
CORRELATIONS = (
    "SELECT s.name, o.name, c.r FROM set_correlation c JOIN token_set s USING (set_id)"
    " JOIN token_set o ON o.set_id = c.other_id ORDER BY ALL"
)


def assert_close(found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> None:
    """The same rows; floats as far as products of other shapes may add up in another order."""
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        for value, wanted in zip(one, other, strict=True):
            is_float = isinstance(wanted, float)
            assert value == (pytest.approx(wanted, rel=2e-6, abs=1e-7) if is_float else wanted)


def test_sets_added_later_give_what_all_at_once_gives(path: Path) -> None:
    sets = tiny_sets(6)
    options = Options(device="cpu", directions=70, block=8)
    once = path.with_name("once.duckdb")
    run(once, tiny_model(), [job(tiny_dictionary())], sets, options=options)
    run(path, tiny_model(), [job(tiny_dictionary())], [sets[4], sets[1], sets[2]], options=options)
    features = table(path, "FROM feature"), table(path, "FROM feature_token")
    lines = Lines()
    ingest(path, tiny_model(), [job(tiny_dictionary())], sets, options=options, reporter=lines, narrate=print)
    assert "x 3 more sets" in lines.lines[-1]
    for sql in (EVERYTHING, CORRELATIONS, "SELECT * EXCLUDE (set_id) FROM set_null ORDER BY ALL"):
        assert_close(table(path, sql), table(once, sql))
    assert (table(path, "FROM feature"), table(path, "FROM feature_token")) == features
    with connect(path) as catalogue:
        assert [finding for finding in examine(catalogue.connection) if not finding.ok] == []


def test_results_that_are_there_stay_to_the_bit_but_for_q_of_all_pairs(path: Path) -> None:
    sets = tiny_sets(5)
    run(path, tiny_model(), [job(tiny_dictionary())], sets[:3])
    kept = "SELECT s.name, e.* EXCLUDE (set_id, log10_q_all) FROM enrichment e JOIN token_set s USING (set_id)"
    before = table(path, f"{kept} ORDER BY ALL")
    run(path, tiny_model(), [job(tiny_dictionary())], sets[3:])
    assert table(path, f"{kept} WHERE s.name IN ('set0', 'set1', 'set2') ORDER BY ALL") == before
    pairs = table(path, "SELECT log10_p, log10_q_all FROM enrichment")
    expected = stats.false_discovery_control([10**p for p, _ in pairs])
    assert [10**q for _, q in pairs] == pytest.approx(expected, rel=1e-5)


def test_sets_that_an_sae_has_are_computed_anew_with_its_weights(path: Path) -> None:
    sets = tiny_sets(4)
    run(path, tiny_model(), [job(tiny_dictionary())], sets)
    run(path, tiny_model(), [job(tiny_dictionary(9))], sets[:1])
    fresh = path.with_name("fresh.duckdb")
    run(fresh, tiny_model(), [job(tiny_dictionary(9))], sets)
    assert table(path, EVERYTHING) == table(fresh, EVERYTHING)


def test_a_changed_set_takes_the_place_of_its_old_version_only(path: Path) -> None:
    sets, changed = tiny_sets(3), tiny_sets(3, seed=8)
    run(path, tiny_model(), [job(tiny_dictionary())], sets)
    assert run(path, tiny_model(), [job(tiny_dictionary())], [changed[1]]).written == 1
    fresh = path.with_name("fresh.duckdb")
    run(fresh, tiny_model(), [job(tiny_dictionary())], [sets[0], changed[1], sets[2]])
    columns = "SELECT set_name, feature, es, z, log10_q, log10_q_all FROM enrichments ORDER BY ALL"
    assert_close(table(path, columns), table(fresh, columns))
    assert table(path, "SELECT count(*) FROM token_set") == [(3,)]


def test_nothing_is_left_beside_the_catalogue(path: Path) -> None:
    run(path, tiny_model(), [job(tiny_dictionary())], tiny_sets())
    assert [file.name for file in path.parent.iterdir()] == [path.name]
