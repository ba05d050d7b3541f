"""The releases of SAEs that sae_lens knows by name, read without importing it (which takes ten seconds).

sae_lens ships the directory as `pretrained_saes.yaml` (170 releases, 14,000 SAEs in 6.54); no network is needed.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..catalogue.errors import NotFoundError, nearest
from .loading import one_line

_READERS_WITHOUT_PICKLE = {
    None,
    "sae_lens",
    "sparsify",
    "gemma_2",
    "gemma_2_transcoder",
    "gemma_3",
    "llama_scope",
    "llama_scope_r1_distill",
    "mntss_clt_layer_transcoder",
    "mwhanna_transcoder",
    "temporal",
}
"""sae_lens' readers that take safetensors, or .npz files of plain numbers (Gemma Scope), in 6.54."""

_LAYER_OF_ID = re.compile(r"(?:blocks\.|layers?[_./]?|(?<![a-z0-9])l)(\d{1,4})(?!\d)")
_LAYER_OF_NEURONPEDIA = re.compile(r"[^/]+/(\d{1,4})-")
_LONGEST_NAME = 500
_NULLS = {"", "~", "null", "Null", "NULL"}


@dataclass(frozen=True)
class ReleasedSae:
    """One SAE of a release: its id, its path in the repository, and what the directory says of it (else None)."""

    sae_id: str
    path: str
    neuronpedia_id: str | None
    variance_explained: float | None
    l0: float | None

    @property
    def layer(self) -> int | None:
        """The layer that its id names, else its Neuronpedia id; None where neither does."""
        found = layer_of_name(self.sae_id)
        match = _LAYER_OF_NEURONPEDIA.match(self.neuronpedia_id or "") if found is None else None
        return int(match[1]) if match else found


def layer_of_name(name: str) -> int | None:
    """Return the layer in an id or path such as `blocks.8.hook_resid_pre`, `layer_3/width_16k` or `l5r_8x`."""
    match = _LAYER_OF_ID.search(name)
    return int(match[1]) if match else None


@dataclass(frozen=True)
class Release:
    """A release of SAEs on one model; `model` is the name its authors use, often TransformerLens' short one.

    `conversion` is sae_lens' name of the reader it takes, None for its own format.
    """

    release: str
    model: str
    repo_id: str
    saes: tuple[ReleasedSae, ...]
    conversion: str | None = None

    @property
    def is_pickled(self) -> bool:
        """Whether reading its SAEs unpickles files; true for a reader that is not known to do without."""
        return self.conversion not in _READERS_WITHOUT_PICKLE

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
        # libyaml's loader is ten times as fast, and PyYAML can be built without it. The base loader makes nothing but
        # text, lists and mappings: a value that is no number or date then spoils its own entry only.
        loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
        entries = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise NotFoundError(f"can't read sae_lens' directory of SAEs {path}: {one_line(error)}") from error
    if not isinstance(entries, dict):
        raise NotFoundError(f"sae_lens' directory of SAEs {path} holds no releases; reinstall sae-lens")
    parsed = (_release(name, entry) for name, entry in entries.items())
    return {release.release: release for release in parsed if release is not None}


def _release(name: Any, entry: Any) -> Release | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("saes"), list):
        return None
    release, repo_id = _name(name), _name(entry.get("repo_id"))
    if release is None or repo_id is None:
        return None
    saes: dict[str, ReleasedSae] = {}
    for item in entry["saes"]:
        sae = _released_sae(item)
        if sae is not None:
            saes[sae.sae_id] = sae  # sae_lens, too, takes the last of two entries of one id
    return Release(
        release=release,
        model=_name(entry.get("model")) or "",
        repo_id=repo_id,
        saes=tuple(saes.values()),
        conversion=_conversion(entry.get("conversion_func")),
    )


def _released_sae(item: Any) -> ReleasedSae | None:
    if not isinstance(item, dict):
        return None
    sae_id, path = _name(item.get("id")), _name(item.get("path"))
    if sae_id is None or path is None:
        return None
    return ReleasedSae(
        sae_id=sae_id,
        path=path,
        neuronpedia_id=_neuronpedia_id(item.get("neuronpedia"), sae_id),
        variance_explained=_positive(item.get("variance_explained")),
        l0=_positive(item.get("l0")),
    )


def _name(value: Any) -> str | None:
    """Return a name of one line, or None for what is none: null, a list, a mapping, a text out of all proportion."""
    named = isinstance(value, str) and value not in _NULLS and len(value) <= _LONGEST_NAME and value.isprintable()
    return value if named else None


def _conversion(value: Any) -> str | None:
    """Return the name of a reader; what is none stands for a reader that nobody knows."""
    return None if value is None or value in ("", *_NULLS) else str(_name(value))


def _neuronpedia_id(value: Any, sae_id: str) -> str | None:
    """Return the id of the page of the SAE called `sae_id`, or None for what can't be that.

    The end of a block is the start of the next, so ids may differ by one layer from the SAE's own; one in 6.54 is that
    of another SAE, eighteen layers off.
    """
    name = neuronpedia_id_of(value)
    own, match = layer_of_name(sae_id), _LAYER_OF_NEURONPEDIA.match(name or "")
    return None if own is not None and match and abs(int(match[1]) - own) > 1 else name


def neuronpedia_id_of(value: Any) -> str | None:
    """Return an id at neuronpedia.org, `model/layer-set`, or None for anything else."""
    name = _name(value)
    return name if name is not None and re.fullmatch(r"[^\s/]+/[^\s/]+", name) else None


def _positive(value: Any) -> float | None:
    """Return a number the directory gives, or None: a zero there stands for "not measured"."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < math.inf else None
