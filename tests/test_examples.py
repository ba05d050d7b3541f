"""The examples of help pages whose verbs need weights, run on the demo; tests/catalogue/test_cli.py runs the others."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from featdex.catalogue.cli import app
from featdex.docs.blocks import run
from featdex.ingest.demo import demo_gguf


def example_of(verb: str) -> str:
    group: Any = typer.main.get_command(app)
    (found,) = re.findall(r"Example:\s+(.*)", group.get_command(typer.Context(group), verb).epilog)
    return str(found)


@pytest.mark.parametrize(
    ("verb", "more"),
    # The demo itself is made by its example; ingest shows its plan, for the rest is what the demo does.
    [("spot-check", ""), ("ingest", " --dry-run"), ("demo", None)],
)
def test_an_example_that_needs_weights_runs(verb: str, more: str | None, demo_folder: Path, tmp_path: Path) -> None:
    if more is None:
        assert example_of(verb) == "featdex --db demo.duckdb demo"
        return
    shutil.copy(demo_folder / "demo.duckdb", tmp_path / "demo.duckdb")
    (tmp_path / "smollm2.gguf").symlink_to(demo_gguf())
    done = run(example_of(verb) + more, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout
