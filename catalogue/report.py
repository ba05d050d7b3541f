"""A catalogue as a site of files that any browser opens from disk: no server, no network, nothing to install."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .interrupts import interruptible
from .report_about import write_about
from .report_chunks import ChunkWriter
from .report_features import write_cards, write_notes, write_statistics, write_vocabularies
from .report_folder import report_folder, write_page
from .report_plan import CARDS_IN_A_FILE, SHOWN_TOKENS, Plan
from .report_sets import write_sets
from .tables import FEATURE, STATISTICS

if TYPE_CHECKING:
    from .catalogue import Catalogue


class Written(NamedTuple):
    """A report that was written: bytes and number of its data files, and bytes of all."""

    n_bytes: int
    n_files: int


def write_report(catalogue: Catalogue, out: Path, plan: Plan) -> Written:
    """Write a report into the folder `out`; one that is there is replaced when the new one is whole.

    Args:
        catalogue: The catalogue.
        out: The folder.
        plan: What to write, from `report_plan.make_plan`.

    Raises:
        UsageError: `out` is there and no report.
        FeatdexError: It can't be written, or the catalogue can't be read.
    """
    with report_folder(out) as folder, interruptible(catalogue.connection):
        n_page = write_page(folder)
        writer = ChunkWriter(folder / "data")
        statistics = write_statistics(catalogue, plan, writer)
        leaders = write_sets(catalogue, plan, writer)
        write_cards(catalogue, plan, writer, statistics, leaders)
        n_notes = write_notes(catalogue, plan, writer)
        write_vocabularies(catalogue, plan, writer)
        write_about(catalogue, plan, writer)
        known = {name for name, values in statistics.items() if not np.isnan(values).all()}
        writer.write("manifest", _manifest(catalogue, plan, n_notes, known))
        return Written(n_page + writer.n_bytes, writer.n_files)


def _manifest(catalogue: Catalogue, plan: Plan, n_notes: list[int], known: set[str]) -> dict[str, Any]:
    """Return what the page has to know before anything else."""
    model_index = {model["model_id"]: k for k, model in enumerate(plan.models)}
    kept = ("slug", "release", "kind", "layer", "hook_name", "neuronpedia_id")
    comments = {column.name: column.comment for column in FEATURE.columns}
    return {
        "title": catalogue.path.stem,
        "n_features": plan.n_features,
        "n_top": plan.options.top,
        "n_shown": SHOWN_TOKENS,
        "cards_in_a_file": CARDS_IN_A_FILE,
        "models": [{"name": model["name"], "d_vocab": model["d_vocab"]} for model in plan.models],
        "saes": [
            {name: sae.row[name] for name in kept}
            | {"model": model_index[sae.model_id], "start": sae.start, "n": sae.n, "n_notes": notes}
            for sae, notes in zip(plan.saes, n_notes, strict=True)
        ],
        "statistics": [{"name": name, "comment": comments[name], "known": name in known} for name in STATISTICS],
        "sets": [
            {"name": part.name, "collection": part.collection or "", "description": part.description or ""}
            | {"n_tokens": part.n_tokens}
            for part in plan.sets
        ],
    }
