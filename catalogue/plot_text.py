"""Text of a catalogue in pictures: names and tokens that no renderer takes for markup, in glyphs that the font has.

Names, tokens and titles come from whoever made the file. In a figure `$` starts no formula (`plot_look` turns
mathtext off) and a character without a glyph is spelled out, as `\\u65e5`; in a page of plotly, which reads a few HTML
tags, `<` and `&` are entities.
"""

from __future__ import annotations

import html
import textwrap
from functools import cache

from .display import printable, visible_token

FONTS = {"sans": ("DejaVu Sans",), "serif": ("STIXGeneral", "DejaVu Sans")}
"""Families that come with matplotlib, so that a figure is the same on every machine; later ones lend missing glyphs."""

NAME_LENGTH = 32
TOKEN_LENGTH = 16
_TITLE_LINES = 3
_ELLIPSIS = "…"


@cache
def _glyphs() -> frozenset[int]:
    """Return the code points that every choice of FONTS can draw."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    coverage = []
    for families in FONTS.values():
        paths = [findfont(FontProperties(family=[family]), fallback_to_default=False) for family in families]
        coverage.append({code for path in paths for code in get_font(path).get_charmap()})
    return frozenset(set.intersection(*coverage))


def _drawable(text: str) -> str:
    known = _glyphs()
    return "".join(c if ord(c) in known else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str, length: int) -> str:
    """Return text of at most `length` characters, its end an ellipsis where it was longer."""
    return text if len(text) <= length else text[: length - 1] + _ELLIPSIS


def drawn_name(text: str, length: int = NAME_LENGTH) -> str:
    """Return the name of a set or SAE for a figure."""
    return _drawable(shortened(printable(text), length))


def drawn_token(text: str, length: int = TOKEN_LENGTH) -> str:
    """Return a token for a figure: its spaces are `␣`."""
    return _drawable(shortened(visible_token(text), length))


def drawn_title(text: str, characters: int) -> str:
    """Return a title in lines of at most `characters`, three at most."""
    lines = textwrap.wrap(printable(text), characters, max_lines=_TITLE_LINES, placeholder=f" {_ELLIPSIS}")
    return "\n".join(map(_drawable, lines))


def page_name(text: str) -> str:
    """Return the name of a set or SAE, or a title, for a page of plotly."""
    return html.escape(printable(text))


def page_token(text: str, length: int = TOKEN_LENGTH) -> str:
    """Return a token for a page of plotly."""
    return html.escape(shortened(visible_token(text), length))
