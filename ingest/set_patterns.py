"""From the patterns of a set file to token ids, whatever the patterns do.

A pattern has to match the whole text of a token; special tokens and unused ids never match. The syntax is that of the
module `regex`, which knows all of Python's `re` and Unicode properties (`\\p{Greek}`) besides. Patterns are matched in
a process of their own (`set_pattern_worker`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..catalogue.errors import TokenSetError
from .inputs import Vocabulary
from .set_definition import SetDefinition

PATTERN_SECONDS = 20.0
"""All patterns of a file together may take so long: half a second is much for a good pattern on 256,000 tokens."""

MAX_PATTERN_LENGTH = 10_000

_WORKER = Path(__file__).with_name("set_pattern_worker.py")


def pattern_ids(
    definitions: Sequence[SetDefinition], vocabulary: Vocabulary, seconds: float = PATTERN_SECONDS
) -> list[list[int]]:
    """Return the ids of the tokens that each pattern matches, ascending.

    Raises TokenSetError, which names the set, for a pattern that is none, crashes, takes too much memory, or is not
    done when all have taken `seconds`.
    """
    for definition in definitions:
        if len(definition.pattern) > MAX_PATTERN_LENGTH:
            raise TokenSetError(
                f"token set {definition.name!r}: its pattern has {len(definition.pattern):,} characters, the most is "
                f"{MAX_PATTERN_LENGTH:,}; make it a list of terms"
            )
    ordinary = [i for i in np.flatnonzero(~vocabulary.is_special).tolist() if vocabulary.text[i]]
    spellings = {"text": vocabulary.text, "raw": vocabulary.raw}
    request = json.dumps(
        {
            "texts": {on: [spellings[on][i] for i in ordinary] for on in {found.on for found in definitions}},
            "patterns": [[found.pattern, found.on] for found in definitions],
        }
    )
    replies, fault = _replies(request, seconds)
    for definition, reply in zip(definitions, replies, strict=False):
        if "fault" in reply:
            raise TokenSetError(f"token set {definition.name!r}: its pattern {reply['fault']}")
    if len(replies) < len(definitions):
        raise TokenSetError(f"token set {definitions[len(replies)].name!r}: its pattern {fault}; make it simpler")
    return [[ordinary[position] for position in reply["positions"]] for reply in replies]


def _replies(request: str, seconds: float) -> tuple[list[dict[str, Any]], str]:
    """Return the replies that came in time, and why no more of them did."""
    fault = "crashes the engine"
    # -P: this folder is no place to import from. The path is handed on for those who changed it in the process.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-P", str(_WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        encoding="ascii",
    ) as process:
        try:
            answers, _ = process.communicate(request, timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            fault = f"is not done after the {seconds:g} s that all patterns of a file may take"
            answers, _ = process.communicate()
        except BaseException:
            process.kill()
            raise
    # A line without its end was cut off.
    return [json.loads(line) for line in answers.splitlines(keepends=True) if line.endswith("\n")], fault
