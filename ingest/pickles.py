"""Checkpoints in Python's pickle format, which can run code: opened only where the user allows it, tensors only.

PyTorch's restricted unpickler (`weights_only=True`) builds tensors and plain containers and calls nothing else, so that
`--allow-pickle` is consent to that unpickler, never to running what a file says.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..catalogue.errors import NotFoundError, WeightsError
from .loading import one_line

PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".bin", ".pkl", ".ckpt"})
_WRAPPERS = ("state_dict", "model_state_dict", "model", "sae")
"""Keys under which trainers keep the weights, beside optimisers and counters."""


def refused(what: str) -> WeightsError:
    """Return the refusal of a pickle that nobody allowed; `what` says which it is and ends before the comma."""
    return WeightsError(
        f"{what}, which can run code; --allow-pickle reads its tensors and nothing else, or save it as safetensors"
    )


def pickled_tensors(path: Path, allow_pickle: bool) -> dict[str, torch.Tensor]:
    """Return the named tensors of a pickled checkpoint; one wrapped in `state_dict` or the like is unwrapped.

    Raises:
        NotFoundError: No such file.
        WeightsError: Not allowed, more in it than tensors, damaged, or no tensor in it.
    """
    if not allow_pickle:
        raise refused(f"{path} is a pickle")
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise NotFoundError(f"no such file: {path}") from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is a pickle with more than tensors in it, which is never opened; save its state_dict alone"
        ) from error
    except Exception as error:  # The unpickler meets whatever a damaged file makes of it.
        raise WeightsError(f"can't read {path}: {one_line(error)}") from error
    tensors = _named_tensors(loaded)
    if not tensors:
        raise WeightsError(f"{path} holds no named tensors; save a state_dict")
    return tensors


def _named_tensors(loaded: Any) -> dict[str, torch.Tensor]:
    if not isinstance(loaded, Mapping):
        return {}
    inner = next((loaded[key] for key in _WRAPPERS if isinstance(loaded.get(key), Mapping)), loaded)
    return {str(key): value.detach() for key, value in inner.items() if isinstance(value, torch.Tensor)}
