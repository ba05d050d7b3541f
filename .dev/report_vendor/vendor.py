"""Fetch the JavaScript libraries of the report page from npm and write them to catalogue/report_page/vendor/.

    python .dev/report_vendor/vendor.py

Needs npm; neither the package nor its tests do. A browser loads no ES module from a file:// page, so what comes as
modules only is bundled into one classic script. Versions are exact: the same command gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import NamedTuple

TARGET = Path(__file__).resolve().parents[2] / "catalogue" / "report_page" / "vendor"
ESBUILD = "esbuild@0.28.2"
VIRTUAL_ENTRY = """
import { Virtualizer, elementScroll, observeElementOffset, observeElementRect } from "./index.js";
window.VirtualCore = { Virtualizer, elementScroll, observeElementOffset, observeElementRect };
"""


class Library(NamedTuple):
    """A library: its npm package, its files as name there and here, and whether they are bundled first."""

    package: str
    version: str
    licence: str
    use: str
    files: dict[str, str]
    bundle: bool = False


LIBRARIES = (
    Library(
        "uplot",
        "1.6.32",
        "MIT",
        "axes, scales, zoom and cursor of the plots",
        {"dist/uPlot.iife.min.js": "uPlot.iife.min.js", "dist/uPlot.min.css": "uPlot.min.css"},
    ),
    Library(
        "@tanstack/virtual-core",
        "3.19.11",
        "MIT",
        "the rows of a table that are in view",
        {"dist/esm/index.js": "virtual-core.iife.min.js"},
        bundle=True,
    ),
)


def main() -> None:
    """Write the files, their licences and `vendor.json`."""
    TARGET.mkdir(parents=True, exist_ok=True)
    records = []
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for library in LIBRARIES:
            folder = _fetched(library, work)
            if library.bundle:
                _bundle(folder, library)
            licence = f"LICENSE-{library.package.rpartition('/')[2]}.txt"
            (TARGET / licence).write_bytes((folder / "LICENSE").read_bytes())
            for source, target in library.files.items():
                (TARGET / target).write_bytes((folder / source).read_bytes())
            hashes = {target: _sha256(TARGET / target) for target in library.files.values()}
            record = {key: getattr(library, key) for key in ("package", "version", "licence", "use")}
            bundled = {"bundled_with": ESBUILD} if library.bundle else {}
            records.append(record | bundled | {"licence_file": licence, "sha256": hashes})
    (TARGET / "vendor.json").write_text(json.dumps(records, indent=2) + "\n", encoding="utf-8")


def _fetched(library: Library, work: Path) -> Path:
    spec = f"{library.package}@{library.version}"
    command = ["npm", "pack", "--silent", "--pack-destination", str(work), spec]
    archive = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]
    folder = work / library.package.replace("/", "-")
    with tarfile.open(work / archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / "package"


def _bundle(folder: Path, library: Library) -> None:
    (source,) = library.files
    entry = folder / Path(source).with_name("entry.js")
    entry.write_text(VIRTUAL_ENTRY, encoding="utf-8")
    banner = f"/*! {library.package} {library.version}, MIT, see LICENSE-{library.package.rpartition('/')[2]}.txt */"
    command = ["npx", "--yes", ESBUILD, str(entry), "--bundle", "--minify", "--format=iife", "--target=es2020"]
    command += ['--define:process.env.NODE_ENV="production"', f"--banner:js={banner}"]
    bundled = subprocess.run(command, check=True, capture_output=True).stdout
    (folder / source).write_bytes(bundled)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
