"""Batches to ingest: what a user names, or, to get new sets to every SAE, all that a catalogue holds.

The ledger says what each SAE came from.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from ..catalogue.errors import FeatdexError, NotFoundError
from ..catalogue.file import DEFAULT_WAIT_SECONDS, translated
from ..catalogue.write import ledger
from .device import Options
from .inputs import LanguageModel
from .jobs import jobs_for, model_of, parse_layers
from .models import read_model
from .pipeline import Job
from .rows import Origin


class Batch(NamedTuple):
    """Dictionaries of one model to compute with the same options."""

    model: LanguageModel
    jobs: list[Job]
    options: Options


class Unreadable(NamedTuple):
    """Dictionaries of the catalogue whose source, or whose model, can't be read any more."""

    slugs: list[str]
    fault: FeatdexError


def named_batch(
    source: str,
    model: str | None,
    model_name: str | None,
    layers: str | None,
    sae: str | None,
    slug: str | None,
    options: Options,
    allow_pickle: bool,
) -> Batch:
    """Return the dictionaries that a user named on the command line; see `jobs.jobs_for`.

    Args:
        source: What holds them.
        model: Their model; by default the one that a release names.
        model_name: What to call it in the catalogue.
        layers: Only these layers, such as `0-11`.
        sae: Only ids that match this GLOB.
        slug: Name for a single one.
        options: How to compute.
        allow_pickle: Read pickled checkpoints too.

    Raises:
        FeatdexError: No such source, model or layer, or one that can't be read.
    """
    chosen = None if layers is None else parse_layers(layers)
    model = model or model_of(source)
    language_model = read_model(model, model_name, allow_pickle=allow_pickle)
    origin = Origin(source, model, model_name, slug=slug)
    jobs = jobs_for(source, language_model, layers=chosen, sae=sae, slug=slug, origin=origin, allow_pickle=allow_pickle)
    return Batch(language_model, jobs, options)


def known_batches(
    path: str | os.PathLike[str],
    options: Options,
    wait: float = DEFAULT_WAIT_SECONDS,
    *,
    allow_pickle: bool = False,
    only: str | None = None,
) -> Iterator[Batch | Unreadable]:
    """Yield what the catalogue holds, model by model, each read when its turn comes.

    Args:
        path: The catalogue.
        options: Device, memory and threads; what changes numbers is taken from the ledger.
        wait: Seconds to wait for a writer.
        allow_pickle: Read pickled checkpoints too.
        only: Slug of the one SAE that is wanted; all by default.

    Raises:
        NotFoundError: The catalogue holds no SAE.
    """
    groups: dict[tuple[str, str | None, Options], list[Origin]] = {}
    with translated():
        entries = ledger(path, wait=wait)
    if not entries:
        raise NotFoundError(f"{path} holds no SAE yet; name a source: featdex ingest SOURCE --model MODEL")
    for slug, entry in entries.items():
        if only not in (None, slug):
            continue
        stored = entry.params.get("origin")
        if not stored:
            yield Unreadable([slug], NotFoundError("the ledger does not say where it came from; name its source"))
            continue
        # The slug it has, whatever it was derived from.
        origin = Origin(**stored)._replace(slug=slug)
        method = {name: entry.params[name] for name in ("null", "directions", "seed", "weight")}
        key = (origin.model, origin.model_name, replace(options, **method))
        groups.setdefault(key, []).append(origin)
    for (model, name, chosen), origins in groups.items():
        yield from _batches(model, name, chosen, origins, allow_pickle)


def _batches(
    model: str, name: str | None, options: Options, origins: list[Origin], allow_pickle: bool
) -> Iterator[Batch | Unreadable]:
    """Yield the dictionaries of one model: those that can't be read, then the others."""
    try:
        language_model = _read(model, name, allow_pickle)
    except FeatdexError as fault:
        yield Unreadable([str(origin.slug) for origin in origins], _with_advice(fault))
        return
    jobs = []
    for origin in origins:
        try:
            jobs += jobs_of_origin(origin, language_model, allow_pickle=allow_pickle)
        except FeatdexError as fault:
            yield Unreadable([str(origin.slug)], _with_advice(fault))
    if jobs:
        yield Batch(language_model, jobs, options)


def _with_advice(fault: FeatdexError) -> FeatdexError:
    return type(fault)(f"{fault}; name the source again, or go to the folder that it was named in")


def _read(model: str, name: str | None, allow_pickle: bool) -> LanguageModel:
    from .demo import DEMO, demo_gguf

    return read_model(str(demo_gguf()) if model == DEMO else model, name, allow_pickle=allow_pickle)


def jobs_of_origin(origin: Origin, model: LanguageModel, *, allow_pickle: bool) -> list[Job]:
    """Return the dictionary that was named by these words, as the ledger keeps them: one job, or what it is now."""
    from .demo import DEMO, demo_sae_folder

    source = str(demo_sae_folder()) if origin.source == DEMO else origin.source
    layers = None if origin.layer is None else [origin.layer]
    sae = None if origin.sae is None else glob.escape(origin.sae)
    return jobs_for(source, model, layers=layers, sae=sae, slug=origin.slug, origin=origin, allow_pickle=allow_pickle)
