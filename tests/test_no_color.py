"""NO_COLOR: no colours on a terminal, from the progress bar or from any verb."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

import pytest

COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")
PROGRESS = """
from featdex.ingest.progress import IngestProgress
with IngestProgress(print) as progress:
    progress.start('one', 1, 2)
    progress.loaded('one', 100)
    progress.advance(50)
    progress.finish('one', 'one is done')
"""
HELP = "from featdex.catalogue.cli import run; run(['--help']); run(['nope'])"


@pytest.fixture
def python_on_terminal(on_terminal: Callable[..., bytes]) -> Callable[..., bytes]:
    """What some Python prints on a pseudo-terminal that knows colours."""

    def call(code: str, **variables: str) -> bytes:
        inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
        environment = inherited | {"TERM": "xterm-256color", "COLUMNS": "120"} | variables
        return on_terminal([sys.executable, "-c", code], environment)

    return call


def test_the_progress_bar_has_colours_unless_told_otherwise(python_on_terminal: Callable[..., bytes]) -> None:
    assert COLOUR.search(python_on_terminal(PROGRESS))
    plain = python_on_terminal(PROGRESS, NO_COLOR="1")
    assert b"one is done" in plain
    assert not COLOUR.search(plain)


def test_verbs_have_no_colours(python_on_terminal: Callable[..., bytes]) -> None:
    printed = python_on_terminal(HELP, NO_COLOR="1")
    assert b"Usage: featdex" in printed
    assert b"No such command" in printed
    assert not COLOUR.search(printed)
