"""One way to name a language model: a `.gguf` file, a Hugging Face folder, or a name on the hub."""

from __future__ import annotations

import re

from ..catalogue.errors import NotFoundError
from ..catalogue.given_path import given_path
from .inputs import LanguageModel
from .model_gguf import read_gguf
from .model_hub import read_hub

_HUB_NAME = re.compile(r"[\w.-]*\w(/[\w.-]*\w)?")


def read_model(spec: str, name: str | None = None, *, allow_pickle: bool = False) -> LanguageModel:
    """Read the language model that `spec` names; `name` overrides what it is called in the catalogue.

    An existing folder or file wins over a hub name; `~` is the home folder. `allow_pickle` lets torch read the tensors
    of a Hugging Face model that comes without safetensors.

    Raises:
        NotFoundError: no such file, folder or hub model.
        WeightsError: it is there, but no usable language model.
    """
    path = given_path(spec)
    if spec and path.is_dir():
        return read_hub(path, name, allow_pickle=allow_pickle)
    if path.is_file():
        return read_gguf(path, name)
    if _looks_like_path(spec):
        raise NotFoundError(f"no such file: {spec}")
    return read_hub(spec, name, allow_pickle=allow_pickle)


def _looks_like_path(spec: str) -> bool:
    starts_like_path = spec.startswith((".", "/", "~"))
    return starts_like_path or spec.lower().endswith(".gguf") or _HUB_NAME.fullmatch(spec) is None
