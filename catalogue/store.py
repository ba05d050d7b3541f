"""A folder of files on a disk or in an object store, in which a file is there whole or not at all.

Paths inside it are relative and have slashes. On a disk a file is written beside its place under a hidden name, and
renamed when it is on the disk; in an object store it is one object, which nobody sees before it is complete. What a
kill leaves of an upload in parts has no name and can't be read, but is paid for: a rule of the bucket
(AbortIncompleteMultipartUpload) takes it away.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from . import store_faults, store_local, store_remote
from .errors import FeatdexError
from .given_path import given_path
from .store_remote import SCHEMES as SCHEMES

if TYPE_CHECKING:
    import pyarrow as pa

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_THREADS = 16
_CHUNK_BYTES = 4 << 20


def is_remote(where: str | os.PathLike[str]) -> bool:
    """Whether a place is in an object store."""
    return _SCHEME.match(os.fspath(where)) is not None


class Store:
    """The files below one place: a local folder, `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`.

    Credentials come from the usual environment. Many threads may use one store. It can be pickled, and goes on after
    a fork: another process opens it again, with its own credentials.
    Everything but `SCHEMES` and `place` raises `FeatdexError` where the place can't be reached or used.
    """

    def __init__(self, where: str | os.PathLike[str]) -> None:
        """Name the place, whether anything is there or not; nothing is asked of it yet.

        Raises:
            UsageError: A scheme that is none of these, or a name that can't be.
        """
        text = os.fspath(where)
        self.address = store_remote.parse(text) if is_remote(text) else None
        self.where = str(self.address) if self.address else str(given_path(text).absolute())
        self.local = None if self.address else Path(self.where)
        self._opened: tuple[int, Any] | None = None
        self._has_bucket = False

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return Store, (self.where,)

    def __str__(self) -> str:
        return self.where

    def __repr__(self) -> str:
        return f"Store({self.where!r})"

    def place(self, path: str) -> str:
        """Return the full name of a file, as users and other engines write it."""
        return f"{self.where.rstrip('/')}/{path}" if path else self.where

    def exists(self, path: str) -> bool:
        """Whether the file is there, whole."""
        if self.local is not None:
            return self._file(path).is_file()
        return bool(self._info(path).is_file)

    def size(self, path: str) -> int:
        """Return the bytes of a file."""
        with self.faults(path):
            if self.local is not None:
                return self._file(path).stat().st_size
            info = self._info(path)
            if not info.is_file:
                raise FileNotFoundError
            return int(info.size)

    def version(self, path: str) -> str:
        """Return what tells a file that is there from others of its name: its time and size, as a name for a folder."""
        with self.faults(path):
            if self.local is not None:
                found = self._file(path).stat()
                return f"{found.st_mtime_ns}-{found.st_size}"
            info = self._info(path)
            if not info.is_file:
                raise FileNotFoundError
            return f"{info.mtime_ns}-{info.size}"

    def files(self, below: str = "") -> list[str]:
        """Return all files below a folder of the store, sorted; none where there is no such folder. No hidden ones."""
        with self.faults(below):
            if self.local is not None:
                return sorted(store_local.files(self.local, _checked(below) if below else ""))
            from pyarrow import fs

            where = self._key(below) if below else self._root()
            selector = fs.FileSelector(where, allow_not_found=True, recursive=True)
            infos = self.filesystem.get_file_info(selector)
            if not infos:
                self._require_bucket()
        root = len(self._root()) + 1
        found = (info.path[root:] for info in infos if info.is_file)
        return sorted(path for path in found if not any(part.startswith(".") for part in path.split("/")))

    def read(self, path: str) -> bytes:
        """Return what a file holds."""
        with self.faults(path):
            if self.local is not None:
                return self._file(path).read_bytes()
            with self.filesystem.open_input_stream(self._key(path)) as stream:
                return bytes(stream.read())

    def read_many(self, paths: Iterable[str]) -> list[bytes]:
        """Return what each of many small files holds, in the order given; from an object store several at a time."""
        if self.local is not None:
            return [self.read(path) for path in paths]
        with ThreadPoolExecutor(_THREADS, "featdex-read") as threads:
            tasks = [threads.submit(self.read, path) for path in paths]
            try:
                return [task.result() for task in tasks]
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise

    def write(self, path: str, content: bytes) -> None:
        """Write a file, whole or not at all; an earlier one of that name is replaced."""
        with self.writing(path) as stream:
            stream.write(content)

    @contextmanager
    def writing(self, path: str) -> Iterator[BinaryIO]:
        """Give a stream for a file that takes its place when the block ends well, and only then."""
        if self.local is not None:
            with self.faults(path), store_local.beside(self._file(path)) as stream:
                yield stream
            return
        self._key(path)
        with store_remote.gathered() as scratch:
            yield scratch
            self._upload(path, scratch)

    def put(self, path: str, source: Path) -> None:
        """Write a copy of a file of the disk, whole or not at all."""
        with source.open("rb") as stream:
            if self.local is None:
                self._upload(path, stream)
                return
            with self.writing(path) as target:
                shutil.copyfileobj(stream, target, _CHUNK_BYTES)

    def get(self, path: str, target: Path) -> None:
        """Write a copy of a file of the store to the disk, whole or not at all."""
        with self.reading(path) as source, store_local.beside(target) as stream:
            shutil.copyfileobj(source, stream, _CHUNK_BYTES)

    @contextmanager
    def reading(self, path: str) -> Iterator[pa.NativeFile]:
        """Give a file of Arrow's that can be read in any order, as parquet is."""
        with self.faults(path), self.opened(path) as file:
            yield file

    def opened(self, path: str) -> pa.NativeFile:
        """Return a file of Arrow's, as `reading` gives it, to be closed by the caller."""
        from pyarrow import OSFile

        with self.faults(path):
            if self.local is not None:
                return OSFile(str(self._file(path)))
            return self.filesystem.open_input_file(self._key(path))

    def remove(self, path: str) -> None:
        """Remove a file; it may be gone already."""
        with self.faults(path), suppress(FileNotFoundError):
            if self.local is not None:
                self._file(path).unlink()
            else:
                self.filesystem.delete_file(self._key(path))

    def remove_folder(self, path: str) -> None:
        """Remove a folder of the store with all that is in it; it may be gone already."""
        with self.faults(path), suppress(FileNotFoundError):
            if self.local is not None:
                shutil.rmtree(self._file(path))
                return
            try:
                self.filesystem.delete_dir(self._key(path))
            except OSError as error:
                # So Arrow says of Google's that there is none.
                if "No such directory" not in str(error):
                    raise

    def remove_leftovers(self, older_than: float = 86400.0) -> int:
        """Remove what writers killed at least that many seconds ago left on the disk; return the number of files.

        An object store shows nobody what was left of an upload.
        """
        with self.faults(""):
            return 0 if self.local is None else store_local.remove_leftovers(self.local, older_than)

    def probe(self) -> None:
        """Raise `FeatdexError` unless files can be written here, read and removed; nothing is left of the attempt.

        Only Arrow's mark of a folder, an empty object `PREFIX/`, may stay in an object store.
        """
        with self.faults(""):
            if self.local is not None:
                store_local.probe(self.local)
                return
        path = f".probe.{uuid.uuid4().hex}"
        self.write(path, b"probe")
        try:
            self.read(path)
        finally:
            self.remove(path)

    @property
    def filesystem(self) -> Any:
        """Arrow's file system of an object store, a `pyarrow.fs.FileSystem`; names in it are `BUCKET/PREFIX/PATH`."""
        if self.address is None:
            raise ValueError(f"{self.where} is a folder")
        # The connections of another process are of no use after a fork.
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), store_remote.open_filesystem(self.address)
        return self._opened[1]

    def _upload(self, path: str, source: BinaryIO) -> None:
        if self.address is not None:
            with self.faults(path):
                store_remote.upload(self.address, self.filesystem, self._key(path), source)

    def _info(self, path: str) -> Any:
        with self.faults(path):
            info = self.filesystem.get_file_info(self._key(path))
            if not info.is_file:
                self._require_bucket()
            return info

    def _require_bucket(self) -> None:
        """Raise `FeatdexError` where nothing is found because the bucket itself is not there."""
        if self._has_bucket or self.address is None:
            return
        from pyarrow import fs

        # Who may not look at the bucket as a whole may still use what is in it.
        with suppress(OSError):
            if self.filesystem.get_file_info(self.address.bucket).type == fs.FileType.NotFound:
                raise FeatdexError(f"{self.where}: {store_faults.no_bucket(self.address)}")
        self._has_bucket = True

    def _file(self, path: str) -> Path:
        return Path(self.where, _checked(path))

    def _key(self, path: str) -> str:
        return f"{self._root()}/{_checked(path)}"

    def _root(self) -> str:
        return "/".join(filter(None, self.address[1:] if self.address else ()))

    @contextmanager
    def faults(self, path: str) -> Iterator[None]:
        """Turn what fails inside, about a file of the store, into a `FeatdexError` of one line."""
        try:
            yield
        except OSError as error:
            # What a caller does with a stream may fail at a file of its own.
            if error.filename is not None and not str(error.filename).startswith(self.where):
                raise
            if self.address:
                if isinstance(error, FileNotFoundError):
                    self._require_bucket()
                raise store_faults.fault(self.place(path), self.address, error) from error
            raise store_local.fault(self.place(path), error) from error


def _checked(path: str) -> str:
    """Return a path that leads nowhere but below its store; manifests of others may hold anything."""
    if any(part in ("", ".", "..") for part in path.split("/")) or re.search(r"[\\\x00-\x1f\x7f]", path):
        raise FeatdexError(f"{path!r} is no path of a file in a dataset")
    return path
