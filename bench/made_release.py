"""A made-up release of SAEs of random weights, and the process that ingests it and says where it is."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from job import Silence
from measure import Record
from workload import make_workload

WEIGHTS = "weights.safetensors"


class Release(NamedTuple):
    """Sizes of a release made up for the purpose."""

    saes: int
    features: int
    tokens: int
    sets: int
    d_model: int
    directions: int

    def slugs(self) -> list[str]:
        return [f"random/{layer}-res" for layer in range(self.saes)]


def write_release(release: Release, folder: Path) -> None:
    """Write the unembedding, the sets, and for every SAE a folder with its width and a decoder of random weights."""
    from safetensors.numpy import save_file

    work = make_workload(1, release.tokens, release.sets, release.d_model)
    np.save(folder / "W_U.npy", work.W_U)
    np.savez(folder / "sets.npz", *work.sets)
    for layer in range(release.saes):
        W_dec = np.random.default_rng([7, layer]).standard_normal((release.features, release.d_model), np.float32)
        W_dec /= np.linalg.norm(W_dec, axis=1, keepdims=True)
        (folder / str(layer)).mkdir()
        save_file({"W_dec": W_dec}, folder / str(layer) / WEIGHTS)
        (folder / str(layer) / "cfg.json").write_text(json.dumps({"d_sae": release.features}))


class Steps(Silence):
    """A reporter that says on stdout where the ingest is, for the one who kills it."""

    def start(self, label: str, position: int, n_jobs: int) -> None:
        print(f"reading {label}", flush=True)

    def loaded(self, slug: str, n_features: int) -> None:
        print(f"computing {slug}", flush=True)

    def finish(self, slug: str, line: str) -> None:
        print(f"finished {line}", flush=True)


def read_job(release: Release, folder: Path, layer: int) -> Any:
    """Return the job of one SAE, which reads its file when its turn comes."""
    from featdex.ingest.inputs import FeatureDictionary
    from featdex.ingest.pipeline import Job
    from featdex.ingest.rows import Origin
    from safetensors.torch import load_file

    slug = release.slugs()[layer]

    def load() -> FeatureDictionary:
        W_dec = load_file(folder / str(layer) / WEIGHTS)["W_dec"]
        return FeatureDictionary(
            "sae", "random", str(layer), slug, layer, None, "other", "identity", None, release.d_model, W_dec
        )

    return Job(slug, load, Origin(str(folder / str(layer)), "random"))


def read_model(folder: Path) -> Any:
    """Return a model with the unembedding in `folder`."""
    import torch
    from featdex.ingest.inputs import LanguageModel, Recipe
    from featdex.ingest.vocabulary import vocabulary_from_raw

    W_U = torch.from_numpy(np.load(folder / "W_U.npy"))
    vocabulary = vocabulary_from_raw([f"▁w{k}" for k in range(W_U.shape[1])], "sentencepiece", [])
    recipe = Recipe(fold_ln=True, center_d_model=False, center_unembed=True)
    return LanguageModel("random", 1, W_U, vocabulary, recipe, lambda _: torch.empty(0))


def do_task(task: Record) -> Record:
    """Ingest the release in this process, or go on with it; return its plan and its peak of memory."""
    import torch
    from featdex.ingest import pipeline, sinks
    from featdex.ingest.device import Options
    from featdex.ingest.plan import plan
    from featdex.ingest.token_sets import token_set_from_ids

    torch.set_num_threads(task["threads"])
    release, folder = Release(**task["release"]), Path(task["folder"])
    model = read_model(folder)
    with np.load(folder / "sets.npz") as stored:
        sets = [token_set_from_ids(f"set{k}", stored[f"arr_{k}"], release.tokens) for k in range(release.sets)]
    options = Options(device="cpu", threads=task["threads"], directions=release.directions)
    jobs = [read_job(release, folder, layer) for layer in range(release.saes)]
    planned = plan(task["catalogue"], model, jobs, sets, options=options)
    # The kills are counted by what they hit: that a write begins is told as well.
    written: list[tuple[float, float]] = []
    sinks.write_sae = announced(sinks.write_sae, written)  # type: ignore[attr-defined]
    started = time.perf_counter()
    outcome = pipeline.ingest(
        task["catalogue"], model, jobs, sets, options=options, reporter=Steps(), narrate=lambda _: None
    )
    return {
        "written": outcome.written,
        "current": outcome.current,
        "failed": outcome.failed,
        "written_seconds": [end - started for _, end in written],
        "write_seconds": max(end - start for start, end in written) if written else None,
        "memory_bytes": peak_memory(),
        "planned_memory_bytes": max(item.memory_bytes or 0 for item in planned),
        "planned_disk_bytes": sum(item.disk_bytes or 0 for item in planned),
        "planned_rows": sum(item.n_rows or 0 for item in planned),
    }


def peak_memory() -> int | None:
    """Return the most memory that this process held, None where the system does not say."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def announced(write: Callable[..., int], moments: list[tuple[float, float]]) -> Callable[..., int]:
    """Return a function that writes an SAE as `write` does and says so; `moments` takes when it began and ended."""

    def write_sae(path: Any, rows: Any, **more: Any) -> int:
        print(f"writing {rows.sae['slug']}", flush=True)
        start = time.perf_counter()
        sae_id = write(path, rows, **more)
        print(f"written {rows.sae['slug']}", flush=True)
        moments.append((start, time.perf_counter()))
        return sae_id

    return write_sae
