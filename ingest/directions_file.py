"""Plain directions of the residual stream from a file: probes, steering vectors, mean differences, with their names.

Anything that can be added to the residual stream has logit weights. A file holds one direction a row; what trained it
doesn't matter.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from ..catalogue.errors import NotFoundError, WeightsError
from .checks import require_finite_rows
from .inputs import AnyArray, FeatureDictionary, LanguageModel
from .loading import one_line
from .pickles import PICKLE_SUFFIXES, pickled_tensors
from .sae_mapping import IDENTITY

DIRECTION_SUFFIXES = frozenset({".safetensors", ".npy", ".npz"}) | PICKLE_SUFFIXES
_NAME_SUFFIXES = (".names.txt", ".txt", ".names.json", ".json")
_OFFSETS = ("bias", "b", "intercept")
"""Last part of the names of tensors that are no directions: a probe's offset."""

_LONGEST_NAME = 1000
Named = tuple[str, torch.Tensor]


def read_directions(
    path: str | Path,
    model: LanguageModel,
    slug: str | None = None,
    *,
    layer: int | None = None,
    allow_pickle: bool = False,
) -> FeatureDictionary:
    """Read the directions in a .safetensors, .npy or .npz file as a dictionary of kind `directions`.

    A vector [d_model] is one direction and has the name of its tensor; a matrix [n, d_model] gives `name/0`, `name/1`,
    …, the tensors in the order of their names. A .npy file holds one vector or matrix; its names, one a row, come from
    a text file (a line each) or JSON list of the same stem beside it: `probes.txt`, `probes.names.txt`, `probes.json`.
    Tensors called `bias` are a probe's offsets and left out. Rows keep their norms.

    Args:
        path: The file.
        model: The model in whose residual stream they live.
        slug: Name in the catalogue, by default `{model}/{layer}-directions-{stem}`.
        layer: Layer they belong to, if they do to one.
        allow_pickle: Read the tensors of a pickle (.pt, .pth, .bin), too.

    Raises:
        NotFoundError: No such file.
        WeightsError: Not readable, a pickle, of another width than d_model, NaN, or names that don't fit.
    """
    file = Path(path)
    if not file.is_file():
        raise NotFoundError(f"no such file: {file}")
    rows: list[torch.Tensor] = []
    names: list[str] = []
    for name, tensor in _tensors(file, allow_pickle):
        matrix = _directions(name, tensor, file, model)
        rows.append(matrix)
        names += [name] if tensor.ndim == 1 else [f"{name}/{row}" for row in range(len(matrix))]
    if not rows:
        raise WeightsError(f"{file} holds no directions; give vectors [{model.d_model}] or matrices [n, d_model]")
    W_dec = torch.cat(rows)
    given = _names_beside(file, len(W_dec)) if file.suffix.lower() == ".npy" else tuple(names)
    place = "" if layer is None else f"{layer}-"
    return FeatureDictionary(
        kind="directions",
        release=file.stem,
        sae_name=file.name,
        slug=slug or f"{model.name}/{place}directions-{file.stem}",
        layer=layer,
        hook_name=None,
        site="other",
        to_resid=IDENTITY,
        architecture=None,
        d_in=model.d_model,
        W_dec=W_dec,
        names=given,
    )


def _directions(
    name: str, tensor: torch.Tensor, file: Path, model: LanguageModel
) -> Float32[torch.Tensor, "n d_model"]:
    shape = list(tensor.shape)
    where = f"{name or 'the array'} in {file}"
    if not tensor.dtype.is_floating_point:
        raise WeightsError(
            f"{where} is of type {str(tensor.dtype).removeprefix('torch.')}; directions are real numbers"
        )
    if tensor.ndim not in (1, 2) or shape[-1] != model.d_model or 0 in shape:
        turned = "; transpose it" if tensor.ndim == 2 and shape[0] == model.d_model else ""
        raise WeightsError(
            f"{where} has shape {shape}, directions of {model.name} are vectors [{model.d_model}] or matrices "
            f"[n, {model.d_model}]{turned}"
        )
    matrix: Float32[torch.Tensor, "n d_model"] = tensor.detach().reshape(-1, model.d_model).float().contiguous()
    require_finite_rows(matrix, where, "direction")
    return matrix


def _tensors(file: Path, allow_pickle: bool) -> Iterator[Named]:
    suffix = file.suffix.lower()
    if suffix == ".safetensors":
        named = _safetensors(file)
    elif suffix in (".npy", ".npz"):
        named = _numpy_arrays(file)
    elif suffix in PICKLE_SUFFIXES:
        named = pickled_tensors(file, allow_pickle)
    else:
        raise WeightsError(f"{file} is no file of directions; give a .safetensors, .npy or .npz file")
    if {"W_dec", "W_enc"} <= named.keys():
        raise WeightsError(f"{file} holds the weights of an SAE; name the folder it is in, with its cfg.json")
    for name in sorted(named):
        if name.rsplit(".", 1)[-1] not in _OFFSETS:
            yield name, named[name]


def _safetensors(file: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except Exception as error:  # Its own errors, and whatever a dtype that torch lacks gives.
        raise WeightsError(f"can't read {file}: {one_line(error)}") from error


def _numpy_arrays(file: Path) -> dict[str, torch.Tensor]:
    try:
        with file.open("rb") as stream:
            loaded: Any = np.load(stream, allow_pickle=False)
            arrays: dict[str, Any] = {"": loaded} if isinstance(loaded, np.ndarray) else dict(loaded.items())
            # A member of an archive that is no array comes as its bytes.
            if not all(isinstance(array, np.ndarray) for array in arrays.values()):
                raise ValueError("something in it is no array; save it with numpy.savez")
            return {name: _tensor(array) for name, array in arrays.items()}
    except Exception as error:  # numpy compiles the header of an array, and zipfile meets whatever is in an archive.
        if "pickle" in str(error):  # numpy's word for anything that is no array of numbers
            raise WeightsError(
                f"{file} holds no plain array; Python objects are a pickle, which can run code and is never opened: "
                "save numbers with numpy.save"
            ) from error
        raise WeightsError(f"can't read {file}: {one_line(error)}") from error


def _tensor(array: AnyArray) -> torch.Tensor:
    # torch takes neither the other byte order nor a read-only or reversed view.
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("="), order="C"))


def _names_beside(file: Path, n_directions: int) -> tuple[str, ...] | None:
    """Return the names in the file beside a .npy file, None where there is none."""
    beside = next((path for suffix in _NAME_SUFFIXES if (path := file.with_suffix(suffix)).is_file()), None)
    if beside is None:
        return None
    try:
        text = beside.read_text(encoding="utf-8-sig")
        names = json.loads(text) if beside.suffix == ".json" else [line.strip() for line in text.split("\n")]
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"can't read the names in {beside}: {one_line(error)}") from error
    while beside.suffix != ".json" and names and not names[-1]:
        names.pop()
    if not isinstance(names, list) or not all(isinstance(name, str) and len(name) <= _LONGEST_NAME for name in names):
        raise WeightsError(f"{beside} is no list of names; write a JSON list of strings, or a name a line")
    if len(names) != n_directions:
        raise WeightsError(f"{beside} has {len(names):,} names for {n_directions:,} directions; give one a row")
    return tuple(names)
