"""A folder that is written whole: at every moment there is the old one or the new one."""

from __future__ import annotations

from pathlib import Path

import pytest
from featdex.catalogue.errors import FeatdexError
from featdex.catalogue.whole_folder import files_in, replacing_folder


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "place"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "old.txt").write_text("old")
    return folder


def test_the_new_one_takes_the_place(place: Path) -> None:
    with replacing_folder(place) as folder:
        (folder / "new.txt").write_text("new")
        assert files_in(place) == {"deep/old.txt"}
    assert files_in(place) == {"new.txt"}
    assert [path.name for path in place.parent.iterdir()] == ["place"]


def test_it_may_be_named_from_where_one_is(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.parent)
    for name in ("place", "another"):
        with replacing_folder(Path(name)) as folder:
            (folder / "new.txt").write_text("new")
        assert files_in(place.with_name(name)) == {"new.txt"}


@pytest.mark.parametrize(
    "error", [OSError(13, "Permission denied"), KeyboardInterrupt()], ids=lambda error: repr(error)
)
@pytest.mark.parametrize("step", ["writing", "place", "part"])
def test_whatever_breaks_any_step_leaves_the_old_one(
    place: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(step):
            raise error
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    kind = FeatdexError if isinstance(error, OSError) else KeyboardInterrupt

    def write() -> None:
        with replacing_folder(place) as folder:
            (folder / "new.txt").write_text("new")
            if step == "writing":
                raise error

    with pytest.raises(kind):
        write()
    assert files_in(place) == {"deep/old.txt"}
    assert [path.name for path in place.parent.iterdir()] == ["place"]
