"""Where the results of an ingest go: a catalogue file, or a dataset of parquet files.

An ingest asks it what is there already, and hands it one whole dictionary after another.
"""

from __future__ import annotations

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..catalogue.dataset import Dataset, Registered, is_published, publish, write_partition
from ..catalogue.dataset_sets import sets_of_partition
from ..catalogue.file import create, require_writable_folder, translated, writing
from ..catalogue.write import LedgerEntry, SaeRows, ledger, require_same_model, write_sae
from .inputs import TokenSet
from .kept import Kept, carried_sets, load_kept, token_set_of
from .scratch import Scratch

Narrate = Callable[[str], None]

_WRITE_WAIT_SECONDS = 3600.0
_ATTEMPTS = 5


class Sink(ABC):
    """A place for whole dictionaries."""

    @property
    @abstractmethod
    def scratch_folder(self) -> Path:
        """Where results may lie while they are computed."""

    @abstractmethod
    def prepare(self, model: Mapping[str, Any], wait: float, narrate: Narrate) -> dict[str, LedgerEntry]:
        """Return what is there already, by slug.

        Raises:
            FeatdexError: The results could not be written, which is said before the work rather than after it.
        """

    @abstractmethod
    def carried(self, slug: str, requested: Collection[str]) -> list[TokenSet]:
        """Return the sets that a dictionary has results of and that are not among the requested names."""

    def kept(
        self, slug: str, wanted: Collection[tuple[str, str]], n_new: int, n_features: int, scratch: Scratch
    ) -> Kept | None:
        """Return the results of sets, by name and members' hash, that need not be computed again; None: all do."""
        return None

    @abstractmethod
    def write(self, rows: SaeRows, narrate: Narrate) -> None:
        """Write a dictionary, whole or not at all."""

    def finish(self, narrate: Narrate) -> None:
        """Make what was written ready for readers."""
        return None


class CatalogueFile(Sink):
    """A catalogue: one file, made when there is something to write."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def __str__(self) -> str:
        return str(self._path)

    @property
    def scratch_folder(self) -> Path:
        """Beside the catalogue, whose disk has to hold the results in any case."""
        return self._path.absolute().parent

    def prepare(self, model: Mapping[str, Any], wait: float, narrate: Narrate) -> dict[str, LedgerEntry]:
        """Return what the catalogue has; see `Sink`."""
        with translated():
            if not self._path.exists():
                require_writable_folder(self._path)
                return {}
            with writing(self._path, wait=wait, narrate=narrate) as connection:
                require_same_model(connection, model)
            return ledger(self._path, wait=wait)

    def carried(self, slug: str, requested: Collection[str]) -> list[TokenSet]:
        """Return the other sets that the catalogue has results of; see `Sink`."""
        with translated():
            return carried_sets(self._path, slug, requested)

    def kept(
        self, slug: str, wanted: Collection[tuple[str, str]], n_new: int, n_features: int, scratch: Scratch
    ) -> Kept | None:
        """Return the results that stay; see `Sink`."""
        with translated():
            return load_kept(self._path, slug, wanted, n_new, n_features, scratch)

    def write(self, rows: SaeRows, narrate: Narrate) -> None:
        """Write a dictionary in one transaction, however long another process holds the file."""
        with translated():
            create(self._path)
            write_sae(self._path, rows, wait=_WRITE_WAIT_SECONDS, narrate=narrate)


class DatasetFolder(Sink):
    """A dataset: its partitions are parquet files, and its catalogue is made of them in the end."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._ids: dict[str, int] = {}
        self._registered: dict[tuple[tuple[str, str], ...], Registered] = {}

    def __str__(self) -> str:
        return str(self.dataset.store)

    @property
    def scratch_folder(self) -> Path:
        """The folder of the dataset, or where temporary files go: it may be in an object store."""
        local = self.dataset.store.local
        if local is None:
            return Path(tempfile.gettempdir())
        return next(folder for folder in (local, *local.parents) if folder.is_dir())

    def prepare(self, model: Mapping[str, Any], wait: float, narrate: Narrate) -> dict[str, LedgerEntry]:
        """Return what the dataset has; see `Sink`. Nothing holds a dataset, so there is nothing to wait for."""
        self.dataset.require_same_model(model)
        partitions = self.dataset.partitions()
        self._ids = {partition.sae["slug"]: partition.sae_id for partition in partitions}
        damaged = self.dataset.damaged(partitions)
        for slug in sorted(damaged):
            narrate(f"{slug}: files of it are missing or damaged; it is computed again if it is among those named")
        # As if it were of other weights: its sets are known, its results not.
        return {
            slug: replace(entry, params={}) if slug in damaged else entry
            for slug, entry in self.dataset.ledger(partitions).items()
        }

    def carried(self, slug: str, requested: Collection[str]) -> list[TokenSet]:
        """Return the other sets that the dataset has results of; see `Sink`."""
        stored = [token_set_of(item) for item in sets_of_partition(self.dataset, slug)]
        return [item for item in stored if item.name.split("@")[0] not in requested]

    def sae_id(self, slug: str) -> int:
        """Return the id of a dictionary, the next one where it is new."""
        if slug not in self._ids:
            self._ids[slug] = self.dataset.reserve(slug, self._ids)
        return self._ids[slug]

    def registered(
        self,
        model: Mapping[str, Any],
        tokens: Callable[[], pa.Table],
        token_sets: pa.Table,
        members: Callable[[], pa.Table],
        dropped: Callable[[], pa.Table],
    ) -> Registered:
        """Return the ids of a model and its sets; the dataset, which reads what it has for it, is asked once."""
        names, digests = (token_sets.column(name).to_pylist() for name in ("name", "members_sha256"))
        key = tuple(zip(names, digests, strict=True))
        if key not in self._registered:
            self._registered[key] = self.dataset.register(model, tokens(), token_sets, members(), dropped())
        return self._registered[key]

    def write(self, rows: SaeRows, narrate: Narrate) -> None:
        """Write the partition of a dictionary, and last its manifest file."""
        registered = self.registered(
            rows.model, lambda: rows.tokens, rows.token_sets, lambda: rows.members, lambda: rows.dropped
        )
        write_partition(self.dataset, self.sae_id(str(rows.sae["slug"])), registered, rows)

    def finish(self, narrate: Narrate) -> None:
        """Make the catalogue of the dataset with all that is there by now, unless it shows that already."""
        # Another ingest may have put its own in the place meanwhile, made before the last SAE of this one was there.
        for _ in range(_ATTEMPTS):
            if is_published(self.dataset):
                break
            publish(self.dataset, narrate)
