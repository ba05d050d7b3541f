"""From what a user names (a release, a folder, a file, neurons) to the dictionaries an ingest works through."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

from ..catalogue.errors import NotFoundError, UsageError, WeightsError, nearest
from ..catalogue.given_path import given_path
from .directions_file import DIRECTION_SUFFIXES, read_directions
from .inputs import LanguageModel
from .neurons import mlp_neurons
from .pipeline import Job
from .release_choice import chosen_saes, model_of_release, natural_order
from .rows import Origin
from .sae_directory import layer_of_name
from .sae_folders import is_sae_folder, sae_subfolders
from .sae_sources import read_sae_folder, read_sae_release

MLP_NEURONS = "mlp_neurons"


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
    """Return the model that a release of sae_lens' directory, or the releases of a GLOB, were trained on.

    Raises:
        UsageError: `source` is no such release, or of several models, so the model has to be named.
        NotFoundError: No such folder or release.
    """
    if source == MLP_NEURONS or _is_path(source):
        raise UsageError(f"name the model of {source} with --model: a .gguf file, a folder or a hub name")
    return model_of_release(source)


def jobs_for(
    source: str,
    model: LanguageModel,
    *,
    layers: Sequence[int] | None,
    sae: str | None,
    slug: str | None,
    origin: Origin | None = None,
    allow_pickle: bool = False,
) -> list[Job]:
    """Return the dictionaries that `source` stands for.

    Args:
        source: `mlp_neurons`; the folder of an SAE, or of several; a file of directions; a release of sae_lens'
            directory, a GLOB of releases of one model, or a hub repository with sae_lens folders.
        model: The model they belong to.
        layers: Only these layers; of a file of directions, the layer that they belong to.
        sae: Of a release or a folder of several SAEs, only the ids that match this GLOB.
        slug: Name for a single dictionary.
        origin: What the user named the source and the model by, for the ledger.
        allow_pickle: Read pickled checkpoints too, their tensors only.

    Raises:
        NotFoundError: Nothing by that name, or nothing left after `layers` and `sae`.
        UsageError: An option that does not go with the source.
        WeightsError: A folder without an SAE, or that can't be read.
    """
    if source == MLP_NEURONS:
        if sae:
            raise UsageError("--sae chooses SAEs of a release; choose neurons with --layers")
        jobs = _neuron_jobs(model, layers, origin)
    elif _is_path(source):
        path = given_path(source)
        if path.is_dir():
            jobs = _folder_jobs(path, model, layers, sae, slug, origin, allow_pickle)
        else:
            jobs = [_file_job(path, model, layers, sae, slug, origin, allow_pickle)]
    else:
        jobs = [
            Job(
                f"{release} {sae_id}",
                partial(read_sae_release, release, sae_id, model, slug, allow_pickle=allow_pickle),
                origin and origin._replace(source=release, sae=sae_id),
            )
            for release, sae_id in chosen_saes(source, sae, layers)
        ]
    if slug and len(jobs) > 1:
        raise UsageError(f"--slug names one dictionary, and {source} gives {len(jobs)}; leave it out")
    return jobs


def _is_path(source: str) -> bool:
    path = given_path(source)
    return path.exists() or source.startswith((".", "/", "~")) or path.suffix.lower() in DIRECTION_SUFFIXES


def _neuron_jobs(model: LanguageModel, layers: Sequence[int] | None, origin: Origin | None) -> list[Job]:
    chosen = list(range(model.n_layers)) if layers is None else layers
    beyond = [layer for layer in chosen if layer >= model.n_layers]
    if beyond:
        raise NotFoundError(f"{model.name} has layers 0-{model.n_layers - 1}, not {beyond[0]}")
    return [
        Job(f"{MLP_NEURONS} {layer}", partial(mlp_neurons, model, layer), origin and origin._replace(layer=layer))
        for layer in chosen
    ]


def _folder_jobs(
    folder: Path,
    model: LanguageModel,
    layers: Sequence[int] | None,
    sae: str | None,
    slug: str | None,
    origin: Origin | None,
    allow_pickle: bool,
) -> list[Job]:
    """Return the SAE right in a folder, else those in its subfolders."""
    try:
        below = [] if is_sae_folder(folder) else sae_subfolders(folder)
    except OSError as error:
        raise WeightsError(f"can't read the folder {folder}: {error.strerror}") from error
    if not below:
        if sae or layers is not None:
            raise UsageError(
                f"--sae and --layers choose from a release or from several SAEs; {folder} holds one at most"
            )
        return [Job(str(folder), partial(read_sae_folder, folder, model, slug, allow_pickle=allow_pickle), origin)]
    names = sorted((path.relative_to(folder).as_posix() for path in below), key=natural_order)
    chosen = [name for name in names if sae is None or name == sae or fnmatchcase(name, sae)]
    if not chosen:
        raise NotFoundError(f"{folder} has no SAE {sae!r}{nearest(sae or '', names) or f'; it has {names[0]}'}")
    if layers is not None:
        chosen = [name for name in chosen if layer_of_name(name) in layers]
    if not chosen:
        raise NotFoundError(f"no SAE in {folder} is named by layers {', '.join(map(str, layers or ()))}; try --sae")
    return [
        Job(
            str(folder / name),
            partial(read_sae_folder, folder / name, model, slug, allow_pickle=allow_pickle, root=folder),
            origin and origin._replace(sae=name),
        )
        for name in chosen
    ]


def _file_job(
    path: Path,
    model: LanguageModel,
    layers: Sequence[int] | None,
    sae: str | None,
    slug: str | None,
    origin: Origin | None,
    allow_pickle: bool,
) -> Job:
    """Return the directions in a file, or what says that there is no such folder or file."""
    if path.suffix.lower() not in DIRECTION_SUFFIXES:
        return Job(str(path), partial(read_sae_folder, path, model, slug), origin)
    if sae:
        raise UsageError("--sae chooses SAEs of a release; all directions of a file are taken")
    if layers is not None and len(layers) != 1:
        raise UsageError(f"a file of directions belongs to one layer or none, not to {len(layers)}")
    layer = None if layers is None else layers[0]
    read = partial(read_directions, path, model, slug, layer=layer, allow_pickle=allow_pickle)
    return Job(str(path), read, origin and origin._replace(layer=layer))
