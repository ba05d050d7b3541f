"""Writers of GGUF, safetensors, .npy and zip archives that write what they are told, be it nonsense.

The libraries' own writers refuse what a damaged or hostile file holds: counts that are wrong, types that don't fit.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import zipfile
from random import Random
from typing import Any

from fuzz_mutate import as_json

Tree = Any

_GGUF_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_ALIGNMENT = 32


def gguf_bytes(tree: Tree, rng: Random) -> bytes:
    """Write `{version, n_tensors, n_keys, keys: [[key, type, value]], tensors: [[name, dims, type, offset]], data}`.

    A value of an array is `[type, items]` or `[type, items, count]`; counts that are None are the right ones.
    """
    keys, tensors = _list(tree, "keys"), _list(tree, "tensors")
    parts = [b"GGUF", _number("I", _of(tree, "version"))]
    for count, things in ((_of(tree, "n_tensors"), tensors), (_of(tree, "n_keys"), keys)):
        parts.append(_number("Q", len(things) if count is None else count))
    for entry in keys:
        key, kind, value = _padded(entry, 3)
        parts += [_string(key), _number("I", kind), _value(kind, value)]
    for entry in tensors:
        name, dims, kind, offset = _padded(entry, 4)
        sizes = dims if isinstance(dims, list) else [dims]
        parts += [_string(name), _number("I", len(sizes)), *(_number("Q", size) for size in sizes)]
        parts += [_number("I", kind), _number("Q", offset)]
    header = b"".join(parts)
    size = _of(tree, "data")
    return header + bytes(-len(header) % _ALIGNMENT) + _noise(size if isinstance(size, int) else 0)


def _value(kind: Any, value: Any) -> bytes:
    if kind == _STRING:
        return _string(value)
    if kind == _ARRAY:
        inner, items, count = _padded(value, 3)
        items = items if isinstance(items, list) else [items]
        head = _number("I", inner) + _number("Q", len(items) if count is None else count)
        return head + b"".join(_value(inner, item) for item in items)
    return _number(_GGUF_NUMBERS.get(kind if isinstance(kind, int) else -1, "Q"), value)


def _number(form: str, value: Any) -> bytes:
    """Pack a number; one that is none or doesn't fit becomes some bytes of the right size."""
    try:
        if form in "fd?":
            return struct.pack(f"<{form}", value)
        size = struct.calcsize(form)
        return (int(value) % (1 << 8 * size)).to_bytes(size, "little")
    except (TypeError, ValueError, OverflowError, struct.error):
        return hashlib.sha256(repr(value)[:99].encode("utf-8", "replace")).digest()[: struct.calcsize(form)]


def _string(value: Any) -> bytes:
    data = (value if isinstance(value, str) else repr(value)[:99]).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(data)) + data


def _of(tree: Tree, key: str) -> Any:
    return tree.get(key) if isinstance(tree, dict) else None


def _list(tree: Tree, key: str) -> list[Any]:
    found = _of(tree, key)
    return found if isinstance(found, list) else []


def _padded(entry: Any, length: int) -> list[Any]:
    return [*(entry if isinstance(entry, list) else [entry]), *[None] * length][:length]


def _noise(size: int) -> bytes:
    """Return repeatable floats near -1, at most a few thousand bytes of them."""
    n = max(0, min(size, 8192)) // 4
    return struct.pack(f"<{n}f", *(-0.5 - k % 7 / 7 for k in range(n)))


def gguf_tree(tokenizer: str = "gpt2", family: str = "llama", layer_norm: bool = False) -> Tree:
    """Return what a language model's file holds: 6 tokens, 4 dimensions, a layer with 8 neurons."""
    tokens = ["<|end|>", "!", "Ġa", "▁b", "é", "[PAD5]"]
    norm = "layer_norm_epsilon" if layer_norm else "layer_norm_rms_epsilon"
    tensors, offset = [], 0
    shapes = {"token_embd.weight": [4, 6], "output_norm.weight": [4], "blk.0.ffn_down.weight": [8, 4]}
    for name, dims in (shapes | {"blk.0.attn_output.weight": [4, 4], "blk.0.post_ffw_norm.weight": [4]}).items():
        tensors.append([name, dims, 0, offset])
        n_bytes = 4 * (dims[0] * dims[1] if len(dims) == 2 else dims[0])
        offset += n_bytes + -n_bytes % _ALIGNMENT
    keys = [
        ["general.architecture", _STRING, family],
        ["general.basename", _STRING, "Tiny"],
        ["general.size_label", _STRING, "1K"],
        ["general.alignment", 4, _ALIGNMENT],
        [f"{family}.block_count", 4, 1],
        [f"{family}.attention.{norm}", 6, 1e-5],
        [f"{family}.final_logit_softcapping", 6, 30.0],
        ["tokenizer.ggml.model", _STRING, tokenizer],
        ["tokenizer.ggml.tokens", _ARRAY, [_STRING, tokens, None]],
        ["tokenizer.ggml.token_type", _ARRAY, [5, [3, 1, 1, 4, 1, 5], None]],
    ]
    return {"version": 3, "n_tensors": None, "n_keys": None, "keys": keys, "tensors": tensors, "data": offset}


def safetensors_bytes(tree: Tree, rng: Random) -> bytes:
    """Write `{header, size, data}`: a header as JSON, its size if that isn't the right one, and so many bytes."""
    header = as_json(_of(tree, "header"), rng)
    size, data = _of(tree, "size"), _of(tree, "data")
    count = _number("Q", len(header) if size is None else size)
    return count + header + _noise(data if isinstance(data, int) else 0)


def safetensors_tree(shapes: dict[str, list[int]], metadata: dict[str, str] | None = None) -> Tree:
    """Return a file of float32 tensors of these shapes."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": metadata}
    offset = 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    return {"header": header, "size": None, "data": offset}


def npy_bytes(tree: Tree, rng: Random) -> bytes:
    """Write `{version, header, size, data}`: an array's header as Python writes a mapping, and so many bytes."""
    header = _of(tree, "header")
    if isinstance(header, dict) and isinstance(header.get("shape"), list):
        header = header | {"shape": tuple(header["shape"])}
    text = (header if isinstance(header, str) else repr(header)).encode("utf-8", "surrogatepass")
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    version, size, data = _of(tree, "version"), _of(tree, "size"), _of(tree, "data")
    magic = b"\x93NUMPY" + _number("B", version) + b"\0"
    length = _number("H" if version == 1 else "I", len(text) if size is None else size)
    return magic + length + text + _noise(data if isinstance(data, int) else 0)


def npy_tree(shape: list[int], dtype: str = "<f4", version: int = 1) -> Tree:
    """Return a file of one array."""
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    return {"version": version, "header": header, "size": None, "data": 256}


def zip_bytes(members: dict[str, bytes], rng: Random, compress: bool = False) -> bytes:
    """Write an archive with right checksums, so that a reader gets to see what is inside."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return stream.getvalue()


CANARY = "a_pickle_ran"


class Hostile:
    """An object whose pickle runs a program when it is opened."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self._call = (call, arguments)

    def __reduce__(self) -> Any:
        return self._call


def hostile_pickles() -> list[bytes]:
    """Return pickles that run a program, or Python, when a plain unpickler opens them: none of them may get to."""
    import os

    calls = [Hostile(os.system, f"touch {CANARY}"), Hostile(eval, f"open({CANARY!r}, 'w')"), Hostile(os.mkdir, CANARY)]
    made = [pickle.dumps({"state_dict": call}, protocol) for call in calls for protocol in (0, 2, 4)]
    return [*made, pickle.dumps(calls[0], 2), b"cos\nsystem\n(S'touch " + CANARY.encode() + b"'\ntR."]


def json_seed(tree: Tree) -> bytes:
    """Write a tree as plain JSON."""
    return json.dumps(tree).encode()
