"""featdex: a catalogue of sparse-autoencoder (SAE) features in one DuckDB file.

`connect(path)` opens a catalogue for reading. `feature_statistics`, `enrichment` and `token_sets`
compute the same numbers on arrays, without a file. Nothing is imported before its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .catalogue.catalogue import Catalogue as Catalogue
    from .catalogue.catalogue import connect as connect
    from .ingest.api import enrichment as enrichment
    from .ingest.api import feature_statistics as feature_statistics
    from .ingest.api import token_sets as token_sets

_HOMES = {
    "Catalogue": "catalogue.catalogue",
    "connect": "catalogue.catalogue",
    "enrichment": "ingest.api",
    "feature_statistics": "ingest.api",
    "token_sets": "ingest.api",
}

__all__ = ["Catalogue", "connect", "enrichment", "feature_statistics", "token_sets"]


def __getattr__(name: str) -> Any:
    """Import the home of a public name on its first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
