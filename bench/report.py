"""How quick the page of a report is: time until there is a table, and the longest task of every action.

    python bench/report.py --out bench/results/report.json
    python bench/report.py --db demo.duckdb --out bench/results/report-demo.json

By default of a catalogue of random numbers as large as all residual SAEs of GPT-2 small (12 x 24,576 features, 100
sets), in headless Chromium, from disk. A task over 50 ms is what a browser calls long: while it lasts, nothing moves.
`ms` is from the action to the frame that shows its outcome; `CPU` is all processor time of the page's main thread,
which other work on the machine lengthens little.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from featdex.catalogue.catalogue import connect
from featdex.catalogue.report import write_report
from featdex.catalogue.report_plan import Options, make_plan
from measure import Record, load_average, machine, save, table
from report_catalogue import make_catalogue

ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# Told before anything of the page runs.
WATCH = """
window.tasks = [];
new PerformanceObserver((list) => { for (const e of list.getEntries()) window.tasks.push([e.startTime, e.duration]); })
  .observe({ type: "longtask", buffered: true });
"""
# Does something, waits until a condition holds and the frame after it is drawn: [ms, longest task].
ACT = """async ([action, done]) => {
  const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
  const [act, is] = [new Function(action), new Function(`return ${done}`)];
  await frame();
  const from = performance.now();
  act();
  while (!is()) await frame();
  await frame();
  const until = performance.now();
  await new Promise((resolve) => setTimeout(resolve, 700));
  return [until - from, Math.max(0, ...window.tasks.filter(([at]) => at >= from - 1).map(([, ms]) => ms))];
}"""
COUNT = "document.getElementById('count').textContent"
SET_VALUE = """const field = document.getElementById('%s'); field.value = '%s';
field.dispatchEvent(new Event('input', { bubbles: true }));"""


def actions() -> list[tuple[str, str, str]]:
    """Name, JavaScript that does it as a user would, and the condition by which it is done."""
    sort = "document.querySelector('[data-key=\"%s\"]').click()"
    sorted_by = 'document.querySelector(\'[aria-sort="%s"] [data-key="%s"]\')'
    return [
        ("sort by skewness", sort % "skewness", sorted_by % ("descending", "skewness")),
        ("turn the order round", sort % "skewness", sorted_by % ("ascending", "skewness")),
        ("filter kurtosis >= 5", SET_VALUE % ("low-kurtosis", "5"), f"{COUNT}.includes(' of ')"),
        (
            "take the filter off",
            SET_VALUE % ("low-kurtosis", ""),
            f"!{COUNT}.includes(' of ')",
        ),
        ("rank by girls_names", SET_VALUE % ("rank-set", "girls_names"), f"{COUNT}.includes('girls_names')"),
        (
            "open the top card",
            "document.querySelector('#row-0').click()",
            "document.querySelector('#card h2') && document.querySelectorAll('#card .token').length",
        ),
        (
            "next feature",
            "document.querySelector('#card [aria-label^=Next]').click()",
            "document.querySelector('#row-1').getAttribute('aria-selected') === 'true'",
        ),
        ("search 'ab1'", SET_VALUE % ("search", "ab1"), f"{COUNT} !== window.before"),
        ("end of the search", SET_VALUE % ("search", ""), f"{COUNT} !== window.before"),
        (
            "scroll to the end",
            "document.getElementById('table').scrollTop = 1e9",
            "document.getElementById(`row-${featdex.features.now.order.length - 1}`)",
        ),
        (
            "Manhattan of a set",
            "const box = document.getElementById('plot-kind'); box.value = 'manhattan';"
            " box.dispatchEvent(new Event('change'))",
            "document.querySelector('.legend').textContent.includes('alternate')",
        ),
        (
            "page of a set",
            "location.hash = '#set=girls_names'",
            "document.querySelector('#view-set h1') && !document.getElementById('view-set').hidden",
        ),
    ]  # fmt: skip


def measure_page(index: Path, chromium: str, repeats: int) -> Record:
    """Open a report `repeats` times, and run all actions in the last."""
    from playwright.sync_api import sync_playwright

    opened = []
    with sync_playwright() as started:
        for k in range(repeats):
            browser = started.chromium.launch(executable_path=chromium, args=ARGUMENTS, headless=True)
            page = browser.new_page(viewport={"width": 1400, "height": 900})
            page.add_init_script(WATCH)
            session = page.context.new_cdp_session(page)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            page.goto(index.as_uri())
            page.wait_for_selector("html[data-ready]", timeout=120_000)
            page.wait_for_timeout(1500)
            opened.append(opening(page))
            if k == repeats - 1:
                acted = [_acted(page, session, *action) for action in actions()]
            browser.close()
    best = min(opened, key=lambda record: float(record["first_table_ms"]))
    return {"opened": opened, "best": best, "actions": acted}


def opening(page: Any) -> Record:
    """What a page tells of its start, in milliseconds from the call of its address."""
    marks = page.evaluate("Object.fromEntries(performance.getEntriesByType('mark').map((m) => [m.name, m.startTime]))")
    return {
        "first_table_ms": marks["featdex-table"],
        "tokens_ms": marks["featdex-tokens"],
        "plot_ms": marks["featdex-plot"],
        "longest_task_ms": page.evaluate("Math.max(0, ...window.tasks.map(([, ms]) => ms))"),
        "heap_mb": page.evaluate("performance.memory ? performance.memory.usedJSHeapSize / 1e6 : null"),
    }


def _busy_ms(session: Any) -> float:
    """Processor time of the page's main thread so far."""
    metrics = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}
    return float(metrics["TaskDuration"]) * 1000


def _acted(page: Any, session: Any, name: str, action: str, done: str) -> Record:
    before = _busy_ms(session)
    page.evaluate("window.before = document.getElementById('count').textContent")
    ms, longest = page.evaluate(ACT, [action, done])
    return {"action": name, "ms": ms, "longest_task_ms": longest, "cpu_ms": _busy_ms(session) - before}


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of a call, and what it returned."""
    started = time.perf_counter()
    outcome = work()
    return time.perf_counter() - started, outcome


def text_of(results: Record) -> str:
    """Return the tables of the results."""
    size = results["report"]
    best = results["page"]["best"]
    rows = [
        (entry["action"], *(f"{entry[key]:.0f}" for key in ("ms", "longest_task_ms", "cpu_ms")))
        for entry in results["page"]["actions"]
    ]
    lines = [
        f"{size['features']:,} features x {size['sets']:,} sets, a catalogue of {size['catalogue_mb']:,.0f} MB",
        f"report: {size['mb']:.0f} MB in {size['files']:,} data files, written in {size['seconds']:.0f} s; said before:"
        f" {size['estimated_mb']:.0f} MB",
        f"first table after {best['first_table_ms']:.0f} ms, tokens {best['tokens_ms']:.0f} ms, plot"
        f" {best['plot_ms']:.0f} ms; longest task {best['longest_task_ms']:.0f} ms; the best of"
        f" {len(results['page']['opened'])} starts",
        "",
        table("Actions (longest task 0: none over 50 ms)", ("action", "ms", "longest task, ms", "CPU, ms"), rows),
        f"load average at the end {results['load_average_at_end']:.1f}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make a catalogue and its report, measure, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--db", type=Path, help="a catalogue; by default one of random numbers is made")
    parser.add_argument("--saes", type=int, default=12)
    parser.add_argument("--features", type=int, default=24_576)
    parser.add_argument("--sets", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--work", type=Path, help="a folder to keep catalogue and report in")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("no Chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as name:
        work = arguments.work or Path(name)
        save(arguments.out, results := measured(arguments, work, chromium), text_of(results))
    print(text_of(results))


def measured(arguments: argparse.Namespace, work: Path, chromium: str) -> Record:
    """Return everything that is measured."""
    facts = machine()
    db = arguments.db or work / "random.duckdb"
    if not db.exists():
        make_catalogue(db, arguments.saes, arguments.features, arguments.sets)
    with connect(db) as catalogue:
        plan = make_plan(catalogue, Options())
        seconds, written = timed(lambda: write_report(catalogue, work / "report", plan))
    size = {
        "features": plan.n_features, "saes": len(plan.saes), "sets": len(plan.sets), "mb": written.n_bytes / 1e6,
        "files": written.n_files, "estimated_mb": plan.estimated_bytes() / 1e6, "seconds": seconds,
        "catalogue_mb": db.stat().st_size / 1e6,
    }  # fmt: skip
    page = measure_page(work / "report" / "index.html", chromium, arguments.repeats)
    return {"machine": facts, "report": size, "page": page, "load_average_at_end": load_average()}


if __name__ == "__main__":
    main()
