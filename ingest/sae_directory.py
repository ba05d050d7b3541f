"""The releases of SAEs that sae_lens knows by name, read without importing it (which takes ten seconds).

sae_lens ships the directory as `pretrained_saes.yaml` (170 releases, 14,000 SAEs in 6.54); no network is needed.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..catalogue.errors import NotFoundError, nearest
from .loading import one_line


@dataclass(frozen=True)
class ReleasedSae:
    """One SAE of a release: its id, its path in the repository, and what the directory says of it (else None)."""

    sae_id: str
    path: str
    neuronpedia_id: str | None
    variance_explained: float | None
    l0: float | None


@dataclass(frozen=True)
class Release:
    """A release of SAEs on one model; `model` is the name its authors use, often TransformerLens' short one."""

    release: str
    model: str
    repo_id: str
    saes: tuple[ReleasedSae, ...]

    def sae(self, sae_id: str) -> ReleasedSae:
        """Return the SAE called `sae_id`, or raise `NotFoundError` with the ids nearest to it."""
        for sae in self.saes:
            if sae.sae_id == sae_id:
                return sae
        known = [sae.sae_id for sae in self.saes]
        hint = nearest(sae_id, known) or f"; it has {', '.join(known[:3])}{', …' if len(known) > 3 else ''}"
        raise NotFoundError(f"the release {self.release} has no SAE {sae_id!r}{hint}")


def releases() -> list[Release]:
    """Return all releases of sae_lens' directory, by name.

    Raises:
        NotFoundError: sae_lens is not installed, or carries no readable directory.
    """
    return sorted(_by_name().values(), key=lambda release: release.release)


def find(release: str) -> Release:
    """Return the release called `release`, or raise `NotFoundError` with the names nearest to it."""
    known = _by_name()
    if release not in known:
        raise NotFoundError(f"sae_lens knows no release {release!r}{nearest(release, known)}")
    return known[release]


def neuronpedia_model(model_names: Iterable[str]) -> str | None:
    """Return Neuronpedia's name of the model that goes by any of `model_names`, or None where no release tells it.

    It is the first part of the Neuronpedia ids of that model's releases: `gpt2-small` of `gpt2-small/8-res-jb`.
    """
    wanted = {_last_part(name) for name in model_names}
    found = Counter(
        sae.neuronpedia_id.split("/", 1)[0]
        for release in _by_name().values()
        if _last_part(release.model) in wanted
        for sae in release.saes
        if sae.neuronpedia_id is not None
    )
    return found.most_common(1)[0][0] if found else None


def _last_part(model_name: str) -> str:
    return model_name.rsplit("/", 1)[-1].casefold()


@cache
def _by_name() -> dict[str, Release]:
    spec = importlib.util.find_spec("sae_lens")
    if spec is None or spec.origin is None:
        raise NotFoundError("sae_lens is not installed; install featdex with its extra: pip install 'featdex[ingest]'")
    return parse_directory(Path(spec.origin).with_name("pretrained_saes.yaml"))


def parse_directory(path: Path) -> dict[str, Release]:
    """Read a directory file of sae_lens' format; entries that lack a name, a repository or a path are left out.

    Raises:
        NotFoundError: no readable YAML mapping at `path`.
    """
    import yaml

    try:
        # libyaml's loader is ten times as fast, and PyYAML can be built without it.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # a *safe* loader, either way
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise NotFoundError(f"can't read sae_lens' directory of SAEs {path}: {one_line(error)}") from error
    if not isinstance(entries, dict):
        raise NotFoundError(f"sae_lens' directory of SAEs {path} holds no releases; reinstall sae-lens")
    parsed = (_release(str(name), entry) for name, entry in entries.items())
    return {release.release: release for release in parsed if release is not None}


def _release(name: str, entry: Any) -> Release | None:
    if not isinstance(entry, dict) or "repo_id" not in entry or not isinstance(entry.get("saes"), list):
        return None
    saes = tuple(sae for item in entry["saes"] if (sae := _released_sae(item)) is not None)
    return Release(release=name, model=str(entry.get("model") or ""), repo_id=str(entry["repo_id"]), saes=saes)


def _released_sae(item: Any) -> ReleasedSae | None:
    if not isinstance(item, dict) or item.get("id") is None or item.get("path") is None:
        return None
    neuronpedia_id = item.get("neuronpedia")
    return ReleasedSae(
        sae_id=str(item["id"]),
        path=str(item["path"]),
        neuronpedia_id=neuronpedia_id if isinstance(neuronpedia_id, str) and neuronpedia_id else None,
        variance_explained=_positive(item.get("variance_explained")),
        l0=_positive(item.get("l0")),
    )


def _positive(value: Any) -> float | None:
    """Return a number the directory gives, or None: a zero there stands for "not measured"."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and value > 0 else None
