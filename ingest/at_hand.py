"""How many features a dictionary has, as far as can be told without reading its weights or asking the network."""

from __future__ import annotations

import json
from pathlib import Path

from ..catalogue.errors import FeatdexError
from .inputs import LanguageModel
from .rows import Origin
from .sae_directory import find

_CONFIG = "cfg.json"
_MOST_BYTES = 1 << 20


def n_features_at_hand(origin: Origin | None) -> int | None:
    """Return the number of features of what a user named, or None where it can't be told.

    It is in the `cfg.json` of an SAE that sae_lens saved, in its folder or in the cache of the hub.
    """
    if origin is None:
        return None
    try:
        config = _config_file(origin)
        return None if config is None else _d_sae(config)
    except (FeatdexError, OSError, ValueError):
        # What is wrong with it will be told when it is read.
        return None


def n_neurons(model: LanguageModel, layer: int) -> int | None:
    """Return the number of MLP neurons of a layer, None where it has no single output matrix. Reads that matrix."""
    try:
        return int(model.mlp_out(layer).shape[0])
    except FeatdexError:
        return None


def _config_file(origin: Origin) -> Path | None:
    from .demo import DEMO, demo_sae_folder

    folder = demo_sae_folder() if origin.source == DEMO else Path(origin.source).expanduser()
    if folder.exists():
        return folder / (origin.sae or "") / _CONFIG
    if origin.sae is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    is_repository = "/" in origin.source
    repository = origin.source if is_repository else find(origin.source).repo_id
    place = origin.sae if is_repository else find(origin.source).sae(origin.sae).path
    cached = try_to_load_from_cache(repository, f"{place}/{_CONFIG}")
    return Path(cached) if isinstance(cached, str) else None


def _d_sae(config: Path) -> int | None:
    if not config.is_file() or config.stat().st_size > _MOST_BYTES:
        return None
    facts = json.loads(config.read_text(encoding="utf-8"))
    width = facts.get("d_sae") if isinstance(facts, dict) else None
    return width if isinstance(width, int) and not isinstance(width, bool) and width > 0 else None
