"""Inputs that no well-meaning writer makes: valid ones, changed at the level of values, lines, words and bytes.

Everything comes from the random generator that is handed in, so that an input can be made again from its number.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

from fuzz_odd import BOUNDARIES, FLOATS, INTEGERS, RAW_JSON, TEXTS

Tree = Any
Encoder = Callable[[Tree, Random], bytes]

_RAW = "raw json {}"
SNIPPETS = (
    *TEXTS,
    *RAW_JSON,
    "\t",
    ",",
    ":",
    "=",
    "#",
    "[[",
    "]]",
    "{",
    "}",
    '"""',
    "'''",
    "--",
    "- ",
    "&a",
    "*a",
    "!!x",
    "@",
)
_WORD = re.compile(r"""'[^'\n]*'|"[^"\n]*"|[\w.+-]+|[^\w\s]""")


def changed_bytes(data: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """Return bytes with one change: bits, lengths, parts of other inputs, integers at the ends of their ranges."""
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 2, 4, 8, 16, rng.randrange(1, 1 + max(1, len(data))))))
    match rng.randrange(9):
        case 0 if data:
            at = min(at, len(data) - 1)
            return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data[:at] + data[end:]
        case 3:
            return data[:end] + data[at:end] * rng.choice((1, 2, 100)) + data[end:]
        case 4:
            other = rng.choice(others)
            return data[:at] + other[rng.randrange(len(other) + 1) :]
        case 5:
            size = rng.choice((1, 2, 4, 8))
            value: int = rng.choice(BOUNDARIES) % (1 << 8 * size)
            return data[:at] + value.to_bytes(size, "little") + data[at + size :]
        case 6:
            return data[:at] + rng.randbytes(rng.choice((1, 3, 40))) + data[at:]
        case 7:
            return data[at:]
        case _:
            return (
                data[:at]
                + rng.choice((b"\0", b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\x1b[2J", b"\r", b"\n"))
                + data[end:]
            )


def changed_text(data: bytes, others: Sequence[bytes], rng: Random) -> bytes:
    """Return a text with one change of its lines or words."""
    lines = data.split(b"\n")
    at, to = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(7):
        case 0:
            lines.insert(to, lines[at])
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[to] = lines[to], lines[at]
        case 3:
            theirs = rng.choice(others).split(b"\n")
            start = rng.randrange(len(theirs))
            lines[at:at] = theirs[start : start + rng.randrange(1, 8)]
        case 4:
            lines[at] += rng.choice((b" ", b"\t", b"")) + _encoded(rng.choice(SNIPPETS), rng)
        case _:
            return _changed_words(data, rng)
    return b"\n".join(lines)


def _changed_words(data: bytes, rng: Random) -> bytes:
    """Replace a word, double it, or put another one of the text in its place."""
    text = data.decode("utf-8", "surrogateescape")
    words = list(_WORD.finditer(text))
    if not words:
        return data
    word, other = rng.choice(words), rng.choice(words)[0]
    new = rng.choice(
        (odd_text(rng), other, word[0] * 2, "", f"{rng.choice(INTEGERS)}", f"'{odd_text(rng)}'", f"[{other}]")
    )
    return _encoded(text[: word.start()] + new + text[word.end() :], rng)


def _encoded(text: str, rng: Random) -> bytes:
    # Lone surrogates become bytes that are no UTF-8: one escaped by the decoder its own byte, others three.
    return (
        b"".join(
            sign.encode("utf-8", "surrogateescape" if "\udc80" <= sign <= "\udcff" else "surrogatepass")
            for sign in text
        )
        if any("\ud800" <= sign <= "\udfff" for sign in text)
        else text.encode()
    )


def odd_text(rng: Random) -> str:
    """Return a text that people don't write."""
    if rng.random() < 0.7:
        return rng.choice(TEXTS)
    return "".join(chr(rng.choice((rng.randrange(128), rng.randrange(0x3000)))) for _ in range(rng.choice((1, 3, 90))))


def odd_value(rng: Random) -> Tree:
    """Return a value of some type: numbers at the ends of their ranges, hostile texts, containers."""
    match rng.randrange(8):
        case 0 | 1:
            return rng.choice(INTEGERS)
        case 2:
            return rng.choice(FLOATS)
        case 3:
            return rng.choice((None, True, False))
        case 4:
            return rng.choice(([], {}, [[]], [None], {"": {}}, [1, "a", None], list(range(50))))
        case 5:
            return _RAW.format(rng.randrange(len(RAW_JSON)))
        case _:
            return odd_text(rng)


def changed_tree(tree: Tree, rng: Random) -> Tree:
    """Return a copy of nested lists and mappings with one change."""
    tree = copy.deepcopy(tree)
    places = list(_places(tree))
    if not places:
        return odd_value(rng)
    parent, key = rng.choice(places)
    value = parent[key]
    match rng.randrange(9):
        case 0 | 1:
            parent[key] = odd_value(rng)
        case 2:
            del parent[key]
        case 3:
            other, other_key = rng.choice(places)
            parent[key] = copy.deepcopy(other[other_key])
        case 4:
            parent[key] = rng.choice(([value], {"a": value}, [value] * 3, str(value)[:6000], None))
        case 5 if isinstance(parent, dict):
            name = rng.choice((odd_text(rng), str(rng.choice(places)[1])))
            parent[name] = parent.pop(key)
        case 5 | 6 if isinstance(parent, list):
            parent.insert(rng.randrange(len(parent) + 1), rng.choice((copy.deepcopy(value), odd_value(rng))))
        case 7 if isinstance(value, int | float) and not isinstance(value, bool):
            parent[key] = rng.choice((value + 1, value - 1, -value, value * 1000, value / 3, str(value), bool(value)))
        case 7 if isinstance(value, str):
            at = rng.randrange(len(value) + 1)
            parent[key] = value[:at] + rng.choice((odd_text(rng), "", value)) + value[at + rng.randrange(3) :]
        case _:
            parent[key] = odd_value(rng)
    return tree


def _places(tree: Tree) -> Iterator[tuple[Any, Any]]:
    """Yield each place of a value: its container, and its key there."""
    stack = [tree]
    while stack:
        node = stack.pop()
        keys: Sequence[Any] = (
            list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        )
        for key in keys:
            yield node, key
            stack.append(node[key])


def as_json(tree: Tree, rng: Random) -> bytes:
    """Write a tree as JSON, and what stands for text that is no JSON as that text."""
    ascii_only = rng.random() < 0.5
    text = json.dumps(tree, ensure_ascii=ascii_only, indent=rng.choice((None, 1)))
    for number, raw in enumerate(RAW_JSON):
        text = text.replace(f'"{_RAW.format(number)}"', raw)
    return text.encode("utf-8", "surrogatepass")


def mutations(
    trees: Sequence[Tree], encode: Encoder, change: Callable[[bytes, Sequence[bytes], Random], bytes] = changed_bytes
) -> Callable[[Random], bytes]:
    """Return a maker of inputs from trees: changed as trees, as bytes (or by `change`), as both, or not at all."""
    plain = [encode(tree, Random(0)) for tree in trees]

    def make(rng: Random) -> bytes:
        level = rng.random()
        number = rng.randrange(len(trees))
        if level < 0.02:
            return rng.choice((b"", b"\0", plain[number], rng.randbytes(rng.randrange(200))))
        tree = trees[number]
        for _ in range(_rounds(rng) if level < 0.7 else 0):
            tree = changed_tree(tree, rng)
        try:
            data = encode(tree, rng) if level < 0.7 else plain[number]
        except (RecursionError, ValueError, TypeError):
            data = plain[number]
        for _ in range(_rounds(rng) if level > 0.6 else 0):
            data = change(data, plain, rng)
        return data

    return make


def text_mutations(seeds: Sequence[bytes]) -> Callable[[Random], bytes]:
    """Return a maker of inputs from texts: changed in lines and words, in bytes, in both, or not at all."""

    def make(rng: Random) -> bytes:
        level = rng.random()
        data = rng.choice(seeds)
        if level < 0.02:
            return rng.choice((b"", b"\0", b"\n", b"\xef\xbb\xbf", data, rng.randbytes(rng.randrange(200))))
        for _ in range(_rounds(rng) if level < 0.8 else 0):
            data = changed_text(data, seeds, rng)
        for _ in range(_rounds(rng) if level > 0.7 else 0):
            data = changed_bytes(data, seeds, rng)
        return data

    return make


def _rounds(rng: Random) -> int:
    return rng.choice((1, 1, 1, 1, 2, 3))
