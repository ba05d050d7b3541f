"""The generated parts of docs/significance.md: every number on the page, from the files that the run wrote.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`. It depends on the files alone, so a test can tell
whether the page still says what was measured.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from calibration_page_power import PARTS as POWER_PARTS
from calibration_page_power import chosen, mean_of
from calibration_results import Results, label, number, percent, table

SHOWN_SETS = (
    "starts_with_space",
    "suffix_ing",
    "first_letter_s",
    "non_ascii",
    "all_caps",
    "girls_names",
    "months",
    "quotes",
    "she_pronouns",
    "all_digits",
)
DIRECTION_COLUMNS = ("log10_p", "log10_p_adj", "log10_p_es")
TOKEN_COLUMNS = ("log10_p_ks", "log10_p_top")
_PART = re.compile(r"<!-- generated: (?P<name>\w+) -->(?P<body>.*?)<!-- end -->", re.DOTALL)


def fill_page(text: str, results: Results) -> str:
    """Return the page with every generated part written anew; KeyError for a part that nobody writes."""

    def fill(match: re.Match[str]) -> str:
        body = PARTS[match["name"]](results)
        body = f"\n{body}\n" if "\n" in body else body
        return f"<!-- generated: {match['name']} -->{body}<!-- end -->"

    return _PART.sub(fill, text)


def _relative(entry: dict[str, Any], level: str) -> str:
    return f"{100 * (entry['pooled'] / float(level) - 1):+.1f} %"


def _acceptance(results: Results) -> str:
    rows = []
    for d in results.summary["decoders"]:
        for column in ("log10_p", "log10_p_adj"):
            levels = d["columns"][column]["levels"]
            errors = [abs(levels[level]["pooled"] / float(level) - 1) for level in ("0.05", "0.001")]
            verdict = "yes" if errors[0] <= 0.1 and errors[1] <= 0.3 else "**no**"
            relative = [_relative(levels[level], level) for level in ("0.05", "0.001", "0.0001")]
            rows.append([label(d["decoder"]), f"`{column}`", *relative, verdict])
    header = ["decoder", "column", "at .05 (tolerance 10 %)", "at 1e-3 (30 %)", "at 1e-4", "held"]
    return table(header, rows)


def _headline(results: Results) -> str:
    sae, neurons = results.summary["decoders"]
    first = [row for row in results.rates if row["decoder"] == sae["decoder"]]
    space = next(row for row in first if row["set"] == "starts_with_space")
    tokens = [percent(d["columns"]["log10_p_ks"]["levels"]["0.05"]["pooled"], 0) for d in (sae, neurons)]
    p = sae["columns"]["log10_p"]["levels"]
    z, score = (chosen(results, "conditional", method, "0.2") for method in ("z", "score"))
    real = [
        [percent(d["real"]["called"][c], k) for d in (sae, neurons)] for c, k in (("log10_p_ks", 0), ("log10_p", 2))
    ]
    found = [[percent(mean_of(rows, "power"), 0), percent(mean_of(rows, "fdr"), 1)] for rows in (z, score)]
    lines = [
        f"**The random-token test calls noise.** Random directions pass it at p < .05 in {tokens[0]} (SAE) and "
        f"{tokens[1]} (neurons) of all pairs of a set and a direction; for `starts_with_space` in "
        f"{percent(space['log10_p_ks_0.05'])}.",
        f"**`log10_p` does not.** Its rate over all sets is {number(p['0.05']['pooled'])} at .05, "
        f"{number(p['0.001']['pooled'])} at 1e-3 and {number(p['0.0001']['pooled'])} at 1e-4 (SAE), for small sets and "
        "large ones alike.",
        f"**So it can choose.** With real features, Benjamini-Hochberg on the random-token p calls {real[0][0]} (SAE) "
        f"and {real[0][1]} (neurons) of all pairs; on `log10_p` {real[1][0]} and {real[1][1]}.",
        f"**And it finds what is there.** Of features planted at strength .2, one among a hundred, q < .05 on `z` "
        f"finds {found[0][0]} with {found[0][1]} false discoveries; on the published score {found[1][0]} with "
        f"{found[1][1]}.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _setup(results: Results) -> str:
    rows = [
        [
            f"`{d['decoder']}` ({label(d['decoder'])})",
            f"{d['rows']:,}",
            f"{d['d_model']}",
            f"{d['directions']:,}",
            f"{d['sets']}",
            f"{d['tokens']:,}",
        ]
        for d in results.summary["decoders"]
    ]
    return table(["decoder", "rows F", "d", "fresh directions", "sets", "tokens V"], rows)


def _random_tokens(results: Results) -> str:
    rows = []
    first = results.summary["decoders"][0]["decoder"]
    for row in results.rates:
        if row["decoder"] == first and row["set"] in SHOWN_SETS:
            rows.append(
                [
                    f"`{row['set']}`",
                    f"{int(row['n']):,}",
                    f"{float(row['vif']):.0f}",
                    percent(row["log10_p_ks_0.05"]),
                    percent(row["log10_p_ks_0.001"]),
                    f"{float(row['score_q95_tokens']):.3f}",
                    f"{float(row['score_q95_directions']):.3f}",
                    percent(row["log10_p_0.05"]),
                ]
            )
    rows.sort(key=lambda cells: -float(cells[2]))
    header = ["set", "n", "VIF", "random-token p < .05", "p < .001", "95 % point of the score: tokens", "directions"]
    return table([*header, "`log10_p` < .05"], rows)


def _real_features(results: Results) -> str:
    rows = []
    for d in results.summary["decoders"]:
        for column, name in (("log10_p", "`z`"), ("log10_p_ks", "published score"), ("log10_p_top", "`log10_p_top`")):
            real = d["real"]
            cells = [label(d["decoder"]), name, percent(real["called"][column], 2)]
            rows.append([*cells, f"{real['sets_over_half'][column]} of {d['sets']}"])
    return table(["decoder", "test", "pairs called at q < .05", "sets that call over half of all features"], rows)


def _calibration(results: Results) -> str:
    rows = []
    for d in results.summary["decoders"]:
        for column in DIRECTION_COLUMNS:
            found = d["columns"][column]
            for level, entry in found["levels"].items():
                quantiles = entry["quantiles"]
                within = ""
                if "inside_tolerance" in entry:
                    expected = entry["expected_inside_tolerance"]
                    within = f"{entry['inside_tolerance']} of {found['sets']} ({expected:.1f})"
                rows.append(
                    [
                        label(d["decoder"]),
                        f"`{column}`",
                        level,
                        f"{number(entry['pooled'])} ± {number(entry['standard_error'])}",
                        f"{number(quantiles[0])} – {number(quantiles[4])}",
                        within,
                        f"{entry['inside_95_band']} of {found['sets']}",
                        f"`{entry['worst_set']}` {number(entry['worst_rate'])} ({entry['worst_p_bonferroni']:.2g})",
                    ]
                )
    header = [
        "decoder",
        "column",
        "level",
        "rate, all sets",
        "range over sets",
        "within 10 % / 30 % (expected)",
        "in the 95 % band",
    ]
    return table([*header, "farthest set (Bonferroni p)"], rows)


def _token_rates(results: Results) -> str:
    rows = []
    for d in results.summary["decoders"]:
        for column in TOKEN_COLUMNS:
            levels = d["columns"][column]["levels"].values()
            ranges = [
                f"{number(e['pooled'])} ({number(e['quantiles'][0])} – {number(e['quantiles'][4])})" for e in levels
            ]
            rows.append([label(d["decoder"]), f"`{column}`", *ranges])
    return table(["decoder", "column", ".05", "1e-3", "1e-4"], rows)


def _named_rates(results: Results) -> str:
    columns = DIRECTION_COLUMNS + TOKEN_COLUMNS
    rows = []
    for row in results.rates:
        if row["set"] in SHOWN_SETS:
            cells = [label(row["decoder"]), f"`{row['set']}`"]
            cells += [f"{number(row[f'{c}_0.05'])} · {number(row[f'{c}_0.001'])}" for c in columns if row[f"{c}_0.05"]]
            if not row["log10_p_adj_0.05"]:
                cells.insert(3, "NULL")
            rows.append(cells)
    return table(["decoder", "set", *(f"`{c}`" for c in columns)], rows)


def _in_sample(results: Results) -> str:
    rows = []
    for d in results.summary["decoders"]:
        for column in ("log10_p", "log10_p_adj"):
            levels = d["in_sample"][column]["levels"].values()
            cells = [label(d["decoder"]), f"{d['in_sample']['replicates']} x {d['in_sample']['rows']:,}", f"`{column}`"]
            rows.append([*cells, *(f"{number(e['pooled'])} ± {number(e['standard_error'])}" for e in levels)])
    return table(["decoder", "dictionaries x rows", "column", ".05", "1e-3", "1e-4"], rows)


def _mixtures(results: Results) -> str:
    rows = [
        [label(d["decoder"]), str(mixture["rows_mixed"]), *(number(rate) for rate in mixture["pooled"].values())]
        for d in results.summary["decoders"]
        for mixture in d["mixtures"]
    ]
    return table(["decoder", "real rows summed", ".05", "1e-3", "1e-4"], rows)


def _leverage(results: Results) -> str:
    rows = [
        [
            f"{x['decoder'].split('/')[-1].removesuffix('-mlp')}/{x['feature']}",
            f"{x['z']:.2f}",
            f"{x['length']:.3f}",
            *(f"{x[form]:.2f}" for form in ("exact", "normal", "fixed_length")),
        ]
        for x in results.summary["leverage"]
    ]
    header = ["neuron", "`z`", "length / sqrt(d)", "featdex: cosine z / length", "normal tail of z", "z / sqrt(d)"]
    return table(header, rows)


def _readings(results: Results) -> str:
    names = {"exact": "cosine z / length (`log10_p`)", "normal": "normal tail of z", "fixed_length": "z / sqrt(d)"}
    rows = [
        [label(d["decoder"]), names[form], *(number(rate) for rate in d["readings"][form].values())]
        for d in results.summary["decoders"]
        for form in names
    ]
    return table(["decoder", "reading", ".05", "1e-3", "1e-4"], rows)


def _multiplicity(results: Results) -> str:
    rows = []
    for d in results.summary["decoders"]:
        for column, found in d["global_null"].items():
            cells = [f"{percent(found[q]['called'])} of {found[q]['families']:,}" for q in ("q", "q_all")]
            rows.append([label(d["decoder"]), f"`{column}`", *cells])
    first = results.summary["decoders"][0]["global_null"]["log10_p"]
    header = [f"one set, {first['q']['tests']:,} directions", f"all sets, {first['q_all']['tests']:,} tests"]
    return table(["decoder", "column", *header], rows)


PARTS: dict[str, Callable[[Results], str]] = {
    "headline": _headline,
    "acceptance": _acceptance,
    "readings": _readings,
    "setup": _setup,
    "random_tokens": _random_tokens,
    "real_features": _real_features,
    "calibration": _calibration,
    "token_rates": _token_rates,
    "named_rates": _named_rates,
    "in_sample": _in_sample,
    "mixtures": _mixtures,
    "leverage": _leverage,
    "multiplicity": _multiplicity,
    **POWER_PARTS,
}
