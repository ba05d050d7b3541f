"""The random catalogue of the report's benchmark at a tiny size, and the table of its results."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from featdex.catalogue.catalogue import connect
from featdex.catalogue.report import write_report
from featdex.catalogue.report_plan import Options, make_plan

BENCH = Path(__file__).resolve().parent.parent / "bench"


def test_a_random_catalogue_has_rows_for_all_and_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    import_module("report_catalogue").make_catalogue(tmp_path / "random.duckdb", 2, 30, 3)
    with connect(tmp_path / "random.duckdb") as catalogue:
        ((n_pairs, n_tokens, least, most),) = catalogue.sql(
            "SELECT (SELECT count(*) FROM enrichment WHERE z IS NOT NULL), (SELECT count(*) FROM feature_token),"
            " (SELECT min(log10_q) FROM enrichment), (SELECT max(log10_q) FROM enrichment)"
        ).fetchall()
        plan = make_plan(catalogue, Options())
        written = write_report(catalogue, tmp_path / "out", plan)
    assert (n_pairs, n_tokens) == (2 * 30 * 3, 2 * 30 * 40)
    assert least <= most <= 0
    assert plan.n_features == 60
    assert written.n_bytes > 100_000


def test_the_results_are_told_in_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH))
    opened = {"first_table_ms": 812.0, "tokens_ms": 900.0, "plot_ms": 950.0, "longest_task_ms": 61.0}
    results: dict[str, Any] = {
        "report": {"features": 60, "sets": 3, "mb": 1.0, "files": 9, "estimated_mb": 2.0}
        | {"seconds": 3.0, "catalogue_mb": 4.0},
        "page": {"opened": [opened], "best": opened},
        "load_average_at_end": 0.5,
    }
    results["page"]["actions"] = [{"action": "sort", "ms": 71.2, "longest_task_ms": 0.0, "cpu_ms": 43.9}]
    text = import_module("report").text_of(results)
    assert "first table after 812 ms" in text
    assert "sort    71                 0       44" in text
