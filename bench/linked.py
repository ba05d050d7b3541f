"""A dataset of any number of SAEs: the partitions of a small one, each under many ids, by hard links.

    python bench/linked.py SMALL_DATASET LARGE_DATASET 1200

The rows are as many as they seem, and take no room but in the catalogue. Every SAE has a slug and a layer of its own.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from featdex.catalogue.dataset import Dataset, publish
from featdex.catalogue.dataset_manifest import File, Partition, as_json, manifest_path


def link_dataset(source: Dataset, target: Path, n_saes: int) -> Dataset:
    """Make a dataset of `n_saes` SAEs at `target`, of the partitions of `source` in turn; publish it."""
    small = source.store.local
    partitions = source.partitions()
    if small is None or not partitions:
        raise ValueError("want a dataset on this disk, with SAEs")
    target.mkdir(parents=True)
    for file in small.iterdir():
        if file.is_file() and file.suffix != ".duckdb":
            shutil.copy(file, target)
    (target / "manifest").mkdir()
    for index in range(n_saes):
        partition = _linked(partitions[index % len(partitions)], index, small, target)
        (target / manifest_path(partition.sae_id)).write_bytes(as_json(partition))
    large = Dataset.open(target)
    publish(large, lambda line: print(line, file=sys.stderr))
    return large


def _linked(partition: Partition, index: int, small: Path, target: Path) -> Partition:
    sae_id = index + 1
    files = {}
    for table, file in partition.files.items():
        path = f"{table}/sae={sae_id:04d}/part-0.parquet"
        (target / path).parent.mkdir(parents=True)
        os.link(small / file.path, target / path)
        files[table] = File(path, file.n_rows, file.n_bytes)
    slug = f"{partition.sae['slug'].split('/')[0]}/{index}-made"
    sae = {**partition.sae, "sae_id": sae_id, "slug": slug, "sae_name": slug, "layer": index % 48}
    runs = [{**run, "run_id": sae_id, "sae_id": sae_id} for run in partition.runs]
    return Partition(sae, runs, partition.set_ids, files)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a dataset")
    parser.add_argument("target", type=Path, help="the dataset to make, on the same disk")
    parser.add_argument("n_saes", type=int)
    chosen = parser.parse_args(arguments)
    start = time.perf_counter()
    link_dataset(Dataset.open(chosen.source), chosen.target, chosen.n_saes)
    size = (chosen.target / "catalogue.duckdb").stat().st_size
    print(f"{chosen.n_saes:,} SAEs, catalogue of {size:,} bytes, {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
