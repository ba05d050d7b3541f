"""What every picture is: numbers from a catalogue, drawn as a figure for a paper or as a page to look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .plot_labels import Labels


class Width(StrEnum):
    """Widths of a paper of two columns: one column (3.25 in) or the page (6.75 in)."""

    COLUMN = "column"
    PAGE = "page"


INCHES = {Width.COLUMN: 3.25, Width.PAGE: 6.75}


class Font(StrEnum):
    """DejaVu Sans, or STIX, which goes with Times."""

    SANS = "sans"
    SERIF = "serif"


@dataclass(frozen=True)
class Look:
    """What a user chooses of the outside of a figure; `size` is in inches and goes before `width`."""

    width: Width = Width.COLUMN
    size: tuple[float, float] | None = None
    title: str | None = None
    font: Font = Font.SANS

    @property
    def inches(self) -> float:
        """Width of the figure."""
        return self.size[0] if self.size else INCHES[self.width]


@dataclass(frozen=True)
class Source:
    """Where the numbers of a picture come from: what its sidecar keeps, so that it can be made again.

    `notes` are sentences for people about what the picture leaves out.
    """

    kind: str
    parameters: dict[str, Any]
    saes: list[str]
    sql: str
    notes: list[str] = field(default_factory=list)


class Picture:
    """Numbers of one picture. A kind of picture is a subclass with columns of its own."""

    source: Source

    def size(self, inches: float) -> tuple[float, float]:
        """Return width and height in inches for a figure of this width."""
        return inches, 2.4 if inches < 5 else 3.2

    def draw(self, figure: Figure) -> list[Labels]:
        """Draw the axes, and return the labels that have to find a free place on them."""
        raise NotImplementedError

    def page(self) -> dict[str, Any]:
        """Return `data` and `layout` of a figure of plotly."""
        raise NotImplementedError
