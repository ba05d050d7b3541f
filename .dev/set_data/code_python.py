"""Make ingest/data/sets/code_python.toml from what a Python interpreter says of itself.

Run with Python 3.11 in the folder .dev:

    python -m set_data.code_python
"""

from __future__ import annotations

import builtins
import keyword
import sys

from .toml_sets import SETS, WordSet, write_set_file

COMMENT = """
Made by .dev/set_data/code_python.py with Python 3.11: lists of names, which are facts, dedicated to the public domain
(CC0-1.0).
"""

# The methods of these are what Python code calls all the time.
TYPES = (str, bytes, list, dict, set, tuple, int, float)


def main() -> None:
    """Write code_python.toml, each set in alphabetical order."""
    public = [name for name in sorted(dir(builtins)) if not name.startswith("_")]
    exceptions = [name for name in public if _is_exception(getattr(builtins, name))]
    methods = {name for found in TYPES for name in dir(found) if not name.startswith("_")}
    modules = [name for name in sorted(sys.stdlib_module_names) if not name.startswith("_")]
    keywords = sorted([*keyword.kwlist, *(word for word in keyword.softkwlist if word != "_")])
    functions = [name for name in public if name not in {*exceptions, *keywords}]
    sets = [
        WordSet("python_keywords", "Keywords of Python 3.11, soft ones included.", keywords),
        WordSet("python_builtins", "Built-in functions, types and constants of Python 3.11.", functions),
        WordSet("python_exceptions", "Built-in exceptions and warnings of Python 3.11.", exceptions),
        WordSet("python_modules", "Top modules of the standard library of Python 3.11.", modules),
        WordSet("python_methods", "Methods of the built-in types of Python 3.11.", sorted(methods)),
    ]
    collection = {
        "name": "code",
        "description": "Keywords, builtins and common names of programming languages, markup and tools.",
        "source": "the keyword, builtins and sys modules of Python 3.11",
        "licence": "CC0-1.0",
        "version": "3.11",
        "casing": "given",
    }
    write_set_file(SETS / "code_python.toml", collection, sets, COMMENT)


def _is_exception(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


if __name__ == "__main__":
    main()
