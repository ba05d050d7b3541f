"""The readers that are fuzzed: for each a maker of inputs and a function that reads one as an ingest does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from fuzz_formats import (
    gguf_bytes,
    gguf_tree,
    npy_bytes,
    npy_tree,
    safetensors_bytes,
    safetensors_tree,
    zip_bytes,
)
from fuzz_guard import Guard
from fuzz_mutate import as_json, mutations, text_mutations
from fuzz_seeds import (
    D_MODEL,
    DIRECTORY,
    GMT,
    HOOKS,
    LAYERS,
    LINES,
    MEMORY,
    MORE_TOML,
    ODD_TOML,
    RELEASES,
    TIKTOKEN,
    TOML,
)


class Parser(NamedTuple):
    """A reader: `make` an input from a random generator, `read` it, and `judge` what came back (see `judged`)."""

    make: Callable[[Random], bytes]
    read: Callable[[bytes], object]
    judge: Callable[[object, str], str] = lambda _returned, _printed: ""


def toml_file(folder: Path, _guard: Guard) -> Parser:
    """Set files in TOML, their lists resolved on a vocabulary too."""
    from featdex.ingest.set_file import read_set_file
    from featdex.ingest.set_resolve import resolve_sets

    (folder / "spices.txt").write_text("cumin\nstar anise\n")
    path, vocabulary = folder / "mine.toml", _vocabulary()

    def read(data: bytes) -> object:
        path.write_bytes(data)
        definitions = read_set_file(path)
        lists = [found for found in definitions if found.kind == "list"]
        return resolve_sets(lists, vocabulary, keep_unusable=True)

    return Parser(text_mutations((TOML, MORE_TOML, MORE_TOML, ODD_TOML)), read)


def _set_file(name: str, seeds: tuple[bytes, ...]) -> Callable[[Path, Guard], Parser]:
    def make(folder: Path, _guard: Guard) -> Parser:
        from featdex.ingest.set_file import read_set_file

        path = folder / name
        return Parser(text_mutations(seeds), lambda data: (path.write_bytes(data), read_set_file(path)))

    return make


def gguf_file(folder: Path, _guard: Guard) -> Parser:
    """Language models in GGUF: metadata, tokenizer, tensors, and the output matrices of a layer."""
    from featdex.ingest.model_gguf import read_gguf

    path = folder / "model.gguf"
    seeds = (gguf_tree(), gguf_tree("llama", "gemma2"), gguf_tree("bert", "gpt2", layer_norm=True))

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return _all_of(read_gguf(path))

    return Parser(mutations(seeds, gguf_bytes), read)


def _all_of(model: Any) -> object:
    return model.mlp_out(0), model.attn_out(0)


def _directions(name: str, make: Callable[[Random], bytes]) -> Callable[[Path, Guard], Parser]:
    def parser(folder: Path, _guard: Guard) -> Parser:
        from featdex.ingest.directions_file import read_directions

        path, model = folder / name, small_model()
        return Parser(make, lambda data: (path.write_bytes(data), read_directions(path, model, layer=1)))

    return parser


_ARRAYS = (npy_tree([3, 4]), npy_tree([4], "<f8", 2), npy_tree([2, 4], "|O", 3), npy_tree([8, 4], ">f2"))
_npy_inputs = mutations(_ARRAYS, npy_bytes)
_TENSORS = (
    safetensors_tree({"probe": [4], "steer.mean": [3, 4], "probe.bias": [1]}, {"format": "pt"}),
    safetensors_tree({"W_dec": [8, 4]}),
)
_NAMES = (b"happy\nsad\nangry\n", b'["happy", "sad", "angry"]', "\ufeffa\r\nb\r\nc\r\n".encode())


def _npz_inputs(rng: Random) -> bytes:
    members = {
        rng.choice(("a.npy", "b", "W_dec.npy", "\x1b.npy", "")): _npy_inputs(rng) for _ in range(rng.randrange(1, 4))
    }
    data = zip_bytes(members, rng, compress=rng.random() < 0.5)
    if rng.random() < 0.3:
        at = rng.randrange(len(data))
        data = data[:at] + rng.randbytes(2) + data[at + rng.choice((0, 2, 50)) :]
    return data


def direction_names(folder: Path, _guard: Guard) -> Parser:
    """Names in the file beside an array of directions: a line each, or a JSON list."""
    from featdex.ingest.directions_file import read_directions

    path, model = folder / "named.npy", small_model()
    path.write_bytes(npy_bytes(npy_tree([3, 4]), Random(0)))

    def read(data: bytes) -> object:
        beside = path.with_suffix(".json" if data.lstrip().startswith(b"[") else ".txt")
        beside.write_bytes(data)
        try:
            return read_directions(path, model)
        finally:
            beside.unlink()

    return Parser(text_mutations(_NAMES), read)


def release_directory(folder: Path, _guard: Guard) -> Parser:
    """The directory of releases that sae_lens ships."""
    from featdex.ingest.sae_directory import parse_directory

    path = folder / "pretrained.yaml"

    def read(data: bytes) -> object:
        path.write_bytes(data)
        return [sae.layer for release in parse_directory(path).values() for sae in release.saes]

    return Parser(text_mutations((DIRECTORY,)), read)


def release_choice(_folder: Path, _guard: Guard) -> Parser:
    """What a user types for releases, SAEs and layers, against sae_lens' directory."""
    import huggingface_hub.constants as hub
    from featdex.ingest.jobs import model_of, parse_layers
    from featdex.ingest.release_choice import chosen_saes

    def read(data: bytes) -> object:
        source, sae, layers = [*data.decode("utf-8", "surrogateescape").split("\n"), "", ""][:3]
        before, hub.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE, True
        try:
            model_of(source)
            return chosen_saes(source, sae or None, parse_layers(layers) if layers else None)
        finally:
            hub.HF_HUB_OFFLINE = before

    return Parser(text_mutations(RELEASES), read)


def _words(seeds: tuple[bytes, ...], module: str, function: str) -> Callable[[Path, Guard], Parser]:
    def make(_folder: Path, _guard: Guard) -> Parser:
        from importlib import import_module

        read = getattr(import_module(module), function)
        return Parser(text_mutations(seeds), lambda data: read(data.decode("utf-8", "surrogateescape")))

    return make


def hook_names(_folder: Path, _guard: Guard) -> Parser:
    """Hooks as configurations spell them, and the way from there to the residual stream."""
    import json

    import torch
    from featdex.ingest.sae_mapping import place_of, to_residual

    model = small_model()

    def read(data: bytes) -> object:
        try:
            pair = json.loads(data)
        except (ValueError, RecursionError):
            pair = data.decode("utf-8", "surrogateescape")
        hook, head = [*(pair if isinstance(pair, list) else [pair]), None, None][:2]
        return to_residual(torch.ones(2, D_MODEL), place_of(hook, head), model, hook)

    return Parser(mutations(HOOKS, as_json), read)


def tiktoken_file(folder: Path, _guard: Guard) -> Parser:
    """Vocabularies in tiktoken's format."""
    from featdex.ingest.vocabulary import read_tiktoken_ranks

    path = folder / "ranks.tiktoken"
    return Parser(text_mutations((TIKTOKEN,)), lambda data: (path.write_bytes(data), read_tiktoken_ranks(path)))


def _vocabulary() -> Any:
    from featdex.ingest.vocabulary import vocabulary_from_raw

    return vocabulary_from_raw(["<s>", "apple", "Ġapple", "Ġpear", "a", "Ġb", "B", "Ã"], "byte_level", [0])


def small_model() -> Any:
    """Return a model of four dimensions and eight tokens."""
    import torch
    from featdex.ingest.inputs import LanguageModel, Recipe

    matrix = torch.ones(D_MODEL, D_MODEL)
    return LanguageModel(
        name="tiny",
        n_layers=4,
        W_U=torch.zeros(D_MODEL, 8),
        vocabulary=_vocabulary(),
        recipe=Recipe(fold_ln=True, center_d_model=False, center_unembed=True),
        mlp_out=lambda layer: matrix,
        attn_out=lambda layer: matrix,
    )


SMALL_PARSERS: Mapping[str, tuple[int, Callable[[Path, Guard], Parser]]] = {
    "set file .toml": (130, toml_file),
    "set file .gmt": (110, _set_file("mine.gmt", GMT)),
    "set file .txt": (20, _set_file("mine.txt", LINES)),
    "GGUF header": (80, gguf_file),
    "directions .npy": (20, _directions("probes.npy", _npy_inputs)),
    "directions .npz": (10, _directions("probes.npz", _npz_inputs)),
    "directions .safetensors": (20, _directions("probes.safetensors", mutations(_TENSORS, safetensors_bytes))),
    "names of directions": (10, direction_names),
    "directory of releases": (10, release_directory),
    "choice of releases": (2, release_choice),
    "hook names": (15, hook_names),
    "layers": (10, _words(LAYERS, "featdex.ingest.jobs", "parse_layers")),
    "memory": (10, _words(MEMORY, "featdex.ingest.choices", "parse_memory")),
    "tiktoken ranks": (5, tiktoken_file),
}
"""{name: (share of all inputs, maker)}: the readers that need no other library's loader."""
