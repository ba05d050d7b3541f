"""DuckDB reads files of an object store through Arrow: its own way there, httpfs, is not in the wheel.

DuckDB takes any file system of fsspec's. This one has the files of one store, for reading only: `allowed_directories`,
which lets a locked connection read below a prefix, would let it write there too.
"""

from __future__ import annotations

import io
import re
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .errors import FeatdexError
from .store import Store

if TYPE_CHECKING:
    import duckdb

_UNCHANGED = datetime(2000, 1, 1, tzinfo=UTC)


def register(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    """Let a connection read the files of a store by their full names, `store.place(path)`; nothing for a folder.

    Files are taken to stay as they are while the connection is open. A connection that is shut off from the outside
    needs the store among its `allowed_directories`, with a slash at its end.

    Raises:
        FeatdexError: fsspec is not installed, or the connection reads another store of this kind.
    """
    if store.address is None:
        return
    try:
        files = _files_of(store)
    except ImportError as error:
        raise FeatdexError(f"to read {store} fsspec is needed, which is not installed: pip install fsspec") from error
    import duckdb

    try:
        connection.register_filesystem(files)
    except duckdb.Error as error:
        raise FeatdexError(f"this connection reads another {store.address.scheme}:// store; open a new one") from error


def _files_of(store: Store) -> Any:
    """Return a store as fsspec's file systems look to DuckDB."""
    from fsspec import AbstractFileSystem  # type: ignore[import-untyped]

    scheme = str(store.address and store.address.scheme)

    class StoreFiles(AbstractFileSystem):  # type: ignore[misc]
        """What DuckDB asks of a file system, by the names that fsspec gives it."""

        protocol = (scheme,)
        # fsspec would keep one of these for all stores.
        cachable = False

        def __init__(self) -> None:
            super().__init__()
            self._files: dict[str, Any] = {}

        def open(self, path: str, mode: str = "rb", **options: Any) -> _StoreFile:
            if mode != "rb":
                raise PermissionError(f"{path} can only be read")
            return _StoreFile(self._file(path), store, _path_in(store, path))

        def _file(self, path: str) -> Any:
            if path not in self._files:
                self._files[path] = store.opened(_path_in(store, path))
            return self._files[path]

        def exists(self, path: str, **options: Any) -> bool:
            return path in self._files or store.exists(_path_in(store, path))

        isfile = exists

        def glob(self, path: str, **options: Any) -> list[str]:
            # DuckDB asks so for every file of a view, before it leaves most of them out: nothing to ask a server.
            return [] if re.search(r"[*?\[]", path) else [path]

        def unstrip_protocol(self, name: str) -> str:
            return name

        def modified(self, path: str) -> datetime:
            return _UNCHANGED

        def size(self, path: str) -> int:
            return int(self._file(path).size())

    return StoreFiles()


def _path_in(store: Store, name: str) -> str:
    """Return the path in its store of a file by its full name."""
    begin = f"{store.where.rstrip('/')}/"
    if not name.startswith(begin):
        raise FileNotFoundError(f"{name} is not in {store}")
    return name.removeprefix(begin)


class _StoreFile(io.RawIOBase):
    """An open file with a place of its own in every thread: DuckDB seeks and reads one handle in several."""

    def __init__(self, file: Any, store: Store, path: str) -> None:
        super().__init__()
        self._file, self._store, self._path = file, store, path
        self._n_bytes = int(file.size())
        self._at = threading.local()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return int(getattr(self._at, "place", 0))

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at.place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self._n_bytes}[whence]
        return self.tell()

    def read(self, size: int = -1) -> bytes:
        start = self.tell()
        left = max(0, self._n_bytes - start)
        with self._store.faults(self._path):
            content = self._file.read_at(left if size < 0 else min(size, left), start)
        self._at.place = start + len(content)
        return bytes(content)

    @property
    def size(self) -> int:
        return self._n_bytes
