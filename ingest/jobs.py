"""From what a user names (a release, a folder, a model's neurons) to the dictionaries an ingest works through."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from ..catalogue.errors import NotFoundError, UsageError, nearest
from .inputs import LanguageModel
from .neurons import mlp_neurons
from .pipeline import Job
from .rows import Origin
from .sae_directory import find
from .sae_sources import read_sae_folder, read_sae_release

MLP_NEURONS = "mlp_neurons"
_LAYER_OF_ID = re.compile(r"(?:blocks\.|layer[_.]?|(?<![a-z0-9])l)(\d+)(?!\d)")


def parse_layers(text: str) -> list[int]:
    """Return the layers that `0-3,7` names, ascending.

    Raises:
        UsageError: Anything but whole numbers and ranges.
    """
    layers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})(?:\s*-\s*(\d{1,4}))?\s*", part)
        if not match or (match[2] and int(match[2]) < int(match[1])):
            raise UsageError(f"can't read layers {text!r}; write them like 8, 0-11 or 0,4,8")
        layers.update(range(int(match[1]), int(match[2] or match[1]) + 1))
    return sorted(layers)


def model_of(source: str) -> str:
    """Return the model that a release of sae_lens' directory was trained on.

    Raises:
        UsageError: `source` is no such release, so the model has to be named.
        NotFoundError: No such folder or release.
    """
    if source == MLP_NEURONS or Path(source).exists():
        raise UsageError(f"name the model of {source} with --model: a .gguf file, a folder or a hub name")
    return find(source).model


def jobs_for(
    source: str,
    model: LanguageModel,
    *,
    layers: Sequence[int] | None,
    sae: str | None,
    slug: str | None,
    origin: Origin | None = None,
) -> list[Job]:
    """Return the dictionaries that `source` stands for.

    Args:
        source: `mlp_neurons`, the folder of an SAE, or a release of sae_lens' directory.
        model: The model they belong to.
        layers: Only these layers.
        sae: Of a release, only the ids that match this GLOB.
        slug: Name for a single dictionary.
        origin: What the user named the source and the model by, for the ledger.

    Raises:
        NotFoundError: Nothing by that name, or nothing left after `layers` and `sae`.
        UsageError: An option that does not go with the source.
    """
    if source == MLP_NEURONS:
        if sae:
            raise UsageError("--sae chooses SAEs of a release; choose neurons with --layers")
        jobs = _neuron_jobs(model, layers, origin)
    elif Path(source).exists() or source.startswith((".", "/", "~")):
        if sae or layers is not None:
            raise UsageError("--sae and --layers choose from a release; a folder holds one SAE")
        jobs = [Job(source, partial(read_sae_folder, source, model, slug), origin)]
    else:
        jobs = _release_jobs(source, model, layers, sae, slug, origin)
    if slug and len(jobs) > 1:
        raise UsageError(f"--slug names one dictionary, and {source} gives {len(jobs)}; leave it out")
    return jobs


def _neuron_jobs(model: LanguageModel, layers: Sequence[int] | None, origin: Origin | None) -> list[Job]:
    chosen = list(range(model.n_layers)) if layers is None else layers
    beyond = [layer for layer in chosen if layer >= model.n_layers]
    if beyond:
        raise NotFoundError(f"{model.name} has layers 0-{model.n_layers - 1}, not {beyond[0]}")
    return [
        Job(f"{MLP_NEURONS} {layer}", partial(mlp_neurons, model, layer), origin and origin._replace(layer=layer))
        for layer in chosen
    ]


def _release_jobs(
    release: str,
    model: LanguageModel,
    layers: Sequence[int] | None,
    sae: str | None,
    slug: str | None,
    origin: Origin | None,
) -> list[Job]:
    known = [item.sae_id for item in find(release).saes]
    chosen = [sae_id for sae_id in known if sae is None or fnmatchcase(sae_id, sae)]
    if not chosen:
        raise NotFoundError(f"release {release} has no SAE {sae!r}{nearest(sae or '', known)}")
    if layers is not None:
        chosen = [sae_id for sae_id in chosen if _layer_of(sae_id) in layers]
        if not chosen:
            raise NotFoundError(f"release {release} has no such SAE at layers {', '.join(map(str, layers))}")
    return [
        Job(
            f"{release} {sae_id}",
            partial(read_sae_release, release, sae_id, model, slug),
            origin and origin._replace(sae=sae_id),
        )
        for sae_id in chosen
    ]


def _layer_of(sae_id: str) -> int | None:
    match = _LAYER_OF_ID.search(sae_id)
    return int(match[1]) if match else None
