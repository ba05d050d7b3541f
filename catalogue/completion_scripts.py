"""The scripts by which shells complete `featdex`, and where they go.

They pass the words on as arguments and take a candidate a line: nothing is evaluated, and no pattern is expanded.
"""

from __future__ import annotations

import os
from pathlib import Path

from .completion import AUTO, SHELLS, VARIABLE
from .errors import FeatdexError, UsageError

_BASH = """\
_featdex_completion() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <(VARIABLE=bash "$1" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    if [[ ${COMPREPLY[0]} == *[=/] ]]; then
        compopt -o nospace 2>/dev/null
    fi
}
complete -o bashdefault -o default -F _featdex_completion featdex
"""

_ZSH = """\
#compdef featdex
_featdex() {
    local line value
    local -a open_values open_told values told
    while IFS= read -r line; do
        value=${line%%$'\\t'*}
        if [[ $value == *[=/] ]]; then
            open_values+=("$value")
            open_told+=("$value  ${line#*$'\\t'}")
        else
            values+=("$value")
            told+=("$value  ${line#*$'\\t'}")
        fi
    done < <(VARIABLE=zsh "${words[1]}" "${(@)words[2,CURRENT]}" 2>/dev/null)
    if (( ! $#values && ! $#open_values )); then
        _files
        return
    fi
    (( $#values )) && compadd -l -d told -a values
    (( $#open_values )) && compadd -l -S '' -d open_told -a open_values
    return 0
}
if [[ ${funcstack[1]} == _featdex ]]; then
    _featdex "$@"
else
    compdef _featdex featdex
fi
"""

_FISH = """\
function __featdex_complete
    set -l words (commandline -opc)
    set -l command $words[1]
    set -e words[1]
    set -l found (env VARIABLE=fish $command $words (commandline -ct) 2>/dev/null)
    if test (count $found) -gt 0
        printf '%s\\n' $found
    else
        __fish_complete_path (commandline -ct)
    end
end
complete -c featdex -f -a '(__featdex_complete)'
"""


def script(shell: str) -> str:
    """Return the script of one of `completion.SHELLS`."""
    return {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell].replace("VARIABLE", VARIABLE)


def shell_named(name: str) -> str:
    """Return the shell of that name; for `completion.AUTO` the one that this process was started from.

    Raises:
        UsageError: It is none of `completion.SHELLS`.
    """
    import shellingham  # type: ignore[import-untyped, unused-ignore]

    if name == AUTO:
        try:
            name = str(shellingham.detect_shell()[0])
        except shellingham.ShellDetectionFailure:
            name = Path(os.environ.get("SHELL", "")).name
    if name not in SHELLS:
        raise UsageError(f"no completion for the shell {name!r}; name one of {', '.join(SHELLS)}")
    return name


def install(shell: str) -> list[Path]:
    """Write the script where the shell finds it, and a line into its start-up file where it needs one.

    Returns:
        The files that are now so: the script, and the start-up file.

    Raises:
        FeatdexError: One can't be written.
    """
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    zsh = Path(os.environ.get("ZDOTDIR") or home)
    bash_file = data / "bash-completion" / "completions" / "featdex"
    places: dict[str, tuple[Path, Path | None, str]] = {
        "bash": (bash_file, home / ".bashrc", f'[ -r "{bash_file}" ] && . "{bash_file}"'),
        "zsh": (
            zsh / ".zfunc" / "_featdex",
            zsh / ".zshrc",
            f'fpath=("{zsh / ".zfunc"}" $fpath); autoload -Uz compinit; compinit',
        ),
        "fish": (config / "fish" / "completions" / "featdex.fish", None, ""),
    }
    file, startup, line = places[shell]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(script(shell), encoding="utf-8")
        if startup is None:
            return [file]
        there = startup.read_text(encoding="utf-8") if startup.exists() else ""
        if line not in there.splitlines():
            with startup.open("a", encoding="utf-8") as stream:
                stream.write(("" if there.endswith("\n") or not there else "\n") + line + "\n")
    except OSError as error:
        raise FeatdexError(f"cannot write {error.filename}: {error.strerror or error}") from error
    return [file, startup]
