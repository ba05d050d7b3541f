"""Logit weights L = W_dec @ W_U, block by block, with the same numbers for every block size and thread count.

A matrix library may add in another order for another shape, so the product is always taken in tiles of the same number
of features, the last one padded with zeros; a block is a whole number of tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float32

from .device import CPU_LARGEST_BLOCK

TILE = 256
"""Features in one product: large enough for full speed, small enough for a 256k vocabulary (268 MB)."""


@contextmanager
def full_float32() -> Iterator[None]:
    """Forbid TF32 and bfloat16 inside products, whatever the caller's session allows; restored afterwards."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def tile_size(n_features: int) -> int:
    """Features a product: TILE, or the next power of two above a smaller dictionary."""
    return min(TILE, 1 << max(n_features - 1, 0).bit_length())


def block_size(
    n_features: int,
    n_tokens: int,
    memory: int,
    bytes_per_logit: int,
    block: int | None = None,
    largest: int = CPU_LARGEST_BLOCK,
) -> int:
    """Return how many features to hold at once: whole tiles, within `memory` bytes; at least one tile.

    Args:
        n_features: Features of the dictionary.
        n_tokens: Tokens of the universe.
        memory: Budget for everything that grows with the block, in bytes.
        bytes_per_logit: What a path needs for each logit of a block.
        block: A number of features asked for, rounded up to whole tiles.
        largest: Features a block at most, unless `block` asks for more.
    """
    tile = tile_size(n_features)
    wanted = block or min(memory // (bytes_per_logit * n_tokens), largest)
    whole = max(wanted // tile, 1) if block is None else -(-wanted // tile)
    return int(min(whole, -(-n_features // tile)) * tile)


def logit_blocks(
    W_dec: Float32[torch.Tensor, "f d"], W_U: Float32[torch.Tensor, "d v"], block: int, span: range | None = None
) -> Iterator[tuple[int, Float32[torch.Tensor, "b v"]]]:
    """Yield (first feature, its block of logit weights); the tensor is reused by the next block.

    Args:
        W_dec: Decoder rows in the residual stream, on any device.
        W_U: Processed unembedding; the products are taken on its device.
        block: Features a block, a multiple of the tile (see `block_size`).
        span: Only these features, from a multiple of the tile on; all by default.
    """
    span = range(W_dec.shape[0]) if span is None else span
    yield from logits_from(W_dec, W_U, block, range(span.start, span.stop, block), span.stop)


def logits_from(
    W_dec: Float32[torch.Tensor, "f d"], W_U: Float32[torch.Tensor, "d v"], block: int, starts: Iterable[int], end: int
) -> Iterator[tuple[int, Float32[torch.Tensor, "b v"]]]:
    """Yield what `logit_blocks` does, for the blocks that begin at `starts` and go no further than feature `end`."""
    n_features, d_model = W_dec.shape
    tile = tile_size(n_features)
    held = torch.empty(block, W_U.shape[1], dtype=torch.float32, device=W_U.device)
    with full_float32():
        for start in starts:
            stop = min(start + block, end)
            for first in range(start, stop, tile):
                rows = W_dec[first : first + tile].to(W_U.device)
                if len(rows) < tile:
                    padding = torch.zeros(tile - len(rows), d_model, dtype=torch.float32, device=rows.device)
                    rows = torch.cat([rows, padding])
                torch.mm(rows, W_U, out=held[first - start : first - start + tile])
            yield start, held[: stop - start]
