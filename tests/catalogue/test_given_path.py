"""Names that no file can have, and numbers without end, wherever the command line takes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from featdex.catalogue.catalogue import connect
from featdex.catalogue.errors import UsageError
from featdex.catalogue.given_path import given_path

LONG = "y" * 300


@pytest.mark.parametrize(
    "line",
    [["--db", LONG, "ls"], ["--db", "~nobody-here/x", "ls"], ["export", "coverage", "-o", f"{LONG}.csv"]],
)
def test_a_name_that_no_file_can_have_is_a_usage_error(
    featdex: Callable[..., tuple[int, str, str]], line: list[str]
) -> None:
    code, _, err = featdex(*line)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("featdex: can't look for ")


def test_so_it_is_from_python() -> None:
    with pytest.raises(UsageError, match="File name too long"):
        connect(LONG)


def test_the_home_folder_is_spelt_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert given_path("~/x.duckdb") == tmp_path / "x.duckdb"
    assert given_path("x.duckdb") == Path("x.duckdb")


@pytest.mark.parametrize("line", [["q", "tokens_of", "tiny/29-mlp", "9" * 5000], ["show", f"tiny/29-mlp/{'9' * 5000}"]])
def test_a_number_of_thousands_of_digits_is_refused(
    featdex: Callable[..., tuple[int, str, str]], line: list[str]
) -> None:
    code, _, err = featdex(*line)
    assert code in (1, 2, 3)
    assert (err.startswith("featdex: "), err.count("\n")) == (True, 1)
