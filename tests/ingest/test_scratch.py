"""Matrices on disk against numpy, and what becomes of them."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from featdex.catalogue.errors import FeatdexError
from featdex.ingest.scratch import FeatureColumns, Scratch, SetColumns
from hypothesis import given
from hypothesis import strategies as st


@given(
    seed=st.integers(0, 10**6),
    shapes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9)), min_size=1, max_size=3),
    dtype=st.sampled_from(["f4", "f8", "i2", "i4"]),
)
def test_matrices_in_a_file_are_those_in_memory(
    tmp_path_factory: pytest.TempPathFactory, seed: int, shapes: list[tuple[int, int]], dtype: str
) -> None:
    rng = np.random.default_rng(seed)
    with Scratch(tmp_path_factory.getbasetemp()) as disk, Scratch() as memory:
        both = [(disk.matrix(shape, np.dtype(dtype)), memory.matrix(shape, np.dtype(dtype))) for shape in shapes]
        plain = [np.zeros(shape, dtype) for shape in shapes]
        for pair, expected in zip(both, plain, strict=True):
            for matrix in pair:
                matrix.write(0, 0, expected)
        for _ in range(8):
            k = int(rng.integers(len(shapes)))
            (n_rows, n_columns), pair, expected = shapes[k], both[k], plain[k]
            row, column = int(rng.integers(n_rows)), int(rng.integers(n_columns))
            block = rng.integers(-99, 99, (rng.integers(1, n_rows - row + 1), rng.integers(1, n_columns - column + 1)))
            values = block.astype(dtype)
            expected[row : row + values.shape[0], column : column + values.shape[1]] = values
            for matrix in pair:
                matrix.write(row, column, values)
        for pair, expected in zip(both, plain, strict=True):
            for matrix in pair:
                np.testing.assert_array_equal(matrix.read(0, len(expected)), expected)
                np.testing.assert_array_equal(matrix.piece(len(expected) - 1, 0, expected.shape[1]), expected[-1])


def test_set_columns_keep_the_first_sets_and_null_what_is_missing() -> None:
    columns = SetColumns(Scratch(), 3, 4, n_kept=1)
    columns.write({"z": np.ones((1, 4), np.float32), "top_hits": np.full((1, 4), 7, np.int16)}, 0, 0)
    columns.write({"z": np.full((2, 2), 5, np.float32)}, 1, 0)
    columns.write({"z": np.full((2, 2), 6, np.float32)}, 1, 2)
    columns.write_null({"top_hits"}, 1)
    assert columns.arrays()["z"].tolist() == [[1, 1, 1, 1], [5, 5, 6, 6], [5, 5, 6, 6]]
    assert columns.arrays()["top_hits"].tolist() == [[7] * 4, [-1] * 4, [-1] * 4]
    assert columns.of_set(2)["z"].tolist() == [5, 5, 6, 6]


def test_feature_columns_hold_values_and_lists(tmp_path: Path) -> None:
    with Scratch(tmp_path) as scratch:
        columns = FeatureColumns(scratch, 5)
        for first in (0, 3):
            n = min(3, 5 - first)
            values = np.arange(first, first + n, dtype=np.float32)
            columns.write({"mean": values, "histogram": np.stack([values, -values], 1).astype(np.int32)}, first)
        part = columns.read(2, 5)
    assert part["mean"].tolist() == [2, 3, 4]
    assert part["histogram"].tolist() == [[2, -2], [3, -3], [4, -4]]


def test_the_file_has_no_name_even_while_it_is_in_use(tmp_path: Path) -> None:
    with Scratch(tmp_path) as scratch:
        scratch.matrix((4, 4), np.float32).write(0, 0, np.ones((4, 4), np.float32))
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(FeatdexError, match="cannot write a temporary file"):
        Scratch(tmp_path)


def test_a_missing_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(FeatdexError, match="cannot write a temporary file"):
        Scratch(tmp_path / "none")


FULL = """
import sys
import numpy as np
from pathlib import Path
from featdex.catalogue.errors import FeatdexError
from featdex.ingest.scratch import Scratch
matrix = Scratch(Path(sys.argv[1])).matrix((64, 4096), np.float32)
try:
    matrix.write(0, 0, np.ones((64, 4096), np.float32))
except FeatdexError as error:
    print(error)
"""


def test_a_full_disk_is_one_line_that_says_how_much_is_wanted(tmp_path: Path) -> None:
    def limit() -> None:
        # The kernel's own refusal of a write, as on a full disk; its signal would end the process.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], preexec_fn=limit, capture_output=True, text=True, check=True
    )
    assert "cannot write a temporary file" in done.stdout
    assert "it needs" in done.stdout
    assert done.stdout.count("\n") == 1
