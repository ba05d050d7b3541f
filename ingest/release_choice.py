"""From what a user types for releases and SAEs (names, GLOBs, layers) to the SAEs that are meant.

Nothing is downloaded here; only a hub repository that sae_lens doesn't list has to be asked what it holds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..catalogue.errors import NotFoundError, UsageError, nearest
from .loading import one_line
from .sae_directory import Release, ReleasedSae, find, releases
from .sae_folders import CONFIG_FILE, WEIGHTS_FILE

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_SHOWN = 4


class ChosenSae(NamedTuple):
    """An SAE of a release, or of a hub repository by its folder there."""

    release: str
    sae_id: str


def is_glob(text: str) -> bool:
    """Whether `text` has a wildcard in it."""
    return any(sign in text for sign in "*?[")


def is_repository(source: str) -> bool:
    """Whether `source` reads as a hub repository, `owner/name`."""
    return _REPOSITORY.fullmatch(source) is not None


def matching_releases(pattern: str) -> list[Release]:
    """Return the releases of sae_lens' directory that a name or GLOB means, all of one model.

    Raises:
        NotFoundError: None.
        UsageError: Several, on different models.
    """
    if not is_glob(pattern):
        return [find(pattern)]
    known = releases()
    found = [release for release in known if fnmatchcase(release.release, pattern)]
    if not found:
        raise NotFoundError(
            f"no release matches {pattern!r}{nearest(pattern, (release.release for release in known))}; "
            "see 'featdex saes'"
        )
    by_model = {release.model.rsplit("/", 1)[-1].casefold(): release for release in reversed(found)}
    if len(by_model) > 1:
        examples = sorted(f"{release.model or 'unknown'} ({release.release})" for release in by_model.values())
        shown = ", ".join(examples[:_SHOWN]) + (", …" if len(examples) > _SHOWN else "")
        raise UsageError(
            f"{pattern!r} matches {len(found)} releases of {len(by_model)} models: {shown}; "
            "narrow it to those of one model"
        )
    return found


def model_of_release(source: str) -> str:
    """Return the model that a release, the releases of a GLOB, or a listed hub repository were trained on.

    Raises:
        NotFoundError: No such release.
        UsageError: Not told, so the model has to be named.
    """
    if is_repository(source):
        found = [release for release in releases() if release.repo_id == source]
    else:
        found = matching_releases(source)
    models = {release.model for release in found if release.model}
    if not models:
        raise UsageError(f"name the model of {source} with --model: a .gguf file, a Hugging Face folder or a hub name")
    if len({name.rsplit("/", 1)[-1].casefold() for name in models}) > 1:
        raise UsageError(f"{source} holds SAEs of several models: {', '.join(sorted(models))}; choose with --model")
    # With its owner where one of them has it: that is the name on the hub.
    return max(sorted(models), key=lambda name: "/" in name)


def chosen_saes(source: str, sae: str | None, layers: Sequence[int] | None) -> list[ChosenSae]:
    """Return the SAEs that a release, a GLOB of releases or a hub repository stands for, each once.

    Args:
        source: Name or GLOB of releases, or a repository `owner/name` with sae_lens folders in it.
        sae: Only the ids that match this GLOB.
        layers: Only these layers.

    Raises:
        NotFoundError: Nothing by that name, or nothing left after `sae` and `layers`.
        UsageError: Releases of different models.
    """
    if is_repository(source):
        listed = [ReleasedSae(folder, folder, None, None, None) for folder in repository_folders(source)]
        found = [Release(source, "", source, tuple(listed))]
    else:
        found = matching_releases(source)
    pairs = _each_once([(release, item) for release in found for item in release.saes])
    named = [(release, item) for release, item in pairs if sae is None or _matches(item.sae_id, sae)]
    what = f"release {source}" if len(found) == 1 else f"releases {source}"
    if not named:
        hint = nearest(sae or "", (item.sae_id for _, item in pairs))
        raise NotFoundError(f"{what} has no SAE {sae!r}{hint or _some(pairs)}" if sae else f"{what} lists no SAE")
    kept = [(release, item) for release, item in named if layers is None or item.layer in layers]
    if not kept:
        raise NotFoundError(f"{what} has no such SAE at layers {', '.join(map(str, layers or ()))}{_layers(named)}")
    return [ChosenSae(release.release, item.sae_id) for release, item in kept]


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)


def _each_once(pairs: list[tuple[Release, ReleasedSae]]) -> list[tuple[Release, ReleasedSae]]:
    """Leave out what another release lists too (`…-canonical`), keeping the entry with a Neuronpedia id."""
    best: dict[tuple[str, str], tuple[Release, ReleasedSae]] = {}
    for release, item in pairs:
        key = (release.repo_id, item.path)
        if key not in best or (best[key][1].neuronpedia_id is None and item.neuronpedia_id is not None):
            best[key] = (release, item)
    return list(best.values())


def _some(pairs: list[tuple[Release, ReleasedSae]]) -> str:
    names = [item.sae_id for _, item in pairs[:3]]
    return f"; it has {', '.join(names)}{', …' if len(pairs) > len(names) else ''}" if names else ""


def _layers(pairs: list[tuple[Release, ReleasedSae]]) -> str:
    known = sorted({item.layer for _, item in pairs if item.layer is not None})
    return f"; it has {', '.join(map(str, known[:40]))}" if known else "; its ids name no layer, choose with --sae"


def repository_folders(repository: str) -> list[str]:
    """Return the folders of a hub repository that hold an SAE in sae_lens' format; offline, those in the cache.

    Raises:
        NotFoundError: No such repository in reach, or no SAE in it.
    """
    from huggingface_hub import HfApi, snapshot_download

    try:
        files = HfApi().list_repo_files(repository)
    except Exception as error:  # Offline, gated, unknown: the hub's client has an error of its own for each.
        try:
            root = Path(snapshot_download(repository, local_files_only=True))
        except Exception:
            raise NotFoundError(
                f"can't get {repository} from the Hugging Face hub or its cache ({one_line(error)}); "
                "check the name, the network and HF_HUB_OFFLINE"
            ) from error
        files = [path.relative_to(root).as_posix() for path in root.rglob("*.*")]
    named = [PurePosixPath(file) for file in files]
    folders = {path.parent for path in named if path.name == CONFIG_FILE}
    folders &= {path.parent for path in named if path.name == WEIGHTS_FILE}
    found = sorted((str(folder) for folder in folders if folder.parts), key=natural_order)
    if not found:
        raise NotFoundError(
            f"{repository} has no folders with {CONFIG_FILE} and {WEIGHTS_FILE}; name a release or folder"
        )
    return found


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a sort key by which layer_2 comes before layer_10."""
    return [
        (int(part), "") if part.isdecimal() and part.isascii() else (-1, part) for part in re.split(r"(\d{1,99})", name)
    ]
