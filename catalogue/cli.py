"""The command `featdex`: its options, its verbs and what becomes of a fault.

The verbs that read are in `cli_read`, `cli_show`, `cli_care`, `cli_export`, `cli_report` and `cli_plot`, the user's
notes in `cli_notes`, those for what outgrows a file in `cli_scale`, what joins catalogues in `cli_merge`. Those that
compute come from `featdex.ingest`, or from anybody, through the entry-point group `featdex.commands`: each entry is a
function `register(app: typer.Typer)`. They are loaded only for the help page and for a verb that is none of these, so
reading needs no torch.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from . import (
    cli_care,
    cli_export,
    cli_merge,
    cli_notes,
    cli_plot,
    cli_read,
    cli_report,
    cli_scale,
    cli_show,
    completion,
)
from .cli_common import Settings, VerbGroup, example, narrate
from .errors import ExitCode, FeatdexError, UsageError

ENTRY_POINTS = "featdex.commands"
_ANYWHERE = ("--db", "--wait")
_COMPLETION_OPTIONS = ("--show-completion", "--install-completion")
# Equal to `file.DEFAULT_WAIT_SECONDS`, whose module imports duckdb: the help page does without.
_DEFAULT_WAIT = 10.0


class FeatdexGroup(TyperGroup):
    """The verbs: the reading ones, and those of other packages once they are needed."""

    _loaded = False
    _failures: tuple[str, ...] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept `--db` and `--wait` after the verb as well, and some options without their value."""
        return super().parse_args(ctx, _values_named(_options_first(args)))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a verb.

        Raises:
            UsageError: It is unknown while the commands of some package failed to load.
        """
        if cmd_name not in self.commands:
            self.load_others()
        if cmd_name not in self.commands and self._failures:
            raise UsageError(f"no command {cmd_name!r}; {'; '.join(self._failures)}")
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all verbs."""
        self.load_others()
        return super().list_commands(ctx)

    def load_others(self) -> None:
        """Load the verbs of other packages; what is there already stays."""
        if self._loaded:
            return
        self._loaded = True
        from importlib.metadata import entry_points

        failures = []
        for entry in entry_points(group=ENTRY_POINTS):
            extra = typer.Typer(rich_markup_mode=None)
            extra.callback()(_no_options)
            try:
                entry.load()(extra)
            except Exception as error:
                # Whatever ails another package, reading goes on; the line says what to do when its verb is used.
                failures.append(
                    f"those of {entry.name!r} failed to load ({error}); pip install 'featdex[{entry.name}]'"
                )
                continue
            self._add(get_group(extra).commands)
        self._failures = tuple(failures)

    def _add(self, commands: Any) -> None:
        for name, command in commands.items():
            there = self.commands.setdefault(name, command)
            if there is not command and isinstance(there, VerbGroup):
                for verb, more in getattr(command, "commands", {}).items():
                    there.commands.setdefault(verb, more)


def _no_options() -> None:
    """A group needs a callback to stay one where it has a single command."""


def _options_first(arguments: list[str]) -> list[str]:
    """Move `--db FILE` and `--wait SECONDS` before the verb."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    first: list[str] = []
    rest: list[str] = []
    pending = iter(arguments[:end])
    for argument in pending:
        if argument in _ANYWHERE:
            first += [argument, *[value for value in [next(pending, None)] if value is not None]]
        elif argument.startswith(tuple(f"{option}=" for option in _ANYWHERE)):
            first.append(argument)
        else:
            rest.append(argument)
    return first + rest + arguments[end:]


def _values_named(arguments: list[str]) -> list[str]:
    """Give options whose value may be left out the one that they then have.

    `--show-completion` and `--install-completion` take the shell that asks, `--ray` this machine.
    """
    named: list[str] = []
    for argument, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        named.append(argument)
        if argument in _COMPLETION_OPTIONS and following.startswith("-"):
            named.append(completion.AUTO)
        elif argument == "--ray" and not _is_address(following):
            named.append("local")
    return named


def _is_address(text: str) -> bool:
    return text in ("auto", "local") or (":" in text and not text.startswith("-"))


app = typer.Typer(
    name="featdex",
    cls=FeatdexGroup,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("featdex --db demo.duckdb top girls_names --min-kurtosis 8"),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from .file import featdex_version

        print(f"featdex {featdex_version()}")
        raise typer.Exit()


def _show_completion(shell: str | None) -> None:
    if shell is not None:
        from .completion_scripts import script, shell_named

        print(script(shell_named(shell)), end="")
        raise typer.Exit()


def _install_completion(shell: str | None) -> None:
    if shell is not None:
        from .completion_scripts import install, shell_named

        narrate(f"wrote {', '.join(map(str, install(shell_named(shell))))}; start another shell to have it")
        raise typer.Exit()


@app.callback()
def options(
    context: typer.Context,
    db: Annotated[
        Path | None, typer.Option("--db", envvar="FEATDEX_DB", help="The catalogue: a DuckDB file, or a dataset.")
    ] = None,
    wait: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds to wait for a catalogue in use.")
    ] = _DEFAULT_WAIT,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    show_completion: Annotated[
        str | None,
        typer.Option(
            "--show-completion",
            callback=_show_completion,
            is_eager=True,
            metavar="[SHELL]",
            help="Print what completes featdex in bash, zsh or fish; in this shell by default.",
        ),
    ] = None,
    install_completion: Annotated[
        str | None,
        typer.Option(
            "--install-completion",
            callback=_install_completion,
            is_eager=True,
            metavar="[SHELL]",
            help="Put that where the shell reads it at its start.",
        ),
    ] = None,
) -> None:
    """A catalogue of sparse-autoencoder features in one DuckDB file.

    --db and --wait may also follow the verb.
    """
    context.obj = Settings(db, wait)


cli_read.register(app)
cli_export.register(app)
cli_show.register(app)
cli_care.register(app)
cli_report.register(app)
cli_plot.register(app)
cli_notes.register(app)
cli_scale.register(app)
cli_merge.register(app)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; every fault is one line on stderr."""
    try:
        code = app(args=arguments or ["--help"], prog_name="featdex", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else ExitCode.OK
    except FeatdexError as fault:
        narrate(f"featdex: {fault}")
        return fault.exit_code
    except typer.TyperException as fault:
        usage = cast(Any, fault)
        command = getattr(getattr(usage, "ctx", None), "command_path", "featdex")
        text = " ".join(usage.format_message().split()).removesuffix(".")
        if text:
            narrate(f"featdex: {text} (see '{command} --help')")
        return ExitCode.USAGE
    except BrokenPipeError:
        # The reader has what it wants; without this, Python would complain once more while it shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAULT
    except (KeyboardInterrupt, typer.Abort):
        return 130


def main() -> None:
    """Run `featdex`: the console script, which also answers the shells that complete it."""
    shell = os.environ.get(completion.VARIABLE)
    if shell in completion.SHELLS:
        completion.answer(get_command(app), sys.argv[1:], shell)
        # Without taking down modules and threads one by one: somebody waits for the next letter.
        os._exit(0)
    code = run(sys.argv[1:])
    if "daft" in sys.modules:
        _leave(code)
    sys.exit(code)


def _leave(code: int) -> None:
    """End the process without taking down Python: threads of Daft's are still in it, and now and then abort it."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
