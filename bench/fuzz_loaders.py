"""The readers of what sae_lens, transformers and torch load: SAE folders, Hugging Face models, pickles."""

from __future__ import annotations

import contextlib
import json
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from random import Random

from fuzz_formats import CANARY, hostile_pickles, json_seed, safetensors_bytes, safetensors_tree, zip_bytes
from fuzz_guard import Guard
from fuzz_mutate import as_json, changed_bytes, mutations
from fuzz_parsers import Parser, small_model
from fuzz_seeds import (
    D_SAE,
    GEMMA_CONFIG,
    INDEX,
    MODEL_CONFIG,
    MODEL_TENSORS,
    SAE_CONFIGS,
    SAE_WEIGHTS,
    SHARD_INDEX,
    TOKENIZER,
    TOKENIZER_CONFIG,
    sae_config_tree,
)

Maker = Callable[[Path, Guard], Parser]


def _sae_folders(folder: Path) -> dict[str, Path]:
    from featdex.ingest.loading import guarded_loading

    with guarded_loading():
        # Its import makes folders of its own, which no input is to blame for.
        import sae_lens  # noqa: F401
    folders = {}
    for name in SAE_CONFIGS:
        folders[name] = folder / name
        folders[name].mkdir(exist_ok=True)
        (folders[name] / "cfg.json").write_bytes(json_seed(sae_config_tree(name)))
        weights = safetensors_bytes(safetensors_tree(SAE_WEIGHTS[name]), Random(0))
        (folders[name] / "sae_weights.safetensors").write_bytes(weights)
    return folders


def sae_config(folder: Path, _guard: Guard) -> Parser:
    """`cfg.json` of SAE folders of six kinds, beside weights of the kind that it says."""
    from featdex.ingest.sae_sources import read_sae_folder

    folders, model = _sae_folders(folder), small_model()

    def read(data: bytes) -> object:
        name = next((name for name in SAE_CONFIGS if f'"{name}"'.encode() in data), "older")
        chosen = folders[name]
        (chosen / "cfg.json").write_bytes(data)
        return read_sae_folder(chosen, model)

    return Parser(mutations([sae_config_tree(name) for name in SAE_CONFIGS], as_json), read)


def _sae_file(file: str, make: Callable[[Random], bytes], allow_pickle: bool = False) -> Maker:
    def parser(folder: Path, _guard: Guard) -> Parser:
        from featdex.ingest.sae_sources import read_sae_folder

        chosen, model = _sae_folders(folder)["standard"], small_model()
        if allow_pickle:
            (chosen / "sae_weights.safetensors").unlink()
        return Parser(
            make,
            lambda data: ((chosen / file).write_bytes(data), read_sae_folder(chosen, model, allow_pickle=allow_pickle)),
        )

    return parser


_DENSITIES = (safetensors_tree({"sparsity": [D_SAE]}), safetensors_tree({"log_feature_sparsity": [D_SAE, 1]}))
_SAE_TENSORS = tuple(safetensors_tree(SAE_WEIGHTS[name]) for name in ("standard", "topk"))


def _pickle_inputs() -> Callable[[Random], bytes]:
    """Return a maker of torch checkpoints, new and old, changed inside their archive too; and of hostile pickles."""
    import io
    import zipfile

    import torch

    weights = {name: torch.ones(shape) for name, shape in SAE_WEIGHTS["standard"].items()}
    made = [
        weights,
        {"state_dict": weights, "step": 3},
        {"W_dec": torch.ones(8, 4), "model": None},
        [1, 2],
        torch.ones(2),
    ]
    seeds = []
    for thing in made:
        for zipped in (True, False):
            stream = io.BytesIO()
            torch.save(thing, stream, _use_new_zipfile_serialization=zipped)
            seeds.append(stream.getvalue())
    hostile = hostile_pickles()
    seeds += [*hostile, *(pickle.dumps(thing) for thing in ({"W_dec": [1.0]}, None, {"a": {1, 2}}))]

    def make(rng: Random) -> bytes:
        data = rng.choice(seeds)
        if data[:2] != b"PK" or rng.random() < 0.3:
            for _ in range(rng.randrange(4)):
                data = changed_bytes(data, seeds, rng)
            return data
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        name = rng.choice([name for name in members if name.endswith("data.pkl")] * 3 + list(members))
        members[name] = rng.choice(hostile) if rng.random() < 0.1 else changed_bytes(members[name], seeds, rng)
        return zip_bytes(members, rng)

    return make


def torch_pickle(folder: Path, guard: Guard) -> Parser:
    """Pickles whose tensors the user allowed to be read: nothing in them may run."""
    from featdex.ingest.pickles import pickled_tensors

    path = folder / "weights.pt"

    def read(data: bytes) -> object:
        path.write_bytes(data)
        try:
            return pickled_tensors(path, allow_pickle=True)
        finally:
            _require_no_canary(folder, guard)

    return Parser(_pickle_inputs(), read)


def _require_no_canary(folder: Path, guard: Guard) -> None:
    for place in (folder, Path(guard.folder), Path()):
        if (place / CANARY).exists():
            raise AssertionError("a pickle ran its code")


def _write_model(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps(MODEL_CONFIG))
    (folder / "tokenizer.json").write_text(json.dumps(TOKENIZER))
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG))
    (folder / "model.safetensors").write_bytes(safetensors_bytes(safetensors_tree(MODEL_TENSORS), Random(0)))


@contextlib.contextmanager
def _without_bridge() -> Iterator[None]:
    """Refuse what goes through TransformerLens, which builds whole models by code that is none of featdex's."""
    from featdex.catalogue.errors import WeightsError
    from featdex.ingest import model_bridge

    def refuse(*_: object) -> object:
        raise WeightsError("a model for TransformerLens, which is not fuzzed")

    whole = model_bridge.read_through_bridge
    model_bridge.read_through_bridge = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        model_bridge.read_through_bridge = whole


def _model_file(
    file: str, make: Callable[[Random], bytes], *, as_shards: bool = False, as_pickle: bool = False
) -> Maker:
    def parser(folder: Path, _guard: Guard) -> Parser:
        from featdex.ingest.model_hub import read_hub

        _write_model(folder)
        if as_shards:
            (folder / "model.safetensors").rename(folder / "model-00001.safetensors")
        if as_pickle:
            (folder / "model.safetensors").unlink()

        def read(data: bytes) -> object:
            (folder / file).write_bytes(data)
            with _without_bridge():
                model = read_hub(folder, allow_pickle=as_pickle)
                return model.mlp_out(0), model.attn_out(0)

        return Parser(make, read)

    return parser


LOADED_PARSERS: Mapping[str, tuple[int, Maker]] = {
    "SAE config": (20, sae_config),
    "SAE weights": (2, _sae_file("sae_weights.safetensors", mutations(_SAE_TENSORS, safetensors_bytes))),
    "SAE densities": (2, _sae_file("sparsity.safetensors", mutations(_DENSITIES, safetensors_bytes))),
    "pickled weights": (10, torch_pickle),
    "model config": (2, _model_file("config.json", mutations((MODEL_CONFIG, GEMMA_CONFIG), as_json))),
    "tokenizer": (2, _model_file("tokenizer.json", mutations((TOKENIZER,), as_json))),
    "tokenizer config": (1, _model_file("tokenizer_config.json", mutations((TOKENIZER_CONFIG,), as_json))),
    "checkpoint": (
        2,
        _model_file("model.safetensors", mutations((safetensors_tree(MODEL_TENSORS),), safetensors_bytes)),
    ),
    "checkpoint index": (
        1,
        _model_file("model.safetensors.index.json", mutations((SHARD_INDEX, INDEX), as_json), as_shards=True),
    ),
}
"""{name: (share of all inputs, maker)}."""
