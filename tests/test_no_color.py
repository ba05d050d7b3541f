"""NO_COLOR: no colours on a terminal, from the progress bar or from any verb."""

from __future__ import annotations

import os
import re
import subprocess
import sys

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


def on_terminal(code: str, **variables: str) -> bytes:
    """What some Python prints on a pseudo-terminal that knows colours."""
    import pty

    leader, follower = pty.openpty()
    inherited = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environment = inherited | {"TERM": "xterm-256color", "COLUMNS": "120"} | variables
    with subprocess.Popen([sys.executable, "-c", code], stdout=follower, stderr=follower, env=environment):
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


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")
def test_the_progress_bar_has_colours_unless_told_otherwise() -> None:
    assert COLOUR.search(on_terminal(PROGRESS))
    plain = on_terminal(PROGRESS, NO_COLOR="1")
    assert b"one is done" in plain
    assert not COLOUR.search(plain)


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a Unix thing")
def test_verbs_have_no_colours() -> None:
    printed = on_terminal(HELP, NO_COLOR="1")
    assert b"Usage: featdex" in printed
    assert b"No such command" in printed
    assert not COLOUR.search(printed)
