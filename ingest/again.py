"""Ingesting again what a catalogue holds, by what the ledger says it came from: how new sets get to every SAE."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from ..catalogue.errors import FeatdexError, NotFoundError
from ..catalogue.file import DEFAULT_WAIT_SECONDS
from ..catalogue.write import ledger
from .device import Options
from .inputs import LanguageModel
from .jobs import jobs_for
from .models import read_model
from .pipeline import Job
from .rows import Origin


class Batch(NamedTuple):
    """The dictionaries of one model that were computed with the same options."""

    model: LanguageModel
    jobs: list[Job]
    options: Options


def known_batches(
    path: str | os.PathLike[str], options: Options, wait: float = DEFAULT_WAIT_SECONDS
) -> Iterator[Batch]:
    """Yield what the catalogue holds, model by model, each read when its turn comes.

    Args:
        path: The catalogue.
        options: Device, memory and threads; what changes numbers is taken from the ledger.
        wait: Seconds to wait for a writer.

    Raises:
        NotFoundError: The catalogue holds no SAE, or one whose source is not known or not there any more.
    """
    groups: dict[tuple[str, str | None, Options], list[Origin]] = {}
    entries = ledger(path, wait=wait)
    if not entries:
        raise NotFoundError(f"{path} holds no SAE yet; name a source: featdex ingest SOURCE --model MODEL")
    for slug, entry in entries.items():
        stored = entry.params.get("origin")
        if not stored:
            raise NotFoundError(f"the ledger does not say where {slug} came from; name its source")
        # The slug it has, whatever it was derived from.
        origin = Origin(**stored)._replace(slug=slug)
        method = {name: entry.params[name] for name in ("null", "directions", "seed", "weight")}
        key = (origin.model, origin.model_name, replace(options, **method))
        groups.setdefault(key, []).append(origin)
    for (model, name, chosen), origins in groups.items():
        try:
            language_model = _read(model, name)
            jobs = [job for origin in origins for job in _jobs(origin, language_model)]
        except FeatdexError as fault:
            slugs = ", ".join(str(origin.slug) for origin in origins[:3])
            raise type(fault)(
                f"{fault}; {slugs} came from there: name the source, or go to the folder it was in"
            ) from fault
        yield Batch(language_model, jobs, chosen)


def _read(model: str, name: str | None) -> LanguageModel:
    from .demo import DEMO, demo_gguf

    return read_model(str(demo_gguf()) if model == DEMO else model, name)


def _jobs(origin: Origin, model: LanguageModel) -> list[Job]:
    from .demo import DEMO, demo_sae_folder

    source = str(demo_sae_folder()) if origin.source == DEMO else origin.source
    layers = None if origin.layer is None else [origin.layer]
    sae = None if origin.sae is None else glob.escape(origin.sae)
    return jobs_for(source, model, layers=layers, sae=sae, slug=origin.slug, origin=origin)
