"""What it costs to read only the unembedding of a model, beside loading the whole of it.

    python bench/model_memory.py --out bench/results/model-memory-2-cores.json

The model is made here, with random weights and in shards: GPT-2 large with twice the layers and a third of the
vocabulary, 2.9 GB in bfloat16. Each way runs in a process of its own, which has imported its libraries and read a tiny
model before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import MIB, Patience, Record, cores, machine, measure, run_task, save, table

SCRIPT = Path(__file__).resolve()
GOAL = 10
ONLY_UNEMBEDDING = "featdex: unembedding only"
THROUGH_BRIDGE = "featdex: whole model through TransformerBridge"


def only_unembedding(folder: Path) -> Any:
    """Return `W_U` from the tensors that it is made of."""
    from featdex.ingest.model_hub import read_hub

    return read_hub(folder).W_U


def whole_as_stored(folder: Path) -> Any:
    """Return the unembedding of a model in bfloat16, as it is stored: transformers maps the files and reads nothing."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").get_output_embeddings().weight


def whole_in_float32(folder: Path) -> Any:
    """Return the unembedding of a model that transformers has loaded in float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).get_output_embeddings().weight


def whole_through_bridge(folder: Path) -> Any:
    """Return `W_U` as featdex makes it for families whose tensors it has no names for: from the whole model."""
    from featdex.ingest.loading import guarded_loading
    from featdex.ingest.model_bridge import read_through_bridge

    with guarded_loading(), torch.no_grad():
        return read_through_bridge(str(folder), str(folder), "model").W_U


WAYS: dict[str, Callable[[Path], Any]] = {
    ONLY_UNEMBEDDING: only_unembedding,
    "transformers: whole model mapped, bfloat16": whole_as_stored,
    "transformers: whole model, float32": whole_in_float32,
    THROUGH_BRIDGE: whole_through_bridge,
}


def make_model(folder: Path, layers: int, d_model: int, tokens: int, shard: str = "200MB") -> int:
    """Write a GPT-2 of random weights with a tokenizer to `folder`; return the bytes of its weights."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    special = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(vocab_size=tokens, n_embd=d_model, n_layer=layers, n_head=d_model // 8, **special)
    with torch.device("meta"):
        model = GPT2LMHeadModel(config).to(torch.bfloat16)
    model = model.to_empty(device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.uniform_(-0.1, 0.1)
    model.save_pretrained(folder, max_shard_size=shard)
    # The words are arbitrary; a real tokenizer takes as long to read.
    vocabulary = {"<|endoftext|>": 0} | {f"Ġ{i:x}": i for i in range(1, tokens)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>").save_pretrained(folder)
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def do_task(task: Record) -> Record:
    """Measure one way in this process; leave `W_U` beside the model where it is processed."""
    torch.set_num_threads(task["threads"])
    way = WAYS[task["way"]]
    way(Path(task["tiny"]))
    folder = Path(task["folder"])
    last: dict[str, Any] = {}
    measured = measure(lambda: last.update(W_U=way(folder)), task["repeats"])
    if task["way"] in (ONLY_UNEMBEDDING, THROUGH_BRIDGE):
        np.save(folder / f"{way.__name__}.npy", last["W_U"].detach().numpy())
    return measured.record()


def run_benchmark(sizes: argparse.Namespace) -> tuple[Record, str]:
    """Make the model, measure every way of reading it and return all with the table."""
    facts = machine()
    patience = Patience(sizes.patience)
    with tempfile.TemporaryDirectory() as name:
        folder, tiny = Path(name) / "model", Path(name) / "tiny"
        make_model(tiny, 1, 16, 40)
        n_bytes = make_model(folder, sizes.layers, sizes.d_model, sizes.tokens)
        records = []
        for way in WAYS:
            task = {"way": way, "folder": str(folder), "tiny": str(tiny), "repeats": sizes.repeats}
            records.append({"way": way, **run_task(SCRIPT, task, cores(), patience)})
            print(f"  {way}", file=sys.stderr)
        processed = [np.load(folder / f"{WAYS[way].__name__}.npy") for way in (ONLY_UNEMBEDDING, THROUGH_BRIDGE)]
    settings = {key: getattr(sizes, key) for key in ("layers", "d_model", "tokens")}
    results = {
        "machine": facts,
        "settings": settings | {"weights_bytes": n_bytes},
        "ways": related(records),
        "max_difference": float(np.abs(processed[0] - processed[1]).max()),
    }
    return results | {"targets": targets(records)}, memory_table(results)


def related(records: list[Record]) -> list[Record]:
    """Add to every record how many times the time and memory of the unembedding alone it takes."""
    first = records[0]
    for record in records:
        record["times_seconds"] = record["wall_seconds"] / first["wall_seconds"]
        record["times_cpu_seconds"] = record["cpu_seconds"] / first["cpu_seconds"]
        known = record["extra_bytes"] is not None and first["extra_bytes"]
        record["times_memory"] = record["extra_bytes"] / first["extra_bytes"] if known else None
    return records


def targets(records: list[Record]) -> Record:
    """Return the least ratios to loading a whole model, in float32 as the logit lens computes, and the goal."""
    whole = [record for record in records if record["way"] in ("transformers: whole model, float32", THROUGH_BRIDGE)]
    return {
        key: {"goal": f"at least {GOAL}", "measured": min((record[key] for record in whole), default=None)}
        for key in ("times_seconds", "times_cpu_seconds", "times_memory")
    }


def memory_table(results: Record) -> str:
    """Lay the ways out; memory is the peak beyond what the process held before."""
    header = ("way", "seconds", "CPU seconds", "memory MiB", "times the seconds", "CPU", "memory", "others")
    rows = []
    for record in results["ways"]:
        memory = None if record["extra_bytes"] is None else round(record["extra_bytes"] / MIB)
        times = [record["times_seconds"], record["times_cpu_seconds"], record["times_memory"]]
        rows.append(
            [record["way"], record["wall_seconds"], record["cpu_seconds"], memory, *times, record["other_cores"]]
        )
    size = results["settings"]["weights_bytes"] / MIB
    title = f"Reading W_U of a model of {size:,.0f} MiB; W_U differs by {results['max_difference']:.1e}"
    return table(title, header, rows)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON to write; the table goes beside it as .txt")
    parser.add_argument("--layers", type=int, default=72)
    parser.add_argument("--d-model", type=int, default=1280)
    parser.add_argument("--tokens", type=int, default=16_384, help="vocabulary of the model")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--patience", type=float, default=0, help="seconds to wait, in all, for the machine to be quiet"
    )
    parser.add_argument("--task", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.task:
        print(json.dumps(do_task(json.loads(chosen.task))), flush=True)
        os._exit(0)
    results, text = run_benchmark(chosen)
    print(text)
    if chosen.out:
        save(chosen.out, results, text)


if __name__ == "__main__":
    main(sys.argv[1:])
