"""Answers as text for people: aligned tables, Markdown and LaTeX, and single values in the same manner.

Token text shows its spaces and has its control characters escaped, so that nothing in a vocabulary can steer a
terminal; numbers have four digits.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

VISIBLE_SPACE = "␣"
TOKEN_COLUMNS = frozenset({"token", "str", "raw", "tokens", "top_tokens", "bottom_tokens", "shared_tokens"})
"""Columns whose text is tokens: spaces in it are shown as `␣`."""

_NUMBERS = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\))")
_NARROWEST = 12
_LATEX = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "`": r"\textasciigrave{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # A quote may be a command of babel's.
    '"': r"\char34{}",
    # After the end of a row, these two would be taken for its options.
    "[": "{[}",
    "*": "{*}",
    VISIBLE_SPACE: r"\textvisiblespace{}",
} | {character: f"\\{character}" for character in "{}$&#%_"}
_LIGATURES = re.compile(r"([-',])(?=\1)")

Rows = Iterable[Sequence[Any]]


def printable(text: str) -> str:
    r"""Return text that can't steer a terminal: control, format and unassigned characters as `\n`, `\x1b`, `\u202e`."""
    return "".join(map(_printable_character, text))


def _printable_character(character: str) -> str:
    # C*: controls, bidi overrides, surrogates, private use. Zl, Zp, and spaces other than the plain one would be
    # taken for it or break the line.
    if character == " " or unicodedata.category(character)[0] not in "CZ":
        return character
    return character.encode("unicode_escape").decode("ascii")


def visible_token(text: str) -> str:
    """Return token text for people: spaces as `␣`, control characters escaped, the empty token as `''`."""
    return printable(text).replace(" ", VISIBLE_SPACE) or "''"


def some_of(texts: Sequence[str], n_shown: int = 5, between: str = ", ") -> str:
    """Return texts in a line; of many the first, and how many more there are."""
    more = f" and {len(texts) - n_shown} more" if len(texts) > n_shown else ""
    return between.join(texts[:n_shown]) + more


def short_number(value: float) -> str:
    """Return a float with four significant digits."""
    return f"{value:.4g}"


def _cell(value: Any, *, is_token: bool) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return short_number(value)
        case str():
            return visible_token(value) if is_token else printable(value)
        case list():
            return " ".join(_cell(item, is_token=is_token) for item in value)
    return printable(str(value))


def _cells(names: Sequence[str], rows: Rows) -> Iterator[list[str]]:
    are_tokens = [name in TOKEN_COLUMNS for name in names]
    for row in rows:
        yield [_cell(value, is_token=is_token) for value, is_token in zip(row, are_tokens, strict=True)]


def _are_numbers(types: Sequence[str]) -> list[bool]:
    return [_NUMBERS.fullmatch(kind) is not None for kind in types]


def aligned_lines(names: Sequence[str], types: Sequence[str], rows: Rows, width: int | None = None) -> Iterator[str]:
    """Yield a header, a rule and one line a row.

    Args:
        names: Names of the columns.
        types: Their DuckDB types: numbers are right-aligned.
        rows: The rows, as long as `names`.
        width: Longer lines lose the ends of lists, links and text, never of numbers; None: nothing is cut.
    """
    from rich.cells import cell_len, set_cell_size

    rows = list(_cells(names, rows))
    names = [printable(name) for name in names]
    widths = [max(map(cell_len, column)) for column in zip(names, *rows, strict=True)]
    are_numbers = _are_numbers(types)
    if width is not None:
        _narrow(widths, are_numbers, [cell_len(name) for name in names], width)

    def line(cells: Sequence[str]) -> str:
        parts = []
        for cell, size, is_number in zip(cells, widths, are_numbers, strict=True):
            if cell_len(cell) > size:
                cell = set_cell_size(cell, size - 1) + "…"
            padding = " " * (size - cell_len(cell))
            parts.append(padding + cell if is_number else cell + padding)
        return "  ".join(parts).rstrip()

    yield line(names)
    yield "  ".join("─" * size for size in widths)
    yield from map(line, rows)


def _narrow(widths: list[int], are_numbers: list[bool], least: list[int], width: int) -> None:
    """Shrink the widest columns that are no numbers until a line fits, none below its header or a readable minimum."""
    excess = sum(widths) + 2 * (len(widths) - 1) - width
    floors = [
        size if is_number else max(low, _NARROWEST)
        for size, is_number, low in zip(widths, are_numbers, least, strict=True)
    ]
    while excess > 0:
        widest = max(range(len(widths)), key=lambda index: (widths[index] > floors[index], widths[index]))
        if widths[widest] <= floors[widest]:
            return
        widths[widest] -= 1
        excess -= 1


def markdown_lines(names: Sequence[str], types: Sequence[str], rows: Rows) -> Iterator[str]:
    """Yield a table of GitHub Markdown; the arguments are those of `aligned_lines`."""
    yield f"| {' | '.join(_markdown(printable(name)) for name in names)} |"
    yield f"| {' | '.join('--:' if is_number else '---' for is_number in _are_numbers(types))} |"
    for row in _cells(names, rows):
        yield f"| {' | '.join(map(_markdown, row))} |"


def _markdown(text: str) -> str:
    # An underscore inside a word is no emphasis: names of sets stay readable in the source.
    return re.sub(r"[\\`*\[\]<>|~&$]|(?<!\w)_|_(?!\w)", lambda found: "\\" + found[0], text)


def latex_lines(names: Sequence[str], types: Sequence[str], rows: Rows) -> Iterator[str]:
    """Yield a table of LaTeX for the package booktabs; the arguments are those of `aligned_lines`.

    Text beyond Latin letters needs LuaLaTeX or XeLaTeX, and a font that has it.
    """
    are_numbers = _are_numbers(types)
    yield f"\\begin{{tabular}}{{{''.join('r' if is_number else 'l' for is_number in are_numbers)}}}"
    yield r"\toprule"
    yield _latex_row(_latex(printable(name)) for name in names)
    yield r"\midrule"
    for row in _cells(names, rows):
        cells = zip(row, are_numbers, strict=True)
        yield _latex_row(_latex_number(cell) if is_number else _latex(cell) for cell, is_number in cells)
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _latex_row(cells: Iterable[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _latex(text: str) -> str:
    return _LIGATURES.sub(r"\1{}", "".join(_LATEX.get(character, character) for character in text))


def _latex_number(text: str) -> str:
    """Return a number as mathematics where it has a minus sign or an exponent."""
    found = re.fullmatch(r"(-?[0-9.]+)(?:e([+-]?[0-9]+))?", text)
    if found is None:
        return _latex(text)
    power = rf"\times10^{{{int(found[2])}}}" if found[2] else ""
    return f"${found[1]}{power}$" if power or text.startswith("-") else text
