"""What a folder of SAEs holds: the SAE itself in one of the layouts read here, or subfolders with one each."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float32

from ..catalogue.errors import NotFoundError, WeightsError
from .loading import one_line
from .pickles import PICKLE_SUFFIXES, pickled_tensors, refused

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae_weights.safetensors"
_DENSITY_FILES = ("sparsity.safetensors", "log_feature_sparsity.safetensors")
_DENSITY_TENSORS = ("sparsity", "log_feature_sparsity")
_NOT_WEIGHTS = ("trainer_state", "optimizer", "scheduler", "activations_store")
"""How the pickles begin that trainers leave beside the weights."""

_MAX_DEPTH = 4

Loaded = tuple[dict[str, Any], dict[str, torch.Tensor]]
Converter = Callable[..., Loaded]
"""What sae_lens takes as the reader of a folder: (path, device, cfg_overrides) to configuration and tensors."""


class SaeFolder(NamedTuple):
    """A folder with an SAE in it; `converter` reads it, None where sae_lens' own reader does."""

    path: Path
    converter: Converter | None


def is_sae_folder(folder: Path) -> bool:
    """Whether there is an SAE right in `folder`, pickled or not."""
    return (folder / CONFIG_FILE).is_file() and ((folder / WEIGHTS_FILE).is_file() or bool(_pickles(folder)))


def sae_subfolders(folder: Path) -> list[Path]:
    """Return the folders below `folder`, up to four levels down, that have an SAE in them; links are not followed."""
    found = []
    for parent, children, _ in os.walk(folder):
        here = Path(parent)
        depth = len(here.relative_to(folder).parts)
        children[:] = sorted(name for name in children if not name.startswith(".")) if depth < _MAX_DEPTH else []
        if depth and is_sae_folder(here):
            found.append(here)
    return sorted(found)


def require_sae_folder(folder: Path, allow_pickle: bool) -> SaeFolder:
    """Return what to read the SAE in `folder` with.

    Raises:
        NotFoundError: No such folder.
        WeightsError: A file, no SAE in it, several below it, or a pickle that was not allowed.
    """
    if not folder.exists():
        raise NotFoundError(f"no such folder: {folder}")
    if not folder.is_dir():
        raise WeightsError(f"{folder} is a file; give the folder of an SAE, with {CONFIG_FILE} and {WEIGHTS_FILE}")
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (folder / name).is_file()]
    if not missing:
        return SaeFolder(folder, None)
    pickles = _pickles(folder)
    if pickles and not allow_pickle:
        raise refused(f"{folder} holds a pickle checkpoint ({pickles[0].name})")
    if len(pickles) == 1 and missing == [WEIGHTS_FILE]:
        return SaeFolder(folder, _pickled_converter(pickles[0]))
    below = [] if pickles else sae_subfolders(folder)
    if below:
        names = ", ".join(str(path.relative_to(folder)) for path in below[:3])
        raise WeightsError(
            f"{folder} holds {len(below)} SAEs ({names}{', …' if len(below) > 3 else ''}); name one of these folders"
        )
    several = f" and {len(pickles)} pickles to choose from" if len(pickles) > 1 else ""
    raise WeightsError(f"{folder} is no sae_lens SAE: it has no {' and no '.join(missing)}{several}")


def _pickles(folder: Path) -> list[Path]:
    return sorted(
        file
        for file in folder.iterdir()
        if file.suffix.lower() in PICKLE_SUFFIXES and not file.name.startswith(_NOT_WEIGHTS) and file.is_file()
    )


def _pickled_converter(file: Path) -> Converter:
    def convert(path: str | Path, device: str = "cpu", cfg_overrides: dict[str, Any] | None = None) -> Loaded:
        from sae_lens.loading.pretrained_sae_loaders import get_sae_lens_config_from_disk

        return get_sae_lens_config_from_disk(path, device, cfg_overrides), pickled_tensors(file, allow_pickle=True)

    return convert


def stored_log10_density(folder: Path) -> Float32[np.ndarray, "d_sae"] | None:
    """Return log10 of how often each feature fires, where the folder tells; None where it doesn't.

    Raises:
        WeightsError: The file is damaged, or holds something else.
    """
    path = next((folder / name for name in _DENSITY_FILES if (folder / name).is_file()), None)
    if path is None:
        return None
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"can't read {path}: {one_line(error)}") from error
    name = next((name for name in _DENSITY_TENSORS if name in stored), None)
    if name is None:
        raise WeightsError(f"{path} has no tensor 'sparsity' (log10 of how often each feature fires)")
    values: Float32[np.ndarray, "d_sae"] = stored[name].float().reshape(-1).numpy()
    return values
