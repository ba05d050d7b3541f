"""The page of a report in a real browser, by clicks and keys, from disk; its numbers against SQL."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from featdex.catalogue.card import feature_card
from featdex.catalogue.catalogue import Catalogue, connect
from featdex.catalogue.display import visible_token
from featdex.catalogue.report import write_report
from featdex.catalogue.report_plan import Options, make_plan
from featdex.catalogue.write import SaeRows, write_sae

playwright = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install 'featdex[dev]'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
HOSTILE = "</script><img src=x onerror=window.hacked=1>\u2028<b>'\"`\\&amp;"
ODD_SLUG = "tiny/9-<i>a%b#c=d&e"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, headless=True)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def source(small: Path, tmp_path_factory: pytest.TempPathFactory, rows_of: Callable[..., SaeRows]) -> Path:
    """The small catalogue with text that would be HTML, in a token, a set, a slug and a tag."""
    path = Path(shutil.copy(small, tmp_path_factory.mktemp("page") / "small.duckdb"))
    write_sae(path, rows_of(ODD_SLUG, 30, planted=3, seed=9, members={HOSTILE: [0, 1, 2]}))
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE token SET str = ? WHERE token_id = 0", [HOSTILE])
        connection.execute("INSERT INTO tag (sae_id, feature, tag, note) VALUES (1, 7, ?, 'seen twice')", [HOSTILE])
        connection.execute("INSERT INTO explanation (sae_id, feature, text) VALUES (2, 44, 'zebra crossings')")
    return path


@pytest.fixture(scope="module")
def report(source: Path) -> Path:
    out = source.parent / "out"
    with connect(source) as catalogue:
        write_report(catalogue, out, make_plan(catalogue, Options()))
    return out


@pytest.fixture(scope="module")
def asked(source: Path) -> Iterator[Catalogue]:
    with connect(source) as catalogue:
        yield catalogue


class Page:
    """One page of the browser, with what it complained of and asked for."""

    def __init__(self, browser: Any, report: Path, address: str = "", **options: Any) -> None:
        options = {"viewport": {"width": 1400, "height": 900}, **options}
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(8000)
        self.page = self.context.new_page()
        self.faults: list[str] = []
        self.requests: list[str] = []
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("console", lambda told: self.faults.append(told.text) if told.type == "error" else None)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(f"{(report / 'index.html').as_uri()}{address}")
        self.page.wait_for_selector("html[data-ready]")

    def count(self) -> str:
        return str(self.page.inner_text("#count"))

    def wait_count(self, text: str) -> None:
        playwright.expect(self.page.locator("#count")).to_have_text(re.compile(text))

    def rows(self, n: int) -> list[str]:
        """Addresses of the first rows, in the order in which they are seen."""
        return [str(self.page.text_content(f"#row-{k} .address")) for k in range(n)]

    def title(self) -> str:
        return str(self.page.inner_text("#card h2"))


@pytest.fixture
def open_page(browser: Any, report: Path) -> Iterator[Callable[..., Page]]:
    opened: list[Page] = []

    def open_at(address: str = "", **options: Any) -> Page:
        opened.append(Page(browser, report, address, **options))
        return opened[-1]

    yield open_at
    for page in opened:
        assert page.faults == []
        assert {url.split(":")[0] for url in page.requests} <= {"file", "data", "blob"}
        assert page.page.evaluate("window.hacked") is None
        page.context.close()


def addresses(catalogue: Catalogue, text: str, *values: Any) -> list[str]:
    return [f"{sae}/{feature}" for sae, feature in catalogue.sql(text, list(values)).fetchall()]


def test_the_table_comes_sorted_by_kurtosis_and_sorts_by_any_column(
    open_page: Callable[..., Page], asked: Catalogue
) -> None:
    page = open_page()
    first = addresses(asked, "SELECT sae, feature FROM features ORDER BY kurtosis DESC LIMIT 8")
    assert page.rows(8) == first
    assert page.count() == "622 features"
    assert page.page.get_attribute("#table", "aria-rowcount") == "623"
    for key, order in (("skewness", "DESC"), ("skewness", "ASC"), ("log10_density", "DESC"), ("log10_density", "ASC")):
        page.page.click(f'[data-key="{key}"]')
        word = {"DESC": "descending", "ASC": "ascending"}[order]
        page.page.wait_for_selector(f'[role=columnheader][aria-sort="{word}"] [data-key="{key}"]')
        # Equal values, and those that are not known, stand in the order of the SAEs.
        text = f"SELECT sae, feature FROM features ORDER BY {key} {order} NULLS LAST, layer, sae, feature LIMIT 12"
        assert page.rows(12) == addresses(asked, text)
    page.page.evaluate("document.getElementById('table').scrollTop = 1e9")
    page.page.wait_for_selector("#row-621")
    assert page.page.locator("#table .rows .row").count() < 60


def test_a_set_ranks_the_table_and_the_top_row_opens_its_card(open_page: Callable[..., Page], asked: Catalogue) -> None:
    page = open_page()
    page.page.fill("#rank-set", "girls_names")
    page.wait_count("by how they promote girls_names")
    ranked = asked.query("enriched_for", set_name="girls_names", n=8).fetchall()
    assert page.rows(8) == [f"{row[0]}/{row[1]}" for row in ranked]
    cells = page.page.locator("#row-1 [role=gridcell]").all_inner_texts()
    assert float(cells[1]) == pytest.approx(ranked[1][2], abs=0.006)
    assert float(cells[2].replace("−", "-")) == pytest.approx(ranked[1][4], rel=0.06)
    page.page.click("#row-0")
    playwright.expect(page.page.locator("#card h2")).to_have_text(f"{ranked[0][0]}/{ranked[0][1]}")
    assert page.page.evaluate("location.hash") == f"#feature={ranked[0][0]}/{ranked[0][1]}"
    assert page.page.get_attribute("#row-0", "aria-selected") == "true"
    tokens = page.page.locator("#card .bars.up .token").all_inner_texts()
    expected = asked.query("tokens_of", sae=ranked[0][0], feature=ranked[0][1], n=10).fetchall()
    assert tokens == [visible_token(row[3]) for row in expected if row[2] > 0]
    page.page.select_option("[aria-label=Direction]", "-1")
    page.wait_count("by how they suppress girls_names")
    suppressed = asked.query("suppressed_for", set_name="girls_names", n=8).fetchall()
    assert page.rows(8) == [f"{row[0]}/{row[1]}" for row in suppressed]
    playwright.expect(page.page.locator("#row-0 .token").first).to_have_text(visible_token(suppressed[0][12][0]))


def number(text: str) -> float:
    return float(text.replace("−", "-").removesuffix(" %"))


def test_a_card_shows_the_numbers_of_the_catalogue(open_page: Callable[..., Page], asked: Catalogue) -> None:
    page = open_page("#feature=tiny/29-mlp/573")
    card = feature_card(asked, "tiny/29-mlp/573")
    assert page.title() == "tiny/29-mlp/573"
    rows = page.page.locator("#card .statistics tbody tr").all_inner_texts()
    shown = {cells[0]: cells[1:] for cells in (row.split("\t") for row in rows)}
    known = {name: entry for name, entry in card["statistics"].items() if entry["value"] is not None}
    assert set(shown) == set(known)
    for name, entry in known.items():
        assert number(shown[name][0]) == pytest.approx(entry["value"], rel=6e-4, abs=1e-12)
        assert number(shown[name][1]) == pytest.approx(entry["percentile"], abs=0.051)
    bins = page.page.locator("#card .histogram title").all_text_contents()
    counts = [int(re.findall(r": ([\d,]+) tokens", text)[0].replace(",", "")) for text in bins]
    assert counts == [count for count in card["histogram"]["counts"] if count]
    for style, sets in (("up", card["promoted_sets"]), ("down", card["suppressed_sets"])):
        lines = page.page.locator(f"#card .sets.{style} tbody tr").all_inner_texts()
        assert [line.split("\t")[0] for line in lines] == [entry["set_name"] for entry in sets]
        for line, entry in zip(lines, sets, strict=True):
            assert number(line.split("\t")[1]) == pytest.approx(entry["z"], abs=0.0051)
    assert "5.8e−398" in page.page.inner_text("#card .sets.up")
    weights = page.page.locator("#card .bars.down .number").all_inner_texts()
    expected = [token["weight"] for token in card["bottom_tokens"]]
    assert [number(text) for text in weights] == pytest.approx(expected, abs=0.0051)
    assert page.page.locator("#card a[target=_blank]").count() == 0
    other = open_page("#feature=tiny/8-res-jb/7")
    link = other.page.get_attribute("#card a[target=_blank]", "href")
    assert link == "https://www.neuronpedia.org/tiny/8-res-jb/7"


def test_filters_leave_what_sql_leaves(open_page: Callable[..., Page], asked: Catalogue) -> None:
    page = open_page()

    def expect(condition: str) -> None:
        ((n,),) = asked.sql(f"SELECT count(*) FROM features WHERE {condition}").fetchall()
        page.wait_count(f"^{n} (of 622 )?features$")

    page.page.fill("#low-kurtosis", "3.1")
    expect("kurtosis >= 3.1")
    page.page.fill("#high-skewness", "0.2")
    expect("kurtosis >= 3.1 AND skewness <= 0.2::FLOAT")
    page.page.fill("#low-kurtosis", "")
    expect("skewness <= 0.2::FLOAT")
    page.page.click("#reset")
    page.wait_count("^622 features$")
    page.page.click("label:has-text('prediction')")
    expect("cos_kurtosis > 10 AND cos_skewness > 0")
    page.page.click("summary:has-text('Thresholds')")
    page.page.fill("#threshold-kurtosis", "4")
    expect("cos_kurtosis > 4 AND cos_skewness > 0")
    page.page.click("label:has-text('partition')")
    expect("(cos_kurtosis > 4 AND cos_skewness > 0) OR cos_std ** 2 > .005")
    page.page.click("#reset")
    page.page.fill("#layer-low", "9")
    expect("layer >= 9")
    page.page.click("label:has-text('29-mlp')")
    expect("layer >= 9 AND sae <> 'tiny/29-mlp'")
    page.page.click("#reset")
    page.page.fill("#low-log10_density", "-3")
    expect("log10_density >= -3")
    page.page.click("#reset")
    page.page.fill("#rank-set", "digits")
    page.page.fill("#max-q", "0.05")
    ((n,),) = asked.sql(
        "SELECT count(*) FROM enrichments WHERE set_name = 'digits' AND z > 0 AND log10_q <= log10(0.05)"
    ).fetchall()
    page.wait_count(f"^{n} of 622 features, by how they promote digits$")


def test_search_finds_tokens_notes_and_addresses(open_page: Callable[..., Page], asked: Catalogue) -> None:
    page = open_page()
    page.page.fill("#search", "word3")
    ((n,),) = asked.sql(
        "SELECT count(DISTINCT (sae, feature)) FROM top_tokens WHERE rank BETWEEN 1 AND 6 AND token LIKE '%word3%'"
    ).fetchall()
    page.wait_count(f"^{n} of 622 features$")
    page.page.fill("#search", "ZEBRA")
    page.wait_count("^1 of 622 features$")
    playwright.expect(page.page.locator("#row-0 .address")).to_have_text("tiny/29-mlp/44")
    page.page.fill("#search", "29-mlp/573")
    playwright.expect(page.page.locator("#row-0 .address")).to_have_text("tiny/29-mlp/573")
    page.wait_count("^1 of 622 features$")
    page.page.fill("#search", "no such thing")
    page.wait_count("^0 of 622 features$")


def test_a_point_of_a_plot_opens_its_card(open_page: Callable[..., Page], asked: Catalogue) -> None:
    page = open_page()
    page.page.focus("#plot-points")
    page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press("ArrowRight")
    ((sae, feature),) = asked.sql("SELECT sae, feature FROM features ORDER BY skewness LIMIT 1 OFFSET 1").fetchall()
    assert page.page.inner_text("#plot .tip").split("\n")[0] == f"{sae}/{feature}"
    ring = page.page.locator("#plot .ring:not(.chosen)").bounding_box()
    page.page.mouse.click(ring["x"] + ring["width"] / 2, ring["y"] + ring["height"] / 2)
    playwright.expect(page.page.locator("#card h2")).to_have_text(f"{sae}/{feature}")
    page.page.keyboard.press("Escape")
    for kind, name in (("manhattan", "boys_names"), ("sets", "girls_names")):
        page.page.select_option("#plot-kind", kind)
        page.page.fill("#plot-first", name)
        page.page.focus("#plot-points")
        walk_to_the_first(page.page, f"{name} z ")
    page.page.keyboard.press("Enter")
    ((sae, feature),) = asked.sql(
        "SELECT sae, feature FROM enrichments WHERE set_name = 'girls_names' ORDER BY z LIMIT 1"
    ).fetchall()
    playwright.expect(page.page.locator("#card h2")).to_have_text(f"{sae}/{feature}")


def walk_to_the_first(page: Any, text: str) -> None:
    """Go to the point furthest left, once the plot that has `text` on its points is drawn."""
    for _ in range(60):
        page.keyboard.press("ArrowLeft")
        if text in (page.text_content("#plot .tip") or ""):
            break
        page.wait_for_timeout(50)
    playwright.expect(page.locator("#plot .tip")).to_contain_text(text)


def test_the_page_of_a_set(open_page: Callable[..., Page], asked: Catalogue) -> None:
    page = open_page("#sets")
    page.page.fill("#set-search", "boys")
    page.page.click("a:has-text('boys_names')")
    page.page.wait_for_selector("#view-set h1")
    assert page.page.inner_text("#view-set h1") == "boys_names"
    members = asked.sql(
        "SELECT str FROM token_set_member JOIN token_set USING (set_id) JOIN token USING (model_id, token_id)"
        " WHERE name = 'boys_names' ORDER BY token_id"
    ).fetchall()
    assert page.page.locator(".members .token").all_inner_texts() == [visible_token(text) for (text,) in members]
    first = page.page.locator(".list.up tbody tr").first.inner_text().split("\t")
    ((sae, feature, z),) = asked.sql("SELECT sae, feature, z FROM enriched_for('boys_names', n := 1)").fetchall()
    assert first[0] == f"{sae}/{feature}"
    assert number(first[1]) == pytest.approx(z, abs=0.006)
    lines = [line.split("\t") for line in page.page.locator(".by-sae tbody tr").all_inner_texts()]
    counted = asked.sql(
        "SELECT s.slug, n_promoted, n_suppressed FROM set_summary JOIN sae s USING (sae_id)"
        " JOIN token_set t USING (set_id) WHERE t.name = 'boys_names' ORDER BY layer"
    ).fetchall()
    assert [(line[1], int(line[2]), int(line[6])) for line in lines] == counted
    page.page.click("a:has-text('Rank features that promote it')")
    page.wait_count("by how they promote boys_names")
    assert page.rows(1) == [f"{sae}/{feature}"]
    assert page.page.input_value("#rank-set") == "boys_names"


def test_hostile_text_is_text(open_page: Callable[..., Page]) -> None:
    page = open_page("#feature=tiny/8-res-jb/7")
    shown = visible_token(HOSTILE)
    assert page.page.inner_text("#card .token >> nth=0") == shown
    assert HOSTILE.replace("\u2028", "\\u2028") in page.page.inner_text("#card .notes")
    page.page.goto(page.page.url.split("#")[0] + "#sets")
    page.page.click("a:has-text('onerror')")
    page.page.wait_for_selector("#view-set h1")
    assert page.page.inner_text("#view-set h1") == HOSTILE.replace("\u2028", "\\u2028")
    page.page.click(".list.up tbody tr a >> nth=0")
    playwright.expect(page.page.locator("#card h2")).to_have_text(re.compile(re.escape(ODD_SLUG)))
    page.page.reload()
    page.page.wait_for_selector("html[data-ready]")
    assert page.title().startswith(f"{ODD_SLUG}/")
    assert page.page.locator("img, iframe, object").count() == 0
    # What got in all the same would not run.
    page.page.evaluate("document.head.append(Object.assign(document.createElement('script'), {text: 'hacked = 1'}))")
    page.faults = [fault for fault in page.faults if "Content Security Policy" not in fault]


def test_the_keyboard_alone_reaches_a_card_and_comes_back(open_page: Callable[..., Page]) -> None:
    page = open_page()
    page.page.keyboard.press("Tab")
    assert page.page.evaluate("document.activeElement.textContent") == "Skip to the table of features"
    page.page.keyboard.press("Enter")
    assert page.page.evaluate("document.activeElement.id") == "table"
    page.page.keyboard.press("ArrowDown")
    page.page.keyboard.press("PageDown")
    active = page.page.get_attribute("#table", "aria-activedescendant")
    assert page.page.locator(f"#{active}").is_visible()
    address = page.page.text_content(f"#{active} .address")
    page.page.keyboard.press("Enter")
    playwright.expect(page.page.locator("#card h2")).to_be_focused()
    assert page.title() == address
    page.page.keyboard.press("Escape")
    playwright.expect(page.page.locator("#card")).to_be_hidden()
    assert page.page.evaluate("document.activeElement.id") == "table"
    assert page.page.evaluate("location.hash") == "#features"
    page.page.keyboard.press("End")
    page.page.wait_for_selector("#row-621.active")


def test_every_control_has_a_name(open_page: Callable[..., Page]) -> None:
    page = open_page("#feature=tiny/8-res-jb/7")
    nameless = page.page.evaluate(
        """() => [...document.querySelectorAll("input, select, button, a[href], [role=grid], [role=application]")]
        .filter((e) => !(e.getAttribute("aria-label") || e.textContent.trim() || (e.labels && e.labels.length)
            || (e.closest("fieldset") && e.closest("fieldset").querySelector("legend"))))
        .map((e) => e.outerHTML)"""
    )
    assert nameless == []


CONTRASTS = """() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(Number).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$|transparent/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const poor = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.checkVisibility() || e.closest(":disabled, canvas, svg, .skip, noscript, option")) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(`${ratio.toFixed(2)} ${e.className} ${e.textContent.slice(0, 30)}`);
  }
  return poor;
}"""


def test_text_has_contrast_in_light_and_dark(open_page: Callable[..., Page]) -> None:
    page = open_page("#feature=tiny/8-res-jb/7", color_scheme="dark")
    for shade in ("dark", "light"):
        assert page.page.get_attribute("html", "data-shade") == shade
        for view in ("#feature=tiny/8-res-jb/7", "#sets", "#set=digits", "#about"):
            page.page.evaluate("(view) => { location.hash = view; }", view)
            waited = "#card h2" if "feature" in view else f"#view-{view[1:].split('=')[0]} h1"
            page.page.wait_for_selector(waited)
            assert page.page.evaluate(CONTRASTS) == []
        page.page.click("#theme")
    page.page.click("#theme")
    page.page.reload()
    page.page.wait_for_selector("html[data-ready]")
    assert page.page.get_attribute("html", "data-shade") == "light"


def test_nothing_moves_for_those_who_ask_for_that(open_page: Callable[..., Page]) -> None:
    moving = "getComputedStyle(document.getElementById('card')).animationName"
    assert open_page("#feature=tiny/8-res-jb/7").page.evaluate(moving) == "slide"
    still = open_page("#feature=tiny/8-res-jb/7", reduced_motion="reduce")
    assert still.page.evaluate(moving) == "none"


def test_a_narrow_window_has_no_sideways_scroll_and_a_card_of_its_own(open_page: Callable[..., Page]) -> None:
    page = open_page(viewport={"width": 400, "height": 800})
    page.page.click("#row-0")
    box = page.page.locator("#card")
    playwright.expect(box).to_be_visible()
    assert box.bounding_box()["width"] == pytest.approx(400, abs=16)
    assert page.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.page.click("[aria-label='Close the card']")
    playwright.expect(box).to_be_hidden()


def test_an_address_that_is_not_there_is_said(open_page: Callable[..., Page]) -> None:
    page = open_page("#feature=tiny/8-res-jb/999")
    assert page.page.inner_text("#fault") == "This report has no feature tiny/8-res-jb/999."
    page.page.goto(page.page.url.split("#")[0] + "#set=%E0%A4%A")
    page.page.wait_for_selector("#view-set h1:has-text('No such token set')")


def test_about_names_sources_and_hashes(open_page: Callable[..., Page], asked: Catalogue) -> None:
    page = open_page("#about")
    text = page.page.inner_text("#view-about")
    ((sha, unembed),) = asked.sql("SELECT tokenizer_sha256, unembed_sha256 FROM model").fetchall()
    for part in (sha, unembed, "made by hand (CC0)", "uplot", "1.6.32", "@tanstack/virtual-core", "small.duckdb"):
        assert part in text
