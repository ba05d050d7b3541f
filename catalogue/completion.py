"""Completion in the shell: verbs, options, and the names that a catalogue holds, in a fraction of a second.

The scripts of `completion_scripts` run `featdex` with `_FEATDEX_COMPLETE` set and the words typed so far as arguments;
it prints a candidate a line, and nothing at all on any fault. What a parameter takes is known by its name (`COMPLETERS`
of `completion_names`), so a new verb with an option `--sae` has its values completed.

Names come from a file that anybody may have made: only those that mean the same to every shell without quotes are
offered.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .display import printable

if TYPE_CHECKING:
    from .completion_names import Candidate, Typed

VARIABLE = "_FEATDEX_COMPLETE"
SHELLS = ("bash", "zsh", "fish")
AUTO = "auto"
"""The shell that featdex is called from."""

_HARMLESS = re.compile(r"[A-Za-z0-9_./@:+,=%-]+")
_MOST = 500
_LONGEST_HELP = 60
_BREAKS = "=:"
"""What bash makes words of their own, and completes after."""


def answer(group: Any, words: Sequence[str], shell: str) -> None:
    """Print the candidates of `complete`; on any fault nothing, for a shell shows it in the middle of a line."""
    with suppress(BaseException), open(os.devnull, "w") as nowhere, redirect_stderr(nowhere):  # noqa: PTH123
        print("".join(f"{line}\n" for line in complete(group, words, shell)), end="", flush=True)


def complete(group: Any, words: Sequence[str], shell: str) -> list[str]:
    """Return the lines for a shell: a candidate, and but for bash a tab and its description.

    Args:
        group: The command line, as `typer.main.get_command` gives it.
        words: The words after `featdex` as the shell has them, quotes and all; the last is the one to complete.
        shell: One of `SHELLS`.
    """
    plain = [_unquoted(word) for word in (_joined(words) if shell == "bash" else words)] or [""]
    found = {candidate.value: candidate for candidate in _candidates(group, plain[:-1], plain[-1])}
    # Bash replaces what comes after the last of its breaks only.
    given = max(plain[-1].rfind(sign) for sign in _BREAKS) + 1 if shell == "bash" else 0
    return [
        candidate.value[given:] + ("" if shell == "bash" else f"\t{_one_line(candidate.help)}")
        for candidate in found.values()
        if candidate.value.startswith(plain[-1]) and _HARMLESS.fullmatch(candidate.value)
    ][:_MOST]


def _joined(words: Sequence[str]) -> list[str]:
    """Undo bash's breaks: `set_name`, `=`, `gi` are one word."""
    joined: list[str] = []
    for word in words:
        is_break = bool(word) and not word.strip(_BREAKS)
        if joined and (is_break or (joined[-1] and joined[-1][-1] in _BREAKS)):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def _unquoted(word: str) -> str:
    """Return a word without the quotes of the shell, of which the last may be still to come."""
    for end in ("", "'", '"'):
        try:
            return "".join(shlex.split(word + end))
        except ValueError:
            continue
    return word


def _one_line(text: str) -> str:
    text = printable(" ".join(text.split()))
    return text if len(text) <= _LONGEST_HELP else text[: _LONGEST_HELP - 1] + "…"


def _candidates(group: Any, before: Sequence[str], word: str) -> Iterator[Candidate]:
    """Go through the words as the command line would, and yield what may come next."""
    from .completion_names import Candidate

    place = _Place(group)
    for given in before:
        place.take(given)
    command, typed = place.command, place.typed(word)
    if command is None:
        return
    if place.option is not None:
        yield from _values_of(place.option, typed)
    elif word.startswith("-") and "=" in word:
        name, _, begun = word.partition("=")
        values = _values_of(place.option_named(name), typed._replace(word=begun))
        yield from (Candidate(f"{name}={value}", told) for value, told in values)
    elif word.startswith("-"):
        yield from _option_names(place.options())
    elif hasattr(command, "list_commands"):
        for name in command.list_commands(place.context):
            verb = command.get_command(place.context, name)
            if verb is not None and not verb.hidden:
                yield Candidate(name, _summary(verb))
    else:
        yield from _values_of(_argument(command, len(typed.values)), typed)


class _Place:
    """Where the words so far lead: a command (None: none of ours), or an option whose value is to come."""

    def __init__(self, group: Any) -> None:
        import typer

        self._new_context = typer.Context
        self.command = group
        self.context: Any = typer.Context(group, info_name="featdex")
        self.option: Any = None
        self._everywhere = [option for option in group.params if {"--db", "--wait"} & set(option.opts)]
        self._db = os.environ.get("FEATDEX_DB") or None
        self._verb: list[str] = []
        self._values: list[str] = []

    def take(self, word: str) -> None:
        """Go on by one word."""
        if self.command is None:
            return
        if self.option is not None:
            self._give(self.option, word)
        elif word.startswith("-") and len(word) > 1:
            name, equals, value = word.partition("=")
            self.option = self.option_named(name)
            if equals and self.option is not None:
                self._give(self.option, value)
        elif hasattr(self.command, "list_commands"):
            self.command = self.command.get_command(self.context, word)
            self.context = self._new_context(self.command, info_name=word, parent=self.context)
            self._verb.append(word)
        else:
            self._values.append(word)

    def _give(self, option: Any, value: str) -> None:
        if "--db" in option.opts:
            self._db = value
        self.option = None

    def options(self) -> list[Any]:
        """Return the options that may stand here."""
        found = [*self.command.params, *self._everywhere]
        return [parameter for parameter in found if parameter.param_type_name == "option"]

    def option_named(self, name: str) -> Any:
        """Return the option of that name that takes a value, None where there is none."""
        takers = (option for option in self.options() if name in option.opts and not option.is_flag)
        return next(takers, None)

    def typed(self, word: str) -> Typed:
        """Return what has been typed."""
        from .completion_names import Typed

        db = None if self._db is None else Path(self._db).expanduser()
        return Typed(db, " ".join(self._verb), tuple(self._values), word)


def _summary(command: Any) -> str:
    return str(command.help or "").strip().split("\n\n")[0]


def _option_names(options: Iterable[Any]) -> Iterator[Candidate]:
    from .completion_names import Candidate

    for option in options:
        if not option.hidden:
            names = [name for name in [*option.opts, *option.secondary_opts] if name.startswith("--")]
            yield from (Candidate(name, option.help or "") for name in names)
    yield Candidate("--help", "Show the help page.")


def _argument(command: Any, n_before: int) -> Any:
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    if n_before < len(arguments):
        return arguments[n_before]
    return arguments[-1] if arguments and arguments[-1].nargs == -1 else None


def _values_of(parameter: Any, typed: Typed) -> Iterator[Candidate]:
    from .completion_names import COMPLETERS, Candidate

    if parameter is None:
        return
    choices = getattr(parameter.type, "choices", None)
    if choices:
        yield from (Candidate(str(getattr(choice, "value", choice))) for choice in choices)
        return
    # `q NAME` is not `sets show NAME`.
    for purpose in (f"{typed.verb} {parameter.name}", parameter.name, parameter.metavar):
        if purpose in COMPLETERS:
            yield from COMPLETERS[purpose](typed)
            return
