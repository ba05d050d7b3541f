"""Files of pictures: the same bytes each time, fonts that a publisher takes, and no name that is code."""

from __future__ import annotations

import base64
import html
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import matplotlib as mpl
import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pytest
from featdex.catalogue.catalogue import Catalogue, connect
from featdex.catalogue.file import create
from featdex.catalogue.plot import read_picture
from featdex.catalogue.plot_picture import Font, Look
from featdex.catalogue.plot_text import drawn_name, drawn_title, drawn_token, page_token
from featdex.catalogue.write import SaeRows, write_sae
from matplotlib.text import Text
from PIL import Image

Featdex = Callable[..., tuple[int, str, str]]
KINDS = {
    "skewness": ["skewness"],
    "manhattan": ["manhattan", "girls_names"],
    "sets": ["sets", "girls_names", "boys_names"],
    "percentiles": ["percentiles", "kurtosis"],
    "heatmap": ["heatmap", "girls_names", "digits", "boys_names"],
}
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)><b>bold</b>",
    "$\\frac{1}{0}$ $x$ $ \\input{/etc/passwd}",
    "\x1b]0;owned\x07 two\nlines \u202egnp.exe",
    "%{x} %{customdata[0]} &lt;script&gt; &#60;",
    "日本 عربى 🙂 \ue000",
    "-->]]><!--",
    "a" * 300,
]


@pytest.mark.parametrize("form", ["pdf", "svg", "png"])
def test_the_same_catalogue_gives_the_same_bytes(featdex: Featdex, form: str) -> None:
    line = ["plot", *KINDS["sets" if form == "pdf" else "skewness"], "--title", "Names", "-o"]
    assert featdex(*line, f"first.{form}") == (0, "", f"wrote first.{form}\n")
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 30, "svg.fonttype": "none", "figure.dpi": 33}):
        assert featdex(*line, f"second.{form}")[0] == 0
    first = Path(f"first.{form}").read_bytes()
    assert first == Path(f"second.{form}").read_bytes()
    assert not re.search(rb"CreationDate|<dc:date>|202\d-\d\d-\d\d", first)


PAGE = ["--width", "page", "--font", "serif"]


@pytest.mark.parametrize(
    ("kind", "options", "inches"), [*((kind, ["--width", "column"], 3.25) for kind in KINDS), ("sets", PAGE, 6.75)]
)
def test_a_pdf_is_as_wide_as_a_column_or_page_and_has_truetype_fonts(
    featdex: Featdex, kind: str, options: list[str], inches: float
) -> None:
    assert featdex("plot", *KINDS[kind], *options, "-o", "x.pdf")[0] == 0
    data = Path("x.pdf").read_bytes()
    found = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+)", data)
    assert found
    assert float(found[1]) == pytest.approx(72 * inches)
    assert b"/Type3" not in data
    assert b"/FontFile2" in data
    # Points are pixels: a file of thousands of paths would choke a reader.
    assert len(data) < 400_000


def test_text_is_eight_points_and_numbers_seven(catalogue: Catalogue) -> None:
    axes = catalogue.plot("manhattan", set_name="digits").axes[0]
    assert {axes.xaxis.label.get_fontsize(), axes.yaxis.label.get_fontsize()} == {8}
    assert {label.get_fontsize() for label in axes.get_yticklabels()} == {7}


def test_a_size_is_that_of_the_file(featdex: Featdex) -> None:
    assert featdex("plot", "skewness", "--size", "2.5x2", "-o", "x.png")[0] == 0
    with Image.open("x.png") as image:
        assert image.size == (1500, 1200)


def test_the_sidecar_says_how_it_was_made(featdex: Featdex, small: Path) -> None:
    featdex("plot", "manhattan", "digits", "--sae", "*-mlp", "-o", "x.svg")
    facts = json.loads(Path("x.svg.json").read_text(encoding="utf-8"))
    assert facts["kind"] == "manhattan"
    assert facts["parameters"] == {"set_name": "digits", "sae": "*-mlp", "q": 0.05, "y": "p", "n": 6}
    assert facts["saes"] == ["tiny/29-mlp"]
    assert set(facts) == {"kind", "parameters", "saes", "sql", "notes", "featdex"}
    with connect(small) as catalogue:
        points, lines = (
            catalogue.sql(text, {name: facts["parameters"][name] for name in ("set_name", "sae", "q")})
            for text in facts["sql"].split(";")
        )
        assert (len(points.fetchall()), len(lines.fetchall())) == (580, 1)


def test_nothing_is_left_behind(small: Path) -> None:
    code = (
        "import sys, matplotlib as mpl\n"
        "before = mpl.rcParams.copy()\n"
        "import featdex\n"
        f"figure = featdex.connect({str(small)!r}).plot('skewness')\n"
        "assert mpl.rcParams.copy() == before\n"
        "print(type(figure).__name__, 'matplotlib.pyplot' in sys.modules, 'plotly' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["Figure", "False", "False"]


def figure_of_page(path: Path) -> dict[str, Any]:
    """The figure in a page, as a browser reads it."""
    found = re.search(r"^const figure = (.*);$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    figure: dict[str, Any] = json.loads(found[1])
    return figure


def unpacked(values: dict[str, str]) -> Any:
    return np.frombuffer(base64.b64decode(values["bdata"]), {"f4": "<f4", "i4": "<i4"}[values["dtype"]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_one_file_that_plotly_takes(featdex: Featdex, kind: str) -> None:
    assert featdex("plot", *KINDS[kind], "-o", "x.html")[0] == 0
    figure = figure_of_page(Path("x.html"))
    # It refuses what plotly.js does not know.
    assert len(go.Figure(figure).data) == len(figure["data"])
    text = Path("x.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", text)
    assert text.count("</script>") == 2
    assert "Licensed under the MIT license" in text
    assert sorted(path.name for path in Path().iterdir()) == ["x.html", "x.html.json"]


def test_the_points_of_a_page_are_those_of_the_catalogue(featdex: Featdex, written: dict[str, SaeRows]) -> None:
    featdex("plot", "skewness", "--sae", "*-mlp", "-o", "x.html")
    (points,) = figure_of_page(Path("x.html"))["data"]
    table = pa.concat_tables(written["tiny/29-mlp"].feature)
    for axis, name in (("x", "skewness"), ("y", "kurtosis")):
        np.testing.assert_array_equal(unpacked(points[axis]), table[name].to_numpy())
    address, tokens = points["text"][573].split("<br>")
    assert (address, tokens.split()[0]) == ("29-mlp/573", "␣Mary")


def test_the_script_can_lie_beside_pages(featdex: Featdex) -> None:
    line = ["plot", "skewness", "--plotlyjs", "beside", "-o"]
    assert featdex(*line, "x.html") == (0, "", "wrote x.html\n")
    assert featdex(*line, "y.html")[0] == 0
    assert Path("x.html").read_bytes() == Path("y.html").read_bytes()
    assert '<script src="plotly.min.js"></script>' in Path("x.html").read_text(encoding="utf-8")
    assert Path("plotly.min.js").stat().st_size > 1_000_000
    assert Path("x.html").stat().st_size < 200_000


@pytest.fixture
def hostile(tmp_path: Path, rows_of: Callable[..., SaeRows]) -> Path:
    """A catalogue whose sets, SAEs and tokens have every awkward name."""
    path = tmp_path / "sent.duckdb"
    create(path)
    members = {name: [k, k + 1, 30 + k] for k, name in enumerate(HOSTILE)}
    for layer in (3, 8):
        write_sae(path, rows_of(f"tiny/{layer}-x", 40, seed=layer, members=members))
    with duckdb.connect(str(path)) as connection:
        for k, name in enumerate(HOSTILE[:2]):
            connection.execute("UPDATE sae SET slug = ? WHERE sae_id = ?", [f"tiny/{name}", k + 1])
        connection.executemany(
            "UPDATE token SET str = ? WHERE token_id % 8 = ?", [[name, k] for k, name in enumerate(HOSTILE)]
        )
    return path


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_no_name_is_markup_in_a_page(hostile: Path, featdex: Featdex, name: str) -> None:
    line = ["--db", str(hostile), "plot", "manhattan", "--title", name, "--plotlyjs", "beside", "-o", "x.html"]
    assert featdex(*line, "--", name)[:2] == (0, "")
    text = Path("x.html").read_text(encoding="utf-8")
    # One element is plotly.js, one the figure.
    assert (text.count("<script"), text.count("</script>")) == (2, 2)
    assert "<img src=x" not in text
    shown = page_strings(Path("x.html"))
    assert set(re.findall("<[^>]*>?", " ".join(shown))) == {"<br>"}
    assert any(html.escape(name[:3].replace("\x1b", "\\x1b")) in text for text in shown)


@pytest.mark.parametrize("name", [HOSTILE[k] for k in (0, 3, 6)])
def test_no_name_is_markup_in_svg(hostile: Path, featdex: Featdex, name: str) -> None:
    line = ["--db", str(hostile), "plot", "manhattan", "-n", "4", "--title", name, "-o", "x.svg"]
    assert featdex(*line, "--", name)[:2] == (0, "")
    names = {item.tag.split("}")[-1] for item in ET.parse("x.svg").getroot().iter()}
    assert not names & {"script", "a", "foreignObject", "b", "img"}


def test_all_awkward_names_go_into_one_figure(hostile: Path, featdex: Featdex) -> None:
    for form in ("pdf", "html"):
        assert featdex("--db", str(hostile), "plot", "heatmap", "-o", f"x.{form}", "--", *HOSTILE)[:2] == (0, "")
    (table,) = figure_of_page(Path("x.html"))["data"]
    assert len({*table["y"]}) == len(HOSTILE)
    assert not any("<" in name for name in table["y"])


def page_strings(path: Path) -> list[str]:
    """Every text that plotly shows, but for its own templates."""
    found: list[str] = []

    def walk(value: Any, key: str = "") -> None:
        if isinstance(value, dict):
            for name, item in value.items():
                walk(item, name)
        elif isinstance(value, list):
            for item in value:
                walk(item, key)
        elif isinstance(value, str) and key not in ("hovertemplate", "bdata"):
            found.append(value)

    walk(figure_of_page(path))
    return found


def test_no_name_is_mathematics(hostile: Path) -> None:
    with connect(hostile) as catalogue:
        figure = catalogue.plot("sets", look=Look(title=HOSTILE[2]), set_a=HOSTILE[2], set_b=HOSTILE[4])
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text) and "$" in text.get_text()]
    assert len(texts) >= 3
    assert not any(text.get_parse_math() for text in texts)


@pytest.mark.parametrize("font", Font)
def test_text_has_only_glyphs_that_are_there(font: Font) -> None:
    assert drawn_token(" Mary") == "␣Mary"
    assert drawn_token("日本") == "\\u65e5\\u672c"
    assert drawn_token("a\n\x1b") == "a\\n\\x1b"
    assert drawn_token("") == "''"
    assert drawn_name("x" * 50) == "x" * 31 + "…"
    assert drawn_title("one two three four", 8) == "one two\nthree\nfour"
    assert page_token(" <b>&") == html.escape("␣<b>&")
    from featdex.catalogue.plot_text import FONTS
    from matplotlib.font_manager import FontProperties, findfont

    found = [findfont(FontProperties(family=[family]), fallback_to_default=False) for family in FONTS[font.value]]
    assert all("mpl-data" in path for path in found)


WRONG = [
    (["skewness", "-o", "x.gif"], 2, "does not end in .pdf, .svg, .png or .html"),
    (["skewness"], 2, "--output"),
    (["skewness", "-o", "x.pdf", "--size", "3"], 2, "inches"),
    (["skewness", "-o", "x.pdf", "--size", "0.1x900"], 2, "inches"),
    (["skewness", "-o", "x.pdf", "--size", "3x3", "--width", "page"], 2, "give one"),
    (["skewness", "-o", "x.pdf", "--width", "wide"], 2, "wide"),
    (["skewness", "-o", "x.pdf", "--plotlyjs", "inline"], 2, "is for html"),
    (["skewness", "-o", "x.html", "--plotlyjs", "cdn"], 2, "inline or beside"),
    (["skewness", "-o", "x.html", "--width", "page"], 2, "fills its window"),
    (["skewness", "-o", "missing/x.pdf"], 1, "cannot write missing/x.pdf"),
    (["skewness", "--sae", "nowhere", "-o", "x.pdf"], 3, "no SAE matches"),
    (["manhattan", "digitz", "-o", "x.pdf"], 3, "digits"),
    (["manhattan", "digits", "--y", "q", "-o", "x.pdf"], 2, "--y is p or z"),
    (["sets", "digits", "digits", "-o", "x.pdf"], 2, "name two sets"),
    (["percentiles", "kurt", "-o", "x.pdf"], 2, "kurtosis"),
    (["heatmap", "-o", "x.pdf"], 2, "one of the two"),
    (["heatmap", "--collection", "none", "-o", "x.pdf"], 3, "there are names, shape"),
    (["pie", "-o", "x.pdf"], 2, "pie"),
]


@pytest.mark.parametrize(("line", "code", "told"), WRONG)
def test_a_fault_is_one_line_and_leaves_no_file(featdex: Featdex, line: list[str], code: int, told: str) -> None:
    found, out, err = featdex("plot", *line)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert told in err
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(("package", "output"), [("matplotlib", "x.pdf"), ("plotly", "x.html")])
def test_what_is_not_installed_is_named(
    featdex: Featdex, monkeypatch: pytest.MonkeyPatch, package: str, output: str
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("featdex.catalogue.plot.find_spec", lambda name: None if name == package else real(name))
    code, out, err = featdex("plot", "skewness", "-o", output)
    assert (code, out) == (1, "")
    assert err == f"featdex: pictures need {package}, which is not installed; pip install 'featdex[plot]'\n"


def test_hundreds_of_thousands_of_points_are_drawn_all(tmp_path: Path, small: Path, featdex: Featdex) -> None:
    many = Path(shutil.copy(small, tmp_path / "many.duckdb"))
    with duckdb.connect(str(many)) as connection:
        connection.execute(
            "INSERT INTO feature BY NAME SELECT f.* REPLACE (i * 1000 + f.feature AS feature)"
            " FROM feature f, range(1, 520) r(i)"
        )
        ((n,),) = connection.execute("SELECT count(*) FROM feature").fetchall()
    assert n > 300_000
    with connect(many) as catalogue:
        (drawn, *_) = catalogue.plot("skewness").axes[0].collections
    assert len(np.asarray(drawn.get_offsets())) == n


def test_a_page_of_many_points_says_that_it_has_no_tokens(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featdex.catalogue.plot_data.MOST_PAGE_TOKENS", 100)
    picture: Any = read_picture(catalogue, "skewness", for_page=True)
    assert picture.hover[-1] == "29-mlp/579"
    assert picture.source.notes == ["of 592 points a page tells the address only, of 100 tokens as well"]
