"""Keeping run-time type checks, which tests switch on, off small functions of text that are called for every token.

A check takes ten microseconds, ten times as long as what they do; and a static type checker reads them as any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


def no_type_check(function: Function) -> Function:
    """Return the function as it is: jaxtyping leaves out what carries this name. `typing`'s own stops static checks."""
    return function
