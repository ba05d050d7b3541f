"""Language models from Hugging Face folders and hub names.

Of the common families only the tensors that are needed are read; other architectures go through TransformerLens.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import runpy
from pathlib import Path
from typing import Any

import torch

from ..catalogue.errors import FeatdexError, NotFoundError, WeightsError
from .inputs import LanguageModel
from .loading import guarded_loading, one_line
from .model_families import FAMILIES, layout_of
from .model_files import CONFIG, FolderFiles, HubFiles, ModelFiles
from .model_safetensors import open_checkpoint
from .sae_directory import neuronpedia_model

_LAYER_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_MOST_LAYERS = 10_000


def read_hub(name_or_folder: str | Path, name: str | None = None, *, allow_pickle: bool = False) -> LanguageModel:
    """Read a language model from a Hugging Face folder, the hub's cache, or the hub, in float32 on the CPU.

    A hub name may be one of TransformerLens' short names (`gpt2-small`, `gemma-2-2b`), which SAE releases use.
    `name` is by default the last part of what was asked for, lower-case. Padded rows beyond the tokenizer are cut, and
    tokens beyond the unembedding too (Gemma 3's tokenizer has one token more than its text models).
    Of a model on the hub only the files are fetched that hold what is read. `mlp_out` and `attn_out` read (and fetch)
    their layer when they are asked for it, as stored: not centred over d_model, as `center_writing_weights` would.
    A checkpoint that has only pickles is refused unless `allow_pickle`; then torch reads the tensors in it and refuses
    anything else.

    Raises:
        NotFoundError: no such model in the cache or, online, on the hub; or no leave to read it.
        WeightsError: a folder or checkpoint that can't be read, a pickle, or a model without a logit lens.
    """
    source = str(name_or_folder)
    is_folder = Path(source).is_dir()
    if is_folder and not (Path(source) / CONFIG).is_file():
        raise WeightsError(f"the folder {source} has no {CONFIG}; give the folder of a Hugging Face model")
    name = name or (Path(source).resolve().name if is_folder else source.rsplit("/", 1)[-1]).lower()
    try:
        with guarded_loading(), torch.no_grad():
            if is_folder:
                return _read(FolderFiles(Path(source)), source, name, allow_pickle=allow_pickle)
            return _read_from_hub(source, name, allow_pickle=allow_pickle)
    except FeatdexError:
        raise
    except OSError as error:  # transformers' and the hub's word for missing, gated and offline alike
        raise _not_found(source, is_folder, error) from error
    except Exception as error:  # Any architecture's own code runs in there.
        raise WeightsError(f"can't read the model {source}: {one_line(error)}") from error


def _not_found(source: str, is_folder: bool, error: OSError) -> FeatdexError:
    if is_folder:
        return WeightsError(f"the folder {source} is no complete Hugging Face model: {one_line(error)}")
    return NotFoundError(
        f"can't get the model {source!r} from the Hugging Face hub or its cache ({one_line(error)}); check the name, "
        "the network and HF_HUB_OFFLINE, or give a local folder or .gguf file"
    )


def _read_from_hub(source: str, name: str, *, allow_pickle: bool) -> LanguageModel:
    official, all_names = _official_name(source)
    files = HubFiles(official, source)
    return dataclasses.replace(
        _read(files, official, name, allow_pickle=allow_pickle),
        hf_repo=official,
        hf_revision=files.revision,
        neuronpedia_model=neuronpedia_model(all_names),
    )


def _read(files: ModelFiles, spec: str, name: str, *, allow_pickle: bool) -> LanguageModel:
    config = _config(files)
    family = FAMILIES.get(str(config.get("model_type")))
    checkpoint = open_checkpoint(files, allow_pickle=allow_pickle)
    layout = layout_of(family, checkpoint) if family and checkpoint else None
    if checkpoint is None or layout is None:
        from .model_bridge import read_through_bridge

        return read_through_bridge(spec, files.source, name)
    from .model_stored import read_stored

    return read_stored(files, checkpoint, layout, name)


def _config(files: ModelFiles) -> dict[str, Any]:
    """Return what config.json says, or raise `WeightsError` where no library should get to read it."""
    config = json.loads((files.folder / CONFIG).read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise WeightsError(f"{CONFIG} of the model {files.source} is no object; download it again")
    for part in (config, *config.values()):
        for key in _LAYER_COUNTS if isinstance(part, dict) else ():
            count = part.get(key, 0)
            # transformers makes a list of the layers, or of their names, before anybody looks at it.
            if isinstance(count, int | float) and not count <= _MOST_LAYERS:
                raise WeightsError(
                    f"{CONFIG} of the model {files.source} has {key} above {_MOST_LAYERS:,}; download it again"
                )
    return config


def _official_name(source: str) -> tuple[str, set[str]]:
    """Return the hub's name of a model that TransformerLens has a short name for, and all names of that model."""
    aliases = _transformer_lens_aliases()
    official = next((hub_name for hub_name, short in aliases.items() if source in short), source)
    # `openai-community/gpt2` is the `gpt2` of the table: owners of a repository change, its own name stays.
    repository = official.rsplit("/", 1)[-1]
    short_names = [short for hub_name, short in aliases.items() if hub_name.rsplit("/", 1)[-1] == repository]
    return official, {source, official}.union(*short_names)


def _transformer_lens_aliases() -> dict[str, list[str]]:
    """Return TransformerLens' {hub name: short names}, from the file of the package that holds nothing else.

    Importing the package takes ten seconds.
    """
    package = importlib.util.find_spec("transformer_lens")
    folders = (package.submodule_search_locations if package else None) or []
    table = next((path for folder in folders if (path := Path(folder) / "supported_models.py").is_file()), None)
    if table is None:
        raise NotFoundError("TransformerLens is not installed; pip install 'featdex[ingest]'")
    aliases: dict[str, list[str]] = runpy.run_path(str(table))["MODEL_ALIASES"]
    return aliases
