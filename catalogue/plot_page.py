"""Pages of plotly: one file that needs no network, in which no name of a catalogue is code."""

from __future__ import annotations

import base64
import html
import json
from enum import StrEnum
from importlib.resources import files
from typing import Any, BinaryIO

import numpy as np

from .display import printable


class PlotlyJs(StrEnum):
    """Where a page has plotly.js from: inside it, or from a file beside it that several pages share."""

    INLINE = "inline"
    BESIDE = "beside"


SCRIPT_NAME = "plotly.min.js"
# Whatever a page holds, it loads nothing and sends nothing. WebGL in plotly.js compiles its own code.
_POLICY = (
    "default-src 'none'; script-src 'self' file: 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; form-action 'none'; base-uri 'none'"
)
_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{generator}">
<title>{title}</title>
<style>html, body {{ height: 100%; margin: 0; font-family: sans-serif; }} #plot {{ height: 100%; }}</style>
</head>
<body>
<div id="plot"></div>
{script}
<script>
const figure = {figure};
Plotly.newPlot("plot", figure.data, figure.layout, {settings});
</script>
</body>
</html>
"""
# plotly.js offers to upload a figure: not here.
_SETTINGS = {
    "responsive": True,
    "displaylogo": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
}
_LAYOUT: dict[str, Any] = {
    "font": {"family": "sans-serif", "size": 13, "color": "#222222"},
    "paper_bgcolor": "white",
    "plot_bgcolor": "white",
    "colorway": ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"],
    "hovermode": "closest",
    "hoverlabel": {"align": "left"},
    "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
    "margin": {"t": 80},
}
_AXIS: dict[str, Any] = {"gridcolor": "#E5E5E5", "zerolinecolor": "#BBBBBB", "ticks": "outside", "linecolor": "#222222"}


def axis(title: str, **more: Any) -> dict[str, Any]:
    """Return an axis of plotly in the style of all pages."""
    return {**_AXIS, "title": {"text": title}, **more}


def layout(**more: Any) -> dict[str, Any]:
    """Return a layout of plotly in the style of all pages."""
    return {**_LAYOUT, **more}


def packed(values: Any) -> dict[str, str]:
    """Return numbers as plotly.js reads them fastest: base64 of float32 or int32."""
    array = np.asarray(values)
    kind, dtype = ("i4", "<i4") if array.dtype.kind in "iu" else ("f4", "<f4")
    return {"dtype": kind, "bdata": base64.b64encode(array.astype(dtype).tobytes()).decode("ascii")}


def plotly_script() -> bytes:
    """Return the text of plotly.js, whose first lines are its licence."""
    return (files("plotly") / "package_data" / SCRIPT_NAME).read_bytes()


def write_page(
    figure: dict[str, Any], title: str | None, default_title: str, stream: BinaryIO, version: str, source: PlotlyJs
) -> None:
    """Write a page.

    Args:
        figure: `data` and `layout`.
        title: Heading, if the user gave one.
        default_title: Of the window.
        stream: Where to.
        version: Of featdex.
        source: Where the page has plotly.js from.
    """
    if title:
        figure["layout"]["title"] = {"text": html.escape(printable(title)), "x": 0.05}
    text = json.dumps(figure, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    # Inside a script element these could end it.
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    script = f'<script src="{SCRIPT_NAME}"></script>'
    if source is PlotlyJs.INLINE:
        script = f"<script>{plotly_script().decode('utf-8')}</script>"
    page = _TEMPLATE.format(
        policy=html.escape(_POLICY),
        generator=html.escape(f"featdex {version}"),
        title=html.escape(printable(title or default_title)),
        script=script,
        settings=json.dumps(_SETTINGS),
        figure=text,
    )
    stream.write(page.encode("utf-8"))
