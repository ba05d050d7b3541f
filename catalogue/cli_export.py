"""The verb that writes files: export."""

from __future__ import annotations

import hashlib
from itertools import count, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from .cli_common import catalogue_of, db_path, example, narrate, replacing
from .cli_read import ValuesArgument, named_values
from .dataset_place import dataset_folder
from .errors import CatalogueError, FeatdexError, NotFoundError, UsageError
from .formats import LISTS, Format, read, write, write_parquet
from .given_path import given_path

if TYPE_CHECKING:
    from .catalogue import Catalogue
    from .sidecar import Asked, Made

ALL_TABLES = "parquet"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=example("featdex export enriched_for set_name=girls_names n=100 -o girls_names.csv"))(export)


def export(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A question or view; or parquet DIR, for all tables.")
    ] = None,
    values: ValuesArgument = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file; its ending names the format.")
    ] = None,
    text: Annotated[str | None, typer.Option("--sql", metavar="TEXT", help="SQL instead of a question.")] = None,
    form: Annotated[Format | None, typer.Option("--format", "-f", help="Its format, if not by its ending.")] = None,
    coefficient: Annotated[
        float | None, typer.Option("--coefficient", help="Of -f steering: multiple of the decoder row to add.")
    ] = None,
    sidecar: Annotated[bool, typer.Option("--sidecar/--no-sidecar", help="Keep FILE.json beside FILE, or not.")] = True,
    again: Annotated[
        Path | None, typer.Option("--again", metavar="FILE.json", help="Make the export of this sidecar again.")
    ] = None,
) -> None:
    """Write the answer to a question, or to SQL, to a file: whole or not at all.

    FILE.json beside it says what was asked, of which contents, with which versions, and the hash of what came out. With
    --again it is made once more from that: exit code 0 where it is the same, 1 where it is not, with what has changed;
    the file of the first time stays.

    For other tools: rnk (items with a score, for GSEA), gmt (sets of items: 'featdex export set_members -o sets.gmt'),
    neuronpedia (the URL of a quick list), steering (CSV of lm-evaluation-harness, model 'steered').

    'featdex export parquet DIR' writes all tables, the large ones in a file an SAE.
    """
    if again is not None:
        if name is not None or text is not None or form is not None:
            raise UsageError("--again takes what it makes from the sidecar; give it -o FILE at most")
        return _make_again(context, again, output)
    if name == ALL_TABLES and text is None:
        return _export_tables(values or [], context)
    if (name is None) == (text is None):
        raise UsageError("export takes a question or --sql TEXT, one of the two")
    if output is None:
        raise UsageError("missing option '--output': name a file, such as -o answer.csv")
    output = given_path(output)
    form = form or _format_of(output)
    _require_other_file(context, output)
    from .sidecar import Asked

    with catalogue_of(context) as catalogue:
        parameters = {} if name is None else named_values(catalogue, name, values or [])
        _export(catalogue, Asked(name, parameters, text, form, coefficient), output, keep_sidecar=sidecar)
    narrate(f"wrote {output}")


def _export(catalogue: Catalogue, asked: Asked, output: Path, *, keep_sidecar: bool) -> tuple[Made, dict[str, Any]]:
    """Write an answer and its sidecar, each whole or not at all."""
    from .sidecar import as_bytes, describe, sidecar_of

    beside = sidecar_of(output)
    is_own = _is_own(beside)
    if keep_sidecar and not is_own:
        raise UsageError(f"{beside}, where the sidecar would go, is something else; move it, or say --no-sidecar")
    with replacing(output) as stream:
        made = _write(catalogue, asked, stream, output.stem)
        description = describe(catalogue, asked, made, output)
        if keep_sidecar:
            with replacing(beside) as second:
                second.write(as_bytes(description))
        elif is_own:
            # What it says is no longer so.
            beside.unlink(missing_ok=True)
    return made, description


def _is_own(sidecar: Path) -> bool:
    """Whether nothing is there, or a sidecar."""
    from .sidecar import read_sidecar

    try:
        read_sidecar(sidecar)
    except NotFoundError:
        return not sidecar.is_symlink()
    except FeatdexError:
        return False
    return True


def _write(catalogue: Catalogue, asked: Asked, stream: BinaryIO, name: str) -> Made:
    from .sidecar import Made

    relation = asked.relation(catalogue)
    if asked.form in LISTS:
        from .lists import write_list

        n_rows = write_list(relation, asked.form, stream, narrate=narrate, name=name, coefficient=asked.coefficient)
    elif asked.form is Format.PARQUET:
        n_rows = write_parquet(relation, stream)
    else:
        answer = read(relation)
        counter = count()
        # A number goes with every row; the next one is how many there were.
        write(answer._replace(rows=(row for row, _ in zip(answer.rows, counter, strict=False))), asked.form, stream)
        n_rows = next(counter)
    stream.seek(0)
    digest = hashlib.sha256()
    while piece := stream.read(2**20):
        digest.update(piece)
    return Made(n_rows, digest.hexdigest())


def _require_other_file(context: typer.Context, output: Path) -> None:
    source = db_path(context)
    folder = dataset_folder(source)
    if folder is not None and output.absolute().resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{output} is in the dataset itself; name a file elsewhere")
    if output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"{output} is the catalogue itself; name another file")
    if output.is_dir():
        raise UsageError(f"{output} is a folder; name a file")


def _format_of(output: Path) -> Format:
    ending = output.suffix.removeprefix(".").lower()
    known = {"tex" if form is Format.LATEX else form.value: form for form in Format}
    for form in (Format.TABLE, Format.SPREADSHEET, Format.NEURONPEDIA, Format.STEERING):
        del known[form.value]
    if ending not in known:
        raise UsageError(f"{output} does not end in {', '.join(known)}; say -f FORMAT")
    return known[ending]


def _make_again(context: typer.Context, path: Path, output: Path | None) -> None:
    from .sidecar import read_sidecar

    then, asked = read_sidecar(path)
    if path.suffix != ".json":
        raise UsageError(f"{path} is no FILE.json; give the sidecar the name it had")
    first = path.with_suffix("")
    if output is not None:
        _require_other_file(context, output)
    with catalogue_of(context) as catalogue:
        if output is not None:
            made, now = _export(catalogue, asked, output, keep_sidecar=output != first)
            remade: bytes | None = None if asked.form is Format.PARQUET else output.read_bytes()
        else:
            made, now, remade = _compared(catalogue, asked, first, then["sha256"])
    _tell(then, now, first, remade)
    if made.sha256 != then["sha256"]:
        kept = f"{output} is the new one" if output else "-o FILE keeps the new one"
        raise CatalogueError(f"{first} does not come out as it was; {kept}")
    narrate(f"{first} comes out the same, byte for byte: {made.n_rows:,} rows")


def _compared(
    catalogue: Catalogue, asked: Asked, first: Path, sha256: str
) -> tuple[Made, dict[str, Any], bytes | None]:
    """Make an export again; it takes its place only if it is the same and the place is empty."""
    from tempfile import TemporaryFile

    from .sidecar import describe

    with TemporaryFile() as stream:
        made = _write(catalogue, asked, stream, first.stem)
        stream.seek(0)
        remade = stream.read()
    if made.sha256 == sha256 and not first.exists():
        with replacing(first) as missing:
            missing.write(remade)
    return made, describe(catalogue, asked, made, first), None if asked.form is Format.PARQUET else remade


def _tell(then: dict[str, Any], now: dict[str, Any], first: Path, remade: bytes | None) -> None:
    """Narrate what is not as it was, on the disk and in what was made again."""
    from .sidecar import changes

    old = first.read_bytes() if first.is_file() else None
    is_as_made = old is not None and hashlib.sha256(old).hexdigest() == then["sha256"]
    if old is not None and not is_as_made:
        narrate(f"{first} on the disk is not the file that the sidecar is of; it was changed since")
    if now["sha256"] == then["sha256"]:
        return
    if is_as_made and old is not None and remade is not None:
        pairs = list(zip_longest(old.split(b"\n"), remade.split(b"\n")))
        differing = [number for number, (left, right) in enumerate(pairs, start=1) if left != right]
        narrate(f"changed: {len(differing):,} of {len(pairs):,} lines, the first of them line {differing[0]:,}")
    causes = changes(then, now)
    for cause in causes:
        narrate(f"changed: {cause}")
    if not causes:
        narrate("nothing that the sidecar tells has changed; a query without ORDER BY may give its rows in any order")


def _export_tables(values: list[str], context: typer.Context) -> None:
    from .parquet_folder import write_tables

    if len(values) != 1:
        raise UsageError("'export parquet' takes the folder to make, such as 'featdex export parquet tables'")
    folder = given_path(values[0])
    with catalogue_of(context) as catalogue:
        n_rows, n_bytes = write_tables(catalogue, folder, narrate)
    narrate(f"wrote {folder}: {n_rows:,} rows, {n_bytes / 1e6:,.1f} MB; {folder / 'README.md'} says what is in it")
