"""Room for what one dictionary gives while it is computed: in memory for arrays, on disk for an ingest.

Columns of `enrichment` grow with sets times features and have to be complete, set by set, before q-values can be had.
On disk they take no memory; the file has no name from the start, so that a kill at any moment leaves nothing behind.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from ..catalogue.errors import FeatdexError
from .inputs import AnyArray

Columns = dict[str, AnyArray]


@runtime_checkable
class Matrix(Protocol):
    """A matrix of `shape` that is written by blocks and read by rows."""

    shape: tuple[int, int]
    dtype: np.dtype[np.generic]

    def write(self, row: int, column: int, values: AnyArray) -> None:
        """Set the block of `values` [rows, columns] whose corner is at (row, column)."""

    def read(self, first: int, last: int) -> AnyArray:
        """Return rows `first` to `last - 1`."""

    def piece(self, row: int, first: int, last: int) -> AnyArray:
        """Return columns `first` to `last - 1` of one row, flat."""


class _HeldMatrix:
    """A matrix in memory."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[np.generic]) -> None:
        self.shape, self.dtype = shape, dtype
        self._values = np.empty(shape, dtype)

    def write(self, row: int, column: int, values: AnyArray) -> None:
        self._values[row : row + values.shape[0], column : column + values.shape[1]] = values

    def read(self, first: int, last: int) -> AnyArray:
        return self._values[first:last]

    def piece(self, row: int, first: int, last: int) -> AnyArray:
        return self._values[row, first:last]


class _FiledMatrix:
    """A matrix in a part of a file, row by row, by plain reads and writes: mapped pages would count as memory."""

    def __init__(self, scratch: Scratch, offset: int, shape: tuple[int, int], dtype: np.dtype[np.generic]) -> None:
        self.shape, self.dtype = shape, dtype
        self._scratch, self._offset = scratch, offset

    def write(self, row: int, column: int, values: AnyArray) -> None:
        block = np.ascontiguousarray(values, self.dtype)
        if block.shape[1] == self.shape[1]:
            self._scratch.put(self._place(row, 0), block)
            return
        for k in range(len(block)):
            self._scratch.put(self._place(row + k, column), block[k])

    def read(self, first: int, last: int) -> AnyArray:
        flat = self._scratch.get(self._place(first, 0), (last - first) * self.shape[1], self.dtype)
        return flat.reshape(last - first, self.shape[1])

    def piece(self, row: int, first: int, last: int) -> AnyArray:
        return self._scratch.get(self._place(row, first), last - first, self.dtype)

    def _place(self, row: int, column: int) -> int:
        return self._offset + (row * self.shape[1] + column) * self.dtype.itemsize


class Scratch:
    """Gives out matrices, in memory or in one nameless file in `folder`, which goes with `close`.

    Raises:
        FeatdexError: The folder can't be written, or its disk is full.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._end = 0
        # Several devices write their blocks at once; each column is made by the first of them.
        self.making = threading.RLock()
        try:
            self._file = None if folder is None else tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise FeatdexError(f"cannot write a temporary file in {folder}: {error.strerror or error}") from error

    def matrix(self, shape: tuple[int, int], dtype: type[np.generic] | np.dtype[np.generic]) -> Matrix:
        """Return an uninitialised matrix of that shape."""
        kind = np.dtype(dtype)
        if self._file is None:
            return _HeldMatrix(shape, kind)
        matrix = _FiledMatrix(self, self._end, shape, kind)
        self._end += -(-shape[0] * shape[1] * kind.itemsize // 4096) * 4096
        return matrix

    def put(self, offset: int, values: AnyArray) -> None:
        """Write the bytes of a contiguous array at `offset` of the file."""
        left = values.reshape(-1).view(np.uint8).data
        try:
            while left:
                written = os.pwrite(self._handle(), left, offset)
                left, offset = left[written:], offset + written
        except OSError as error:
            raise FeatdexError(
                f"cannot write a temporary file in {self._folder}: {error.strerror or error}; it needs"
                f" {self._end / 1e9:.1f} GB there"
            ) from error

    def get(self, offset: int, count: int, dtype: np.dtype[np.generic]) -> AnyArray:
        """Read `count` values at `offset` of the file."""
        values = np.empty(count, dtype)
        left = values.view(np.uint8).data
        while left:
            n_read = os.preadv(self._handle(), [left], offset)
            if not n_read:
                raise FeatdexError(f"a temporary file in {self._folder} is shorter than what was written to it")
            left, offset = left[n_read:], offset + n_read
        return values

    @property
    def size(self) -> int:
        """Bytes of the file so far; 0 in memory."""
        return self._end

    def close(self) -> None:
        """Give the room back."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _handle(self) -> int:
        assert self._file is not None
        return self._file.fileno()


class SetColumns:
    """Columns of `enrichment`: each a matrix of a row a set and a column a feature, made when first written.

    The first `n_kept` sets are not computed but known beforehand.
    """

    def __init__(self, scratch: Scratch, n_sets: int, n_features: int, n_kept: int = 0) -> None:
        self._scratch = scratch
        self.n_sets, self.n_features, self.n_kept = n_sets, n_features, n_kept
        self.matrices: dict[str, Matrix] = {}

    def write(self, columns: Mapping[str, AnyArray], first_set: int, first_feature: int) -> None:
        """Set blocks of shape [sets, features] whose corner is at (first_set, first_feature)."""
        for name, values in columns.items():
            self.matrix(name, values.dtype).write(first_set, first_feature, values)

    def matrix(self, name: str, dtype: np.dtype[np.generic]) -> Matrix:
        """Return the column of that name, made now if it is new."""
        with self._scratch.making:
            if name not in self.matrices:
                self.matrices[name] = self._scratch.matrix((self.n_sets, self.n_features), dtype)
        return self.matrices[name]

    def write_null(self, names: Iterable[str], first_set: int) -> None:
        """Set the columns that have no value for the sets from `first_set` on to NULL: NaN, or -1 for integers."""
        for name in names:
            matrix = self.matrices[name]
            missing = np.full((1, self.n_features), np.nan if matrix.dtype.kind == "f" else -1, matrix.dtype)
            for index in range(first_set, self.n_sets):
                matrix.write(index, 0, missing)

    def of_set(self, index: int) -> Columns:
        """Return all columns of one set, each of shape [n_features]."""
        return {name: matrix.piece(index, 0, self.n_features) for name, matrix in self.matrices.items()}

    def arrays(self) -> Columns:
        """Return all columns whole, each of shape [n_sets, n_features]."""
        return {name: matrix.read(0, self.n_sets) for name, matrix in self.matrices.items()}


class FeatureColumns:
    """Columns with a row a feature, of one value or of a list of fixed length, made when first written."""

    def __init__(self, scratch: Scratch, n_features: int) -> None:
        self._scratch = scratch
        self.n_features = n_features
        self._matrices: dict[str, tuple[Matrix, bool]] = {}

    def write(self, columns: Mapping[str, AnyArray], first_feature: int) -> None:
        """Set values of shape [features] or [features, k] from `first_feature` on."""
        for name, values in columns.items():
            block = values.reshape(len(values), -1)
            with self._scratch.making:
                if name not in self._matrices:
                    shape = (self.n_features, block.shape[1])
                    self._matrices[name] = (self._scratch.matrix(shape, values.dtype), values.ndim == 1)
            self._matrices[name][0].write(first_feature, 0, block)

    def read(self, first: int, last: int) -> Columns:
        """Return all columns of features `first` to `last - 1`."""
        return {
            name: matrix.read(first, last)[:, 0] if is_flat else matrix.read(first, last)
            for name, (matrix, is_flat) in self._matrices.items()
        }
