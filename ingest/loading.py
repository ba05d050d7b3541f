"""Guarded calls into other people's loaders.

sae_lens, TransformerLens and transformers print, warn, draw progress bars and raise whatever they meet; a reader of
weights owes its user either arrays or one line.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

_LOADER_ENVIRONMENT = {
    # torch < 2.6 unpickles any object by default; tensors are all that a loader needs.
    "TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1",
    # TransformerLens runs `pip install torchvision` where a multimodal model's processor can't be made. Reading
    # weights installs nothing: both installers find no index, and TransformerLens then does without.
    "PIP_NO_INDEX": "1",
    "PIP_QUIET": "3",
    "UV_OFFLINE": "1",
    # transformers would ask the hub to convert a model that is only there as a pickle.
    "DISABLE_SAFETENSORS_CONVERSION": "1",
}
_MAX_REASON = 200
_TERMINAL_STYLE = re.compile(r"\x1b\[[0-9;]*m")


@contextlib.contextmanager
def guarded_loading() -> Iterator[None]:
    """Run other libraries' loaders quietly, with stdout kept for data and nothing installed or unpickled.

    Download bars of the hub stay: they go to stderr, and a user who waits for gigabytes wants them.
    """
    saved = {key: os.environ.get(key) for key in _LOADER_ENVIRONMENT}
    os.environ.update(_LOADER_ENVIRONMENT)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr), _quiet_transformers():
            # They advise on running the model (deprecated arguments, better attention kernels); we only read weights.
            warnings.simplefilter("ignore")
            yield
    except BaseException as error:
        # A library in Rust (tokenizers) that panics raises what is no Exception, so that nobody would catch it.
        if type(error).__name__ == "PanicException":
            raise RuntimeError(f"a library gave up on it: {error}") from error
        raise
    finally:
        for key, value in saved.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    from transformers.utils import logging as untyped

    logging: Any = untyped
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def one_line(error: BaseException) -> str:
    """Return an error's message as one line: its first, with the next one where that is only a heading."""
    if isinstance(error, KeyError):  # str() of one is the bare key
        return f"missing or unknown: {error}"
    lines = [line.strip() for line in _TERMINAL_STYLE.sub("", str(error)).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    if reason.endswith(":") and len(lines) > 1:
        reason = f"{reason} {lines[1]}"
    return reason if len(reason) <= _MAX_REASON else reason[: _MAX_REASON - 1] + "…"
