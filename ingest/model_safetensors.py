"""Single tensors of a checkpoint, in float32, without loading the rest of it.

A safetensors file tells in its header where each tensor lies, and the index of a checkpoint in shards which file holds
it, so that one matrix costs its own bytes. Older checkpoints are pickles (`.bin`), which can run code when they are
loaded: they are refused unless the user allows them, and even then only tensors come out of them.
"""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float32

from ..catalogue.errors import FeatdexError, WeightsError
from .loading import one_line
from .model_files import FolderFiles, ModelFiles, require_beside
from .pickles import refused

_SAFETENSORS, _SAFETENSORS_INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLE, _PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"

_SAFETENSORS_FLOATS = {"F64", "F32", "F16", "BF16"}
_TORCH_FLOATS = {torch.float64, torch.float32, torch.float16, torch.bfloat16}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a checkpoint, still on disk: its shape, and a way to read some rows of it."""

    name: str
    shape: tuple[int, ...]
    read: Callable[[int, int], torch.Tensor]
    source: str

    def rows(self, start: int, stop: int) -> Float32[torch.Tensor, "..."]:
        """Return the rows from `start` up to, not including, `stop`, in float32; `WeightsError` where it can't."""
        with _reading(self.source, self.name):
            return self.read(start, stop).to(torch.float32)

    def whole(self) -> Float32[torch.Tensor, "..."]:
        """Return all of the tensor, as `rows` does."""
        return self.rows(0, self.shape[0] if self.shape else 1)


class Checkpoint:
    """The tensors of one model by name; files are fetched and opened when a tensor in them is asked for.

    `tensor in checkpoint` tells whether it has one of that name.
    """

    def __init__(self, files: ModelFiles, main_file: Path) -> None:
        self._files = files
        self._main_file = main_file
        with _reading(files.source, main_file.name):
            self._file_of: Mapping[str, str] = _tensor_files(main_file)

    def __contains__(self, tensor: object) -> bool:
        return tensor in self._file_of

    def stored(self, name: str) -> StoredTensor:
        """Return the tensor called `name`, not read yet.

        Raises:
            WeightsError: no such tensor, one that holds no plain floating-point numbers (a quantised model), or a
                file that is missing or damaged.
        """
        if name not in self:
            raise WeightsError(f"the model {self._files.source} has no tensor {name}; is it quantised or incomplete?")
        path = self._fetch(self._file_of[name])
        with _reading(self._files.source, path.name):
            return _from_file(name, path, self._files.source)

    def tensor(self, name: str) -> Float32[torch.Tensor, "..."]:
        """Return the whole tensor called `name` in float32; raises as `stored` does."""
        return self.stored(name).whole()

    def _fetch(self, file: str) -> Path:
        try:
            path = self._files.find(file)
        except OSError as error:
            raise WeightsError(
                f"can't get {file} of the model {self._files.source} ({one_line(error)}); check the network and "
                "HF_HUB_OFFLINE"
            ) from error
        if path is None:
            raise WeightsError(
                f"{self._files.source} is no complete Hugging Face model: {self._main_file.name} names {file}, which "
                "is not there; download it again"
            )
        return path


def open_checkpoint(files: ModelFiles, *, allow_pickle: bool) -> Checkpoint | None:
    """Return the checkpoint among a model's files; None for a folder that has none under a name known here.

    Raises:
        WeightsError: damaged, or only a pickle, which `allow_pickle` did not allow.
        OSError: the hub can't be reached.
    """
    # A folder may keep the index of shards that somebody has merged; on the hub shards save what is not needed.
    names = (_SAFETENSORS, _SAFETENSORS_INDEX)
    try:
        main_file = files.find(*(names if isinstance(files, FolderFiles) else reversed(names)))
    except OSError:  # No telling, offline; but a pickle may be cached.
        if _pickle_in(files) is None:
            raise
        main_file = None
    main_file = main_file or _allowed_pickle(files, allow_pickle)
    return None if main_file is None else Checkpoint(files, main_file)


def _pickle_in(files: ModelFiles) -> str | None:
    return next((name for name in (_PICKLE_INDEX, _PICKLE) if files.has(name)), None)


def _allowed_pickle(files: ModelFiles, allow_pickle: bool) -> Path | None:
    name = _pickle_in(files)
    if not allow_pickle and (name or not isinstance(files, FolderFiles)):
        held = f"{name.removesuffix('.index.json')}, a pickle" if name else "perhaps pickles"
        raise refused(f"the model {files.source} has no {_SAFETENSORS} but {held}")
    return files.find(name) if name else None


def _tensor_files(main_file: Path) -> dict[str, str]:
    """Return {tensor: file} of an index or of a single file."""
    if main_file.suffix != ".json":
        return dict.fromkeys(_tensor_names(main_file), main_file.name)
    index = json.loads(main_file.read_text(encoding="utf-8"))
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(weight_map, dict):
        raise WeightsError(f"{main_file} has no weight_map; the index is damaged, download it again")
    suffix = Path(main_file.stem.removesuffix(".index")).suffix
    return {tensor: require_beside(main_file, file, suffix) for tensor, file in weight_map.items()}


def _tensor_names(path: Path) -> list[str]:
    if path.suffix == ".bin":
        return list(_unpickled(path))
    from safetensors import safe_open

    with safe_open(path, framework="pt", device="cpu") as file:
        return list(file.keys())


def _from_file(name: str, path: Path, source: str) -> StoredTensor:
    if path.suffix == ".bin":
        tensor = _unpickled(path)[name]
        _require_floats(tensor.dtype in _TORCH_FLOATS, name, str(tensor.dtype), path)
        # A copy: the tensor itself is a window on the file.
        return StoredTensor(name, tuple(tensor.shape), lambda start, stop: _some_rows(tensor, start, stop), source)
    from safetensors import safe_open

    file: Any = safe_open(path, framework="pt", device="cpu")
    part = file.get_slice(name)
    _require_floats(part.get_dtype() in _SAFETENSORS_FLOATS, name, part.get_dtype(), path)
    shape = tuple(part.get_shape())
    if not shape:
        return StoredTensor(name, shape, lambda _start, _stop: file.get_tensor(name), source)
    return StoredTensor(name, shape, lambda start, stop: part[start:stop], source)


def _some_rows(tensor: torch.Tensor, start: int, stop: int) -> torch.Tensor:
    return tensor[start:stop].clone() if tensor.ndim else tensor.clone()


def _require_floats(are_floats: bool, name: str, dtype: str, path: Path) -> None:
    if not are_floats:
        raise WeightsError(f"{path}: {name} is of type {dtype}, as in quantised models; give a model in 16 or 32 bits")


def _unpickled(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a pickle; whatever else is in it makes torch refuse it."""
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except RuntimeError:  # files older than torch 1.6 can't be mapped
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(tensors, dict):
        raise WeightsError(f"{path} holds no tensors by name; it is no checkpoint of a model")
    return {name: tensor for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor)}


@contextlib.contextmanager
def _reading(source: str, file: str) -> Iterator[None]:
    """Turn what the libraries raise on a damaged file into one line."""
    from safetensors import SafetensorError

    try:
        yield
    except FeatdexError:
        raise
    except pickle.UnpicklingError as error:
        raise WeightsError(f"can't read the model {source}: {file} is a pickle with more than tensors in it") from error
    except (SafetensorError, OSError, ValueError, RuntimeError, EOFError, KeyError) as error:
        raise WeightsError(f"can't read the model {source}: {file}: {one_line(error)}; download it again") from error
