"""The wheel: one import package with its data, and no top-level name that belongs to others."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("featdex-*.whl"))) as wheel:
        return wheel.namelist()


def test_the_only_top_level_package_is_featdex(names: list[str]) -> None:
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"featdex"}


@pytest.mark.parametrize(
    "path",
    [
        "py.typed",
        "queries/questions/enriched_for.sql",
        "queries/views/features.sql",
        "ingest/data/us_names.csv",
        "ingest/data/core_sets.txt",
        "ingest/data/sets/grammar.toml",
        "ingest/data/bloom2024_words.json",
        "ingest/data/demo_sae/sae_weights.safetensors",
        "ingest/data/LICENSES.md",
        "catalogue/report_page/index.html",
        "catalogue/report_page/js/main.js",
        "catalogue/report_page/vendor/uPlot.iife.min.js",
        "catalogue/report_page/vendor/LICENSES.md",
    ],
)
def test_data_and_queries_are_in_it(names: list[str], path: str) -> None:
    assert f"featdex/{path}" in names


def test_tests_and_caches_are_not(names: list[str]) -> None:
    assert not [name for name in names if "tests/" in name or "__pycache__" in name or name.endswith(".nbi")]


@pytest.mark.parametrize("folder", ["catalogue", "ingest", "queries", "tests"])
def test_folders_are_no_packages_of_their_own(folder: str) -> None:
    # A top-level package `catalogue` would break spaCy in the same environment.
    assert not list((ROOT / folder).rglob("__init__.py"))
