"""The files of a Hugging Face model, one by one: from a folder, the hub's cache, or the hub.

Libraries that load models fetch all of their weights; a file is fetched here when it is asked for and not before.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ..catalogue.errors import WeightsError

CONFIG = "config.json"

_TOKENIZER_OPTIONS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_TOKENIZERS = (
    "merges.txt",
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "tokenizer.json",
)


class FolderFiles:
    """The files of a local folder, called `source` in messages."""

    def __init__(self, folder: Path) -> None:
        self.source = str(folder)
        self.folder = folder

    def find(self, *names: str) -> Path | None:
        """Return the path of the first of `names` that is in the folder."""
        paths = [self.folder / name for name in names]
        return next((path for path in paths if path.is_file()), None)

    def has(self, name: str) -> bool:
        """Tell whether the folder has a file."""
        return (self.folder / name).is_file()


class HubFiles:
    """The files of a repository on the hub, all of one commit: that of the config.json fetched first.

    `folder` is where the cache keeps that commit; `source` is what the repository is called in messages.

    Cached files are taken without asking the hub. `HF_ENDPOINT`, `HF_HUB_OFFLINE`, `HF_HOME` and `HF_TOKEN` are
    those of huggingface_hub.

    Raises:
        OSError: no such repository, no leave to read it, or neither cached nor to be reached.
    """

    def __init__(self, repository: str, source: str) -> None:
        from huggingface_hub import hf_hub_download

        self.source = source
        self.repository = repository
        self.folder = Path(hf_hub_download(repository, CONFIG)).parent
        self.revision: str = self.folder.name

    def find(self, *names: str) -> Path | None:
        """Return the first of `names` that is cached; else fetch the first that the repository has.

        Raises OSError where there is no telling: the hub can't be reached, or gives no leave.
        """
        cached = next((path for name in names if (path := self._cached(name))), None)
        return cached or next((path for name in names if (path := self._fetched(name))), None)

    def has(self, name: str) -> bool:
        """Tell whether a file is cached or in the repository, without fetching it; False where there is no telling."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        if self._cached(name):
            return True
        try:
            get_hf_file_metadata(hf_hub_url(self.repository, name, revision=self.revision))
        except Exception:  # The client's "no" and its transport's faults, which have no base class in common.
            return False
        return True

    def _cached(self, name: str) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        path = try_to_load_from_cache(self.repository, name, revision=self.revision)
        return Path(path) if isinstance(path, str) else None

    def _fetched(self, name: str) -> Path | None:
        from huggingface_hub import _CACHED_NO_EXIST, hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import RemoteEntryNotFoundError

        if try_to_load_from_cache(self.repository, name, revision=self.revision) is _CACHED_NO_EXIST:
            return None  # the hub was asked before
        try:
            return Path(hf_hub_download(self.repository, name, revision=self.revision))
        except RemoteEntryNotFoundError:
            return None


ModelFiles = FolderFiles | HubFiles


def fetch_tokenizer(files: ModelFiles) -> None:
    """Bring a model's tokenizer into `files.folder`, whole.

    Raises:
        OSError: the hub can't be reached, and no tokenizer is cached.
    """
    if isinstance(files, FolderFiles):
        return
    # What makes a tokenizer comes last: where that is cached, its options have been asked for before.
    for name in (*_TOKENIZER_OPTIONS, *_TOKENIZERS):
        try:
            files.find(name)
        except OSError:
            if not any((files.folder / other).is_file() for other in _TOKENIZERS):
                raise


def require_beside(index: Path, name: object, suffix: str) -> str:
    """Return the file `name` that an index gives, or raise `WeightsError` unless it is of its kind and beside it."""
    if not isinstance(name, str) or PurePosixPath(name).name != name or "\\" in name or not name.endswith(suffix):
        raise WeightsError(f"{index}: {name!r} is no {suffix} file beside it; the index is damaged, download it again")
    return name
