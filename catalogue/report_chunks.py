"""The data files of a report: numbers and text in scripts, since a page opened from disk can load nothing else.

From file:// a browser refuses fetch, ES modules and workers, but runs classic scripts. So every file is one call,
`featdex.put("NAME", "BASE64")`, and the page adds its script tag when it needs the numbers. The text between the quotes
is zlib-compressed and then base64: whatever tokens or tags hold, no character of theirs is in a script.

Unpacked, a file is: the length of a header (uint32, little-endian), the header (JSON: `json`, any value, and `arrays`,
a list of [name, type, length]), zeros up to a multiple of 8, and each array, little-endian, padded likewise. `data.js`
of the page reads them.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_TYPES = {"float32": "f32", "float16": "f16", "int16": "i16", "uint8": "u8", "uint16": "u16", "uint32": "u32"}
_ALIGNMENT = 8
_LEVEL = 4
"""Of zlib: 6 takes twice as long on random floats and gains 1 %."""


class ChunkWriter:
    """Writes the data files of one report into a folder; `n_bytes` and `n_files` count them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n_bytes = 0
        self.n_files = 0

    def write(self, name: str, value: Any = None, arrays: Mapping[str, Array] | None = None) -> None:
        """Write `name`.js: a JSON value and named arrays; two-dimensional ones lie row by row.

        Args:
            name: Path within the folder, made of ASCII letters, digits, `_` and `/` only.
            value: What JSON can hold; NaN is refused.
            arrays: By name; of float32, float16, int16, uint8, uint16 or uint32.
        """
        packed = base64.b64encode(zlib.compress(pack(value, arrays or {}), _LEVEL))
        path = self.folder / f"{name}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = b'featdex.put("%s","%s");\n' % (name.encode("ascii"), packed)
        path.write_bytes(content)
        self.n_bytes += len(content)
        self.n_files += 1


def pack(value: Any, arrays: Mapping[str, Array]) -> bytes:
    """Return a JSON value and arrays as one block of bytes; see the head of this module."""
    listed = [[name, _TYPES[array.dtype.name], array.size] for name, array in arrays.items()]
    header = json.dumps({"json": value, "arrays": listed}, allow_nan=False, separators=(",", ":")).encode("ascii")
    parts = [_padded(struct.pack("<I", len(header)) + header)]
    for array in arrays.values():
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        parts.append(_padded(np.ascontiguousarray(little).tobytes()))
    return b"".join(parts)


def _padded(content: bytes) -> bytes:
    return content + b"\0" * (-len(content) % _ALIGNMENT)
