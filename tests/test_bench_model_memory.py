"""The benchmark of reading a model's unembedding, at a tiny size: what it measures must not rot."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"


@pytest.fixture
def model_memory(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script, which is in no package, with its measurements in this process."""
    monkeypatch.syspath_prepend(str(BENCH))
    script = import_module("model_memory")

    def in_this_process(_: Path, task: dict[str, object], threads: int, patience: object) -> object:
        return script.do_task(task | {"threads": threads}) | {"other_cores": 0.0}

    monkeypatch.setattr(script, "run_task", in_this_process)
    monkeypatch.setattr(script.torch, "set_num_threads", lambda _: None)
    return script


def test_every_way_is_measured_and_both_of_featdex_agree(model_memory: ModuleType) -> None:
    sizes = argparse.Namespace(layers=2, d_model=64, tokens=300, repeats=1, patience=0)
    results, text = model_memory.run_benchmark(sizes)
    assert [record["way"] for record in results["ways"]] == list(model_memory.WAYS)
    first, *others = results["ways"]
    assert (first["times_seconds"], first["way"]) == (1, model_memory.ONLY_UNEMBEDDING)
    assert all(record["cpu_seconds"] > 0 for record in others)
    assert results["max_difference"] < 1e-6
    assert results["settings"]["weights_bytes"] > 2 * 12 * 2 * 64**2  # two layers in two bytes a weight
    assert results["targets"]["times_seconds"]["measured"] == min(record["times_seconds"] for record in others[1:])
    assert "others" in text
