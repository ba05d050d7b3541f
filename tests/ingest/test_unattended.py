"""An ingest of many dictionaries that nobody watches: one loads while another is computed, a fault costs only one."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import torch
from featdex.catalogue.errors import (
    CatalogueError,
    FeatdexError,
    LockedError,
    NotFoundError,
    QueryError,
    WeightsError,
)
from featdex.catalogue.write import write_sae
from featdex.ingest import pipeline, sinks
from featdex.ingest.device import Options
from featdex.ingest.faults import is_of_one_dictionary
from featdex.ingest.inputs import FeatureDictionary, LanguageModel, Recipe, TokenSet
from featdex.ingest.pipeline import Job, Outcome, ingest
from featdex.ingest.rows import computed_rows
from featdex.ingest.vocabulary import vocabulary_from_raw

D_MODEL, N_TOKENS, SECONDS = 8, 60, 20.0


def no_neurons(layer: int) -> torch.Tensor:
    raise WeightsError(f"no neurons at {layer}")


def make_model() -> LanguageModel:
    raw = ["<|end|>"] + [("Ġ" if i % 2 else "") + f"w{i}" for i in range(1, N_TOKENS)]
    W_U = torch.randn(D_MODEL, N_TOKENS, generator=torch.Generator().manual_seed(0))
    recipe = Recipe(fold_ln=True, center_d_model=False, center_unembed=True)
    return LanguageModel("tiny", 4, W_U, vocabulary_from_raw(raw, "byte_level", [0]), recipe, no_neurons)


def make_dictionary(layer: int) -> FeatureDictionary:
    W_dec = torch.randn(20, D_MODEL, generator=torch.Generator().manual_seed(layer))
    slug = f"tiny/{layer}-res"
    return FeatureDictionary("sae", "made", slug, slug, layer, None, "other", "identity", None, D_MODEL, W_dec)


def make_set() -> TokenSet:
    ids = np.arange(5, 25, dtype=np.int32)
    return TokenSet("one", "made", "list", "some", "some tokens", "test", ids)


class Told:
    """A reporter that keeps the lines, and calls back when a block of features is done."""

    def __init__(self, on_advance: Callable[[str], None] = lambda _: None) -> None:
        self.lines: list[str] = []
        self._on_advance, self._slug = on_advance, ""

    def start(self, label: str, position: int, n_jobs: int) -> None: ...

    def loaded(self, slug: str, n_features: int) -> None:
        self._slug = slug

    def advance(self, n_features: int) -> None:
        self._on_advance(self._slug)

    def finish(self, slug: str, line: str) -> None:
        self.lines.append(line)


def run(path: Path, jobs: list[Job], reporter: Told | None = None, **more: Any) -> Outcome:
    options = Options(device="cpu", directions=0, threads=1)
    told = reporter or Told()
    more.setdefault("narrate", lambda _: None)
    return ingest(path, make_model(), jobs, [make_set()], options=options, reporter=told, **more)


def made(layer: int) -> Job:
    return Job(f"made {layer}", lambda: make_dictionary(layer))


def broken(fault: FeatdexError) -> Job:
    def load() -> FeatureDictionary:
        raise fault

    return Job("broken", load)


def slugs(path: Path) -> list[str]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return [slug for (slug,) in connection.execute("SELECT slug FROM sae ORDER BY sae_id").fetchall()]


@pytest.fixture(autouse=True)
def _ctrl_c() -> Iterator[None]:
    """Take SIGINT as Python does by default, also where the tests run with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiny.duckdb"


def test_the_next_one_loads_while_one_is_computed_and_only_the_next(path: Path) -> None:
    started = [threading.Event() for _ in range(3)]
    computing = threading.Event()
    in_time: list[bool] = []

    def load(layer: int) -> Callable[[], FeatureDictionary]:
        def loader() -> FeatureDictionary:
            started[layer].set()
            if layer == 1:
                # Ends only when the one before is seen at work.
                in_time.append(computing.wait(SECONDS))
            return make_dictionary(layer)

        return loader

    def advance(slug: str) -> None:
        if slug == "tiny/0-res":
            in_time.append(started[1].wait(SECONDS))
            assert not started[2].is_set()
            computing.set()

    jobs = [Job(f"made {layer}", load(layer)) for layer in range(3)]
    assert run(path, jobs, Told(advance)) == Outcome(3, 0)
    assert in_time == [True, True]
    assert slugs(path) == ["tiny/0-res", "tiny/1-res", "tiny/2-res"]


def test_two_decoders_are_held_at_most(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[torch.Tensor]] = []
    most: list[int] = []
    held = threading.Event()

    def load(layer: int) -> Callable[[], FeatureDictionary]:
        def loader() -> FeatureDictionary:
            dictionary = make_dictionary(layer)
            alive.append(weakref.ref(dictionary.W_dec))
            most.append(sum(ref() is not None for ref in alive))
            if layer == 2:
                held.set()
            return dictionary

        return loader

    def slow_write(*arguments: Any, **more: Any) -> int:
        # The first is still being written while the second is computed and the third loads.
        held.wait(SECONDS)
        return write_sae(*arguments, **more)

    monkeypatch.setattr(sinks, "write_sae", slow_write)
    run(path, [Job(f"made {layer}", load(layer)) for layer in range(5)])
    assert held.is_set()
    assert len(most) == 5
    assert max(most) == 2


@pytest.mark.parametrize("fault", [WeightsError("W_dec has NaN"), NotFoundError("not in the cache")])
def test_one_that_fails_is_told_and_skipped(path: Path, fault: FeatdexError) -> None:
    told = Told()
    assert run(path, [made(0), broken(fault), made(2)], told) == Outcome(2, 0, 1)
    assert [line for line in told.lines if "failed" in line] == [f"broken: failed, skipped: {fault}"]
    assert slugs(path) == ["tiny/0-res", "tiny/2-res"]
    assert run(path, [made(0), made(1), made(2)]) == Outcome(1, 2)


def test_the_first_may_fail_and_the_last(path: Path) -> None:
    jobs = [broken(WeightsError("NaN")), made(1), broken(WeightsError("inf"))]
    assert run(path, jobs) == Outcome(1, 0, 2)


def test_one_that_fails_to_compute_is_skipped(path: Path) -> None:
    def load() -> FeatureDictionary:
        dictionary = make_dictionary(1)
        dictionary.W_dec[3] *= 3e38
        return dictionary

    told = Told()
    assert run(path, [made(0), Job("wild", load), made(2)], told) == Outcome(2, 0, 1)
    assert any(line.startswith("wild: failed, skipped: ") for line in told.lines)


def test_one_without_enough_memory_is_skipped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hungry(work: Any, task: Any, *more: Any) -> Any:
        if task.dictionary.slug == "tiny/1-res":
            torch.empty(1 << 60)
        return computed_rows(work, task, *more)

    monkeypatch.setattr(pipeline, "computed_rows", hungry)
    told = Told()
    assert run(path, [made(0), made(1), made(2)], told) == Outcome(2, 0, 1)
    assert [line for line in told.lines if "--memory" in line] != []


def test_two_of_the_same_name_do_not_replace_each_other(path: Path) -> None:
    told = Told()
    assert run(path, [made(0), Job("other", lambda: make_dictionary(0))], told) == Outcome(1, 0, 1)
    assert "made 0" in told.lines[0]
    assert "--slug" in told.lines[0]


def test_fail_fast_ends_at_the_first_fault_and_names_it(path: Path) -> None:
    with pytest.raises(WeightsError, match=r"^broken: W_dec has NaN$"):
        run(path, [made(0), broken(WeightsError("W_dec has NaN")), made(2)], fail_fast=True)
    assert slugs(path) == ["tiny/0-res"]


def test_a_single_one_that_fails_is_the_fault_itself(path: Path) -> None:
    fault = WeightsError("W_dec has NaN")
    with pytest.raises(WeightsError) as caught:
        run(path, [broken(fault)])
    assert caught.value is fault


@pytest.mark.parametrize(
    "fault",
    [
        LockedError("held by process 7"),
        CatalogueError("the catalogue holds another model"),
        FeatdexError("cannot write a temporary file: No space left on device"),
    ],
)
def test_what_the_others_would_meet_too_ends_the_ingest(
    path: Path, monkeypatch: pytest.MonkeyPatch, fault: FeatdexError
) -> None:
    loads: list[int] = []

    def load(layer: int) -> Callable[[], FeatureDictionary]:
        def loader() -> FeatureDictionary:
            loads.append(layer)
            return make_dictionary(layer)

        return loader

    def fails(*_: Any, **__: Any) -> int:
        raise fault

    monkeypatch.setattr(sinks, "write_sae", fails)
    with pytest.raises(type(fault)) as caught:
        run(path, [Job(f"made {layer}", load(layer)) for layer in range(6)])
    assert caught.value is fault
    assert len(loads) <= 3


def test_a_full_disk_is_nobodys_own_fault() -> None:
    def caused(fault: FeatdexError, cause: BaseException) -> FeatdexError:
        fault.__cause__ = cause
        return fault

    assert is_of_one_dictionary(WeightsError("NaN"))
    assert is_of_one_dictionary(caused(QueryError("twice"), duckdb.ConstraintException("twice")))
    assert not is_of_one_dictionary(caused(QueryError("write"), duckdb.IOException("No space left on device")))
    assert not is_of_one_dictionary(caused(NotFoundError("hub"), OSError(28, "No space left on device")))


def test_a_write_that_fails_is_that_dictionarys_fault(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_once(where: Any, rows: Any, **more: Any) -> int:
        if rows.sae["slug"] == "tiny/1-res":
            raise duckdb.ConstraintException("Constraint Error: twice")
        return write_sae(where, rows, **more)

    monkeypatch.setattr(sinks, "write_sae", fails_once)
    told = Told()
    assert run(path, [made(0), made(1), made(2)], told) == Outcome(2, 0, 1)
    assert [line for line in told.lines if "failed" in line] == ["tiny/1-res: failed, skipped: twice"]
    assert slugs(path) == ["tiny/0-res", "tiny/2-res"]


def interrupt(slug: str) -> Callable[[str], None]:
    def advance(now: str) -> None:
        if now == slug:
            signal.raise_signal(signal.SIGINT)

    return advance


def test_ctrl_c_loses_only_the_one_in_work(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted = threading.Event()

    def late_write(where: Any, rows: Any, **more: Any) -> int:
        if rows.sae["slug"] == "tiny/1-res":
            assert interrupted.wait(SECONDS)
        return write_sae(where, rows, **more)

    def narrate(line: str) -> None:
        narrated.append(line)
        interrupted.set()

    narrated: list[str] = []
    monkeypatch.setattr(sinks, "write_sae", late_write)
    told = Told(interrupt("tiny/2-res"))
    with pytest.raises(KeyboardInterrupt):
        run(path, [made(layer) for layer in range(5)], told, narrate=narrate)
    assert slugs(path) == ["tiny/0-res", "tiny/1-res"]
    assert narrated == [
        "interrupted: tiny/1-res is being written; Ctrl-C again leaves at once",
        "interrupted: 2 written; the same command goes on from there",
    ]
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert run(path, [made(layer) for layer in range(5)]) == Outcome(3, 2)


def test_ctrl_c_during_the_last_write_lets_it_finish(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted = threading.Event()

    def late_write(where: Any, rows: Any, **more: Any) -> int:
        if rows.sae["slug"] == "tiny/1-res":
            os.kill(os.getpid(), signal.SIGINT)
            assert interrupted.wait(SECONDS)
        return write_sae(where, rows, **more)

    monkeypatch.setattr(sinks, "write_sae", late_write)
    with pytest.raises(KeyboardInterrupt):
        run(path, [made(0), made(1)], narrate=lambda _: interrupted.set())
    assert slugs(path) == ["tiny/0-res", "tiny/1-res"]


def test_ctrl_c_ends_the_loader_too(path: Path) -> None:
    loading = threading.Event()

    def endless() -> FeatureDictionary:
        loading.set()
        while True:
            time.sleep(0.01)

    def advance(_: str) -> None:
        assert loading.wait(SECONDS)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(path, [made(0), Job("endless", endless)], Told(advance))
    assert [thread.name for thread in threading.enumerate() if thread.name == "loader"] == []


def test_a_second_ctrl_c_does_not_wait_for_the_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def stuck(*_: Any, **__: Any) -> int:
        released.wait(SECONDS)
        raise LockedError("held by process 7")

    def narrate(_: str) -> None:
        # The wait for the write begins right after this line.
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()

    monkeypatch.setattr(sinks, "write_sae", stuck)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(path, [made(0), made(1)], Told(interrupt("tiny/1-res")), narrate=narrate)
    assert time.monotonic() - started < SECONDS / 2
    released.set()


def test_warnings_and_stdout_are_as_before_whatever_loaders_leave_behind(path: Path) -> None:
    def careless() -> FeatureDictionary:
        warnings.simplefilter("always")
        sys.stdout = sys.stderr
        return make_dictionary(1)

    before, stdout = list(warnings.filters), sys.stdout
    assert run(path, [made(0), Job("careless", careless), made(2)]) == Outcome(3, 0)
    assert list(warnings.filters) == before
    assert sys.stdout is stdout
