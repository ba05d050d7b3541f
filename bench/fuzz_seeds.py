"""Inputs as people write them: what the fuzzing starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

D_MODEL = 4

TOML = rb"""
[collection]
name = "kitchen"
description = '''Things
in a kitchen.'''
source = "a cook"
licence = "CC0-1.0"
version = "3"
casing = "given"
space = "leading"

[sets.fruits]
description = "Names of fruits."
terms = ["apple", " pear", "caf\u0065\u0301", "apple", "\t", "b"]
casing = "any"
multi_token = "first"

[sets.spices]
kind = "file"
path = "spices.txt"
space = "either"

[sets."of.sql"]
kind = "sql"
query = "SELECT token_id FROM token WHERE str = upper(str)"

[sets.hex]
kind = "regex"
pattern = ' ?[0-9a-f]+'
on = "raw"
"""
MORE_TOML = b"""[sets]
a = { terms = ["x", 'y'], kind = "list" }
b.terms = [
  "z", # a comment
  "1979-05-27", "\\U0001F600",
]
"""
ODD_TOML = b"""[[list]]
when = 1979-05-27T07:32:00Z
hex = 0xDEAD_beef
real = -1.5e+10
odd = [nan, -inf, true, [], {}]
"""
GMT = (
    b"girls\thttp://x\tMary\tAnna\t Eve\nboys\tna\tJohn\t\tJack\n",
    "#remark\n\nm\u00e9tier\tdesc\tcaf\u00e9\r\nset_2\t\ta\tb\tc\r\n".encode(),
)
LINES = (b"apple\n pear\n\n# remark\nstar anise  \n", "caf\u00e9\ncafe\u0301\r\n\u65e5\u672c\n".encode())
DIRECTORY = b"""gpt2-small-res-jb:
  repo_id: jbloom/GPT2-Small-SAEs-Reformatted
  model: gpt2-small
  conversion_func: null
  saes:
  - id: blocks.0.hook_resid_pre
    path: blocks.0.hook_resid_pre
    variance_explained: 0.999
    l0: 10.0
    neuronpedia: gpt2-small/0-res-jb
  - {id: blocks.1.hook_resid_pre, path: "b/1", l0: .nan, neuronpedia: null}
"a b": &x
  repo_id: o/r
  model: [m]
  saes: [{id: 1, path: 2}, null, *y]
"""
TIKTOKEN = b"IQ== 0\nIg== 1\nIw== 2\n\nJA== 3\nIE1hcnk= 255\n"
LAYERS = (b"0-3,7", b"8", b"0, 4 ,8-11", b"0-9999", b"3-1,2")
MEMORY = (b"2GB", b"512MiB", b"1.5G", b" 1000000 ", b"0.000001GB")
HOOKS = (
    ["blocks.8.hook_resid_pre", None],
    ["blocks.3.attn.hook_z", 2],
    ["blocks.0.mlp.hook_post", -1],
    ["blocks.1.mlp.hook_pre", True],
    ["hook_embed", 0],
)
RELEASES = (
    b"gpt2-small-res-jb\nblocks.8.*\n8",
    b"gemma-scope-2b-pt-res*\n\n0-3",
    b"gpt2-*\n*[0-9]\n",
    b"jbloom/GPT2-Small-SAEs\n\n",
)
COMMANDS = """
top set0
top set1 --sae random/* --min-kurtosis 1 --max-kurtosis 9.5 --min-skewness -2 --max-density 0.1 --max-q 1e-3 -n 3
top set2 --suppressed -f json
top nope
show random/0-res/3
show 1-res/7 -f json
show 0
sets ls --collection given --retired -f md
sets show set0 -n 5
sets show set1 -f csv
sets check mine.toml --dropped
sets check mine.gmt --model random -f jsonl
sets check lines.txt
sets collections -f tsv
sets add lines.txt
sets rm set0 --force
sets rm --collection given
ls
ls enriched_for
ls -f latex
q enriched_for set0 n=5
q enriched_for set_name=set1 min_kurtosis=3.5 sae='random/*'
q outliers -skewness n=5 -f spreadsheet
q sets_of random/1-res 3 max_q=null
q compare_sets set0 set1
q tokens_of random/0-res 2
q coverage -f parquet
q similar_by_sets random/0-res 1 -f latex
q set_overlap set0
sql
export enriched_for set_name=set0 -o out/answer.csv
export --sql
export coverage -f parquet -o answer.parquet
export outliers kurtosis -o x.tex
export roles -o roles.csv --no-sidecar
export --again answer.csv.json -o y.csv
export parquet all
export enriched_for set0 -f steering --coefficient 3 -o steer.csv
export sets_of random/0-res 1 -o one.rnk
export set_members -o sets.gmt
promotes ĠMary -n 3 --max-rank 5
promotes 3 --id --suppresses
tag random/0-res/3 names --note x
tag 0-res/3 names --remove
tags -f json
import explanations notes.jsonl --sae random/0-res
import explanations notes.jsonl --replace
top set0 --role prediction --role-kurtosis 4 --role-variance 0.1
q features_by_role partition n=3
q specific_to set0 other=set1
q layer_profile kurtosis
q explained_as names set_name=set0
q unexplained max_z=3
report site --sets set0 --top 3
--show-completion bash
doctor
migrate
shell -f csv
saes gpt2-small* --ids
saes
ingest 0 --model m.gguf --layers 0-1 --sae *.0 --slug x --sets core,mine.toml --memory 1GB --dry-run -f json
ingest gpt2-small-res-jb --null isotropic --directions 5 --seed 1 --weight 0.5 --device cpu --threads 1 --force
ingest mlp_neurons -m absent/model --allow-pickle --fail-fast --model-name y
ingest
spot-check 3 --seed 1 --allow-pickle
demo --device cpu
doctor --spot-check 2
--help
top --help
sets
--version
--db c.duckdb --wait 0.5 ls
--db absent.duckdb ls
--db mine.toml q coverage
--db . top set0
"""
QUERIES = (
    "FROM features ORDER BY kurtosis DESC LIMIT 5",
    "SELECT count(*), name FROM token_set GROUP BY ALL",
    "FROM enriched_for('set0', min_kurtosis := 2)",
    "DESCRIBE feature",
    "SELECT [1, NULL], {'a': 'b'}, 1.5::DECIMAL(4, 2), DATE '2024-01-01', 'x'::BLOB, uuid(), INTERVAL 1 DAY, 1e400",
    "COPY (SELECT 1) TO 'stolen.csv'",
    "FROM read_csv('mine.toml')",
    "ATTACH 'other.duckdb' AS other; CREATE TABLE other.t (i INTEGER)",
    "SET enable_external_access = true",
    "INSTALL httpfs; LOAD httpfs",
    "EXPORT DATABASE 'all'",
    "DELETE FROM feature",
    "PRAGMA database_list",
    "SELECT '\x1b[31m', chr(0), chr(8238), '=1+1', '|', chr(10)",
    "-",
)

D_SAE = 8
_HOOK = "blocks.3.hook_resid_post"
_METADATA = {
    "hook_name": _HOOK,
    "model_name": "tiny",
    "l0": 7.5,
    "neuronpedia_id": "tiny/3-res",
    "sae_lens_version": "6",
}
_BASE = {"d_in": D_MODEL, "d_sae": D_SAE, "dtype": "float32", "device": "cpu", "metadata": _METADATA}
SAE_CONFIGS: Mapping[str, dict[str, Any]] = {
    "standard": _BASE | {"apply_b_dec_to_input": True, "normalize_activations": "none", "reshape_activations": "none"},
    "topk": _BASE | {"k": 4, "rescale_acts_by_decoder_norm": True},
    "jumprelu": _BASE | {"metadata": _METADATA | {"hook_name": "blocks.1.attn.hook_z", "hook_head_index": 0}},
    "gated": _BASE | {"metadata": _METADATA | {"hook_name": "blocks.1.mlp.hook_post"}},
    "transcoder": _BASE | {"d_out": D_MODEL, "metadata": _METADATA | {"hook_name_out": "blocks.1.hook_mlp_out"}},
    # As sae_lens wrote it before version 6.
    "older": {
        "d_in": D_MODEL,
        "d_sae": D_SAE,
        "hook_point": _HOOK,
        "hook_name": _HOOK,
        "hook_layer": 3,
        "hook_head_index": None,
        "activation_fn_str": "relu",
        "activation_fn_kwargs": {},
        "finetuning_scaling_factor": False,
        "model_name": "tiny",
        "prepend_bos": True,
        "context_size": 128,
        "dataset_path": "x",
        "dataset_trust_remote_code": True,
        "normalize_activations": "none",
        "sae_lens_training_version": None,
        "dtype": "torch.float32",
    },
}
_SHAPES: dict[str, list[int]] = {"W_enc": [D_MODEL, D_SAE], "W_dec": [D_SAE, D_MODEL], "b_dec": [D_MODEL]}
SAE_WEIGHTS: Mapping[str, dict[str, list[int]]] = {
    "standard": _SHAPES | {"b_enc": [D_SAE]},
    "topk": _SHAPES | {"b_enc": [D_SAE]},
    "jumprelu": _SHAPES | {"b_enc": [D_SAE], "threshold": [D_SAE]},
    "gated": _SHAPES | {"b_gate": [D_SAE], "b_mag": [D_SAE], "r_mag": [D_SAE]},
    "transcoder": _SHAPES | {"b_enc": [D_SAE], "b_dec_out": [D_MODEL]},
    "older": _SHAPES | {"b_enc": [D_SAE]},
}


def sae_config_tree(name: str) -> dict[str, Any]:
    return dict(SAE_CONFIGS[name]) if name == "older" else {"architecture": name} | SAE_CONFIGS[name]


MODEL_CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": D_MODEL,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 2,
    "vocab_size": 8,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": {"rope_type": "linear", "factor": 2.0},
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "bos_token_id": 0,
    "eos_token_id": [0, 1],
}
GEMMA_CONFIG = {
    "architectures": ["Gemma2ForCausalLM"],
    "model_type": "gemma2",
    "hidden_size": D_MODEL,
    "num_hidden_layers": 1,
    "final_logit_softcapping": 30.0,
    "tie_word_embeddings": True,
    "query_pre_attn_scalar": 2,
}
MODEL_TENSORS = {
    "model.embed_tokens.weight": [8, D_MODEL],
    "lm_head.weight": [8, D_MODEL],
    "model.norm.weight": [D_MODEL],
    "model.layers.0.mlp.down_proj.weight": [D_MODEL, 8],
    "model.layers.0.self_attn.o_proj.weight": [D_MODEL, 4],
}
_TOKENS = ["<s>", "a", "b", "Ġ", "Ġa", "Ġb", "ab", "Ã"]
TOKENIZER = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {"id": 0, "content": "<s>", "special": True}
        | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    ],
    "normalizer": None,
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    "post_processor": None,
    "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    "model": {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {token: number for number, token in enumerate(_TOKENS)},
        "merges": [["a", "b"], ["Ġ", "a"], ["Ġ", "b"]],
    },
}
TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast",
    "bos_token": "<s>",
    "eos_token": {"__type": "AddedToken", "content": "<s>", "special": True},
    "added_tokens_decoder": {"0": {"content": "<s>", "special": True}},
    "model_max_length": 10**30,
    "clean_up_tokenization_spaces": False,
}
INDEX = {"metadata": {"total_size": 400}, "weight_map": dict.fromkeys(MODEL_TENSORS, "model.safetensors")}
SHARD_INDEX = INDEX | {"weight_map": dict.fromkeys(MODEL_TENSORS, "model-00001.safetensors")}
