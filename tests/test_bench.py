"""The benchmarks at a tiny size, with the engines that the tests have anyway: what they measure must not rot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import duckdb
import numpy as np
import pytest
from featdex.catalogue.doctor import examine
from featdex.catalogue.file import open_reader

BENCH = Path(__file__).resolve().parent.parent / "bench"


class Benchmarks:
    """The modules of bench/, which is no package: its scripts import each other from their own folder."""

    workload: ModuleType
    adapters: ModuleType
    measure: ModuleType
    engines: ModuleType
    growth: ModuleType
    job: ModuleType
    questions: ModuleType
    questions_catalogue: ModuleType


@pytest.fixture(scope="module")
def bench() -> Iterator[Benchmarks]:
    modules = Benchmarks()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        for name in Benchmarks.__annotations__:
            setattr(modules, name, import_module(name))
        yield modules


@pytest.fixture
def small(bench: Benchmarks, tmp_path: Path) -> Path:
    """A folder with the inputs of the measuring processes."""
    work = bench.workload.make_workload(n_features=40, n_tokens=600, n_sets=6, d_model=16)
    bench.engines.write_inputs(tmp_path, work, 8)
    return tmp_path


def test_a_workload_is_the_same_again_and_half_of_its_sets_are_coherent(bench: Benchmarks) -> None:
    first, second = (bench.workload.make_workload(64, 5000, 20, 32) for _ in range(2))
    assert np.array_equal(first.W_U, second.W_U)
    assert np.array_equal(first.W_dec, second.W_dec)
    assert [len(ids) for ids in first.sets] == bench.workload.set_sizes(20, 5000)
    assert all(np.array_equal(one, other) for one, other in zip(first.sets, second.sets, strict=True))
    contrasts = np.array([first.W_U[:, ids].mean(1) for ids in first.sets])
    # The mean of n independent tokens has a norm near the square root of 1/n; tokens of a cluster keep theirs.
    excess = np.linalg.norm(contrasts, axis=1) * np.sqrt([len(ids) for ids in first.sets])
    assert np.median(excess[::2]) > 2 * np.median(excess[1::2])


@pytest.mark.parametrize("name", ["featdex", "featdex, all columns", "featdex, weight 1", "scipy ks_2samp"])
def test_an_installed_engine_agrees_with_featdex(bench: Benchmarks, small: Path, name: str) -> None:
    engine = next(engine for engine in bench.adapters.ENGINES if engine.name == name)
    logits, sets = np.load(small / "logits.npy")[:3], bench.engines.read_workload(small).sets
    record, scores = bench.adapters.measure_engine(engine, logits, sets, 1)
    references = {weight: bench.adapters.reference_scores(logits, sets, weight) for weight in (0.0, 1.0)}
    assert scores.shape == (len(sets), len(logits))
    assert bench.engines.agreement(engine, scores, references) < 1e-12
    assert record["repeats"] == engine.repeats
    assert record["cpu_seconds"] > 0
    assert record["wall_seconds_best"] <= record["wall_seconds"]


def test_a_missing_engine_is_reported(bench: Benchmarks, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = bench.adapters.ENGINES[0]._replace(name="absent", module="no_such_module", package="no-such-package")
    monkeypatch.setattr(bench.engines, "ENGINES", (absent,))
    [record] = bench.engines.compare_engines(small, 1)
    assert record["status"] == "not installed"
    assert record["version"] is None
    table = bench.engines.engine_table([record])
    assert "not installed" in table


def test_an_engine_that_breaks_is_reported(bench: Benchmarks, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(_: Path, task: dict[str, object], threads: int, patience: object) -> object:
        raise RuntimeError(f"{task['folder']}: out of memory")

    monkeypatch.setattr(bench.engines, "run_task", breaks)
    monkeypatch.setattr(bench.engines, "ENGINES", bench.adapters.ENGINES[:1])
    [record] = bench.engines.compare_engines(small, 1)
    assert record["status"] == "failed"
    assert record["error"] == "FOLDER: out of memory"


def test_a_measuring_process_answers_with_its_record_and_leaves_its_scores(bench: Benchmarks, small: Path) -> None:
    task = {"do": "engine", "engine": 0, "folder": str(small), "features": 4}
    record = bench.measure.run_task(bench.engines.SCRIPT, task, 1)
    assert record["cpu_seconds"] > 0
    assert {"other_cores", "load_average"} <= set(record)
    assert np.load(small / "scores.npy").shape == (6, 4)


def test_a_measuring_process_that_fails_says_why(bench: Benchmarks, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"status 1.*sets\.npz"):
        bench.measure.run_task(bench.engines.SCRIPT, {"do": "sorts", "folder": str(tmp_path)}, 1)


def test_the_whole_step_is_compared_with_its_limit(
    bench: Benchmarks, small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_this_process(_: Path, task: dict[str, object], threads: int, patience: object) -> object:
        return bench.engines.do_task(task | {"threads": threads}) | {"other_cores": 0.0}

    monkeypatch.setattr(bench.engines, "run_task", in_this_process)
    monkeypatch.setattr(bench.engines.torch, "set_num_threads", lambda _: None)
    job = bench.engines.measure_job(small, 1, 40, 10)
    assert {"numpy", "torch", "featdex"} <= set(job["sorts"])
    assert job["limit_sort"] in {"numpy", "torch"}
    assert job["times_limit_wall"] > 0
    assert job["whole"]["results_bytes"] > job["whole_without_null"]["results_bytes"] > 0
    assert "whole step, 10 null directions" in bench.engines.job_table([job])
    goals = bench.engines.targets([], [job])
    assert goals["whole_step_over_limit_all_cores"]["measured"] == job["times_limit_wall"]


def test_growth_measures_a_point(bench: Benchmarks, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_this_process(_: Path, task: dict[str, object], threads: int, patience: object) -> object:
        return bench.growth.do_task(task | {"threads": threads}) | {"other_cores": 0.0}

    monkeypatch.setattr(bench.growth, "run_task", in_this_process)
    monkeypatch.setattr(bench.growth.torch, "set_num_threads", lambda _: None)
    points = {"F": [bench.growth.Point(features, 300, 3, d_model=8) for features in (20, 40)]}
    results, text = bench.growth.run_growth(points)
    assert [record["features"] for record in results["points"]] == [20, 40]
    assert results["points"][1]["results_bytes"] > results["points"][0]["results_bytes"]
    assert "weights MiB" in text


def test_every_question_is_timed_on_a_whole_catalogue(bench: Benchmarks, tmp_path: Path) -> None:
    size = bench.questions_catalogue.Size(saes=9, features=600, sets=100, tokens=1200)
    path = tmp_path / "questions.duckdb"
    results, text = bench.questions.run_questions(size, path, 1)
    n_rows = {record["question"]: record["n_rows"] for record in results["questions"]}
    # What it times finds something: an empty answer is quick.
    assert [question for question, n in n_rows.items() if not n and "topic" not in question] == []
    assert bench.questions.HEADLINE in n_rows
    assert "others" in text
    with duckdb.connect(str(path), read_only=True) as connection:
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM enrichment), (SELECT count(*) FROM feature_token), (FROM (SELECT"
            " avg((kurtosis > 10)::INTEGER) FROM feature))"
        ).fetchall()
        assert counts[0][:2] == (9 * 600 * 100, 9 * 600 * 40)
        assert 0.05 < counts[0][2] < 0.3
    connection = open_reader(path)
    orders = [finding for finding in examine(connection) if finding.check.startswith("order of ")]
    connection.close()
    assert [finding.detail for finding in orders if not finding.ok] == []


def test_results_name_no_machine_and_are_json(bench: Benchmarks, tmp_path: Path) -> None:
    facts = bench.measure.machine()
    assert facts["cores"] >= 1
    assert {"cpu", "memory_gib", "versions"} <= set(facts)
    bench.measure.save(tmp_path / "new" / "results.json", {"machine": facts}, "a table\n")
    assert json.loads((tmp_path / "new" / "results.json").read_text())["machine"] == facts
    assert (tmp_path / "new" / "results.txt").read_text() == "a table\n"


def test_a_table_shows_three_digits(bench: Benchmarks) -> None:
    text = bench.measure.table("title", ("name", "value"), [("a", 12.3456), ("bb", 1e-8), ("c", None), ("d", 12_345)])
    assert [line.split() for line in text.splitlines()[3:]] == [
        ["a", "12.3"],
        ["bb", "1.0e-08"],
        ["c", "-"],
        ["d", "12,345"],
    ]
