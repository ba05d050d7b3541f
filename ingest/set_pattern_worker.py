"""The process that matches the patterns of set files; `set_patterns` starts it and ends it.

Some patterns crash the engine (`(?:|a){1000000}`), ask for all memory (`(?:a(?:b(?:c{1000}){1000}){1000})`) or never
end (`(a+)+b`). In a process of its own, all that a pattern can bring down is this process. It imports nothing of
featdex: it has to start fast.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from typing import Any, TextIO

import regex

MAX_MEMORY_BYTES = 2**30


def limit_memory() -> None:
    """Have the operating system refuse this process more memory, and a dump of it after a crash, where it can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):  # Windows; a system that does not limit this
        return


def matching_positions(pattern: str, texts: Sequence[str]) -> dict[str, Any]:
    """Return the positions of the texts that match as a whole under `positions`, or one line under `fault`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later version may read otherwise
            matches = regex.compile(pattern).fullmatch
        return {"positions": [position for position, text in enumerate(texts) if matches(text)]}
    except regex.error as fault:
        where = "" if fault.pos is None else f" at character {fault.pos + 1}"
        return {"fault": f"is no pattern: {fault.msg}{where}; put it right"}
    except MemoryError:
        return {"fault": "takes too much memory; make it simpler"}
    except RecursionError:
        return {"fault": "nests too deeply; make it simpler"}
    except Exception as fault:
        return {"fault": f"is no pattern: {' '.join(str(fault).split()) or type(fault).__name__}; put it right"}


def answer(request: TextIO, replies: TextIO) -> None:
    """Answer a request, one line of JSON for each of its patterns, in order and at once, up to the first with a fault.

    The request is `{"texts": {name: [text, ...]}, "patterns": [[pattern, name of its texts], ...]}`.
    """
    asked = json.load(request)
    for pattern, texts_name in asked["patterns"]:
        reply = matching_positions(pattern, asked["texts"][texts_name])
        print(json.dumps(reply), file=replies, flush=True)
        if "fault" in reply:
            return


if __name__ == "__main__":
    limit_memory()
    answer(sys.stdin, sys.stdout)
