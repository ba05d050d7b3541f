"""The folder of a report: what may become one, the page itself, and the list of the files that are the report's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from .errors import UsageError
from .file import featdex_version
from .whole_folder import files_in, replacing_folder

MARK = "featdex-report.json"


def require_place(out: Path) -> Path:
    """Return the folder that a report will be, links followed.

    Raises:
        UsageError: It is a file, or a folder with anything in it but a report, or its parent is missing.
    """
    place = out.resolve()
    if place.is_dir():
        if any(place.iterdir()) and not (place / MARK).is_file():
            raise UsageError(f"{out} is a folder, but no featdex report; name a new one")
        foreign = sorted(files_in(place) - _own_files(place))
        if foreign:
            raise UsageError(f"{out} holds {foreign[0]!r}, which is no part of the report; name a new folder")
        if place in (Path.cwd(), *Path.cwd().parents):
            raise UsageError(f"{out} is the folder you are in, and would be replaced; name another one")
    elif place.exists():
        raise UsageError(f"{out} is a file; name a folder for the report")
    elif not place.parent.is_dir():
        raise UsageError(f"there is no folder {out.parent}; make it first")
    return place


@contextmanager
def report_folder(out: Path) -> Iterator[Path]:
    """Give a new folder that takes the place of `out` only when the block ends well, with a list of its files.

    Raises:
        UsageError: `out` can't be replaced: see `require_place`.
        FeatdexError: The disk is full, or the folder can't be written.
    """
    with replacing_folder(require_place(out)) as folder:
        yield folder
        _keep_list(folder)


def _own_files(folder: Path) -> set[str]:
    """Return the files that a report is made of, by its own list."""
    if not (folder / MARK).is_file():
        return set()
    try:
        listed = json.loads((folder / MARK).read_text(encoding="utf-8"))["files"]
        return {MARK, *map(str, listed)}
    except (OSError, ValueError, KeyError, TypeError):
        return {MARK}


def _keep_list(folder: Path) -> None:
    """Write into the mark which files the report is made of: only these are ever taken away again."""
    mark = folder / MARK
    if mark.is_file():
        facts = json.loads(mark.read_text(encoding="utf-8"))
        mark.write_text(json.dumps(facts | {"files": sorted(files_in(folder))}) + "\n", encoding="utf-8")


def write_page(folder: Path) -> int:
    """Write the page itself, its scripts and libraries, and the mark of a report; return the bytes."""
    n_bytes = _copy(files("featdex.catalogue") / "report_page", folder)
    mark = json.dumps({"made_by": f"featdex {featdex_version()}", "open": "index.html"}) + "\n"
    (folder / MARK).write_text(mark, encoding="utf-8")
    return n_bytes + len(mark)


def _copy(source: Traversable, target: Path) -> int:
    target.mkdir(exist_ok=True)
    n_bytes = 0
    for entry in source.iterdir():
        if entry.is_dir():
            n_bytes += _copy(entry, target / entry.name)
        else:
            content = entry.read_bytes()
            (target / entry.name).write_bytes(content)
            n_bytes += len(content)
    return n_bytes
