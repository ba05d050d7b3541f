"""Which featdex this is."""

from __future__ import annotations


def featdex_version() -> str:
    """Return the installed version of featdex, or `"unknown"` in a bare source tree."""
    # Slow to import, and of no use to a shell that completes a word.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("featdex")
    except PackageNotFoundError:
        return "unknown"
