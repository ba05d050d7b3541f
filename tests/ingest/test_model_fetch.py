"""What is fetched of a model, and from where: a loopback hub that writes down what it is asked for; pickles; damage."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from featdex.catalogue.errors import NotFoundError, WeightsError
from featdex.ingest import model_bridge
from featdex.ingest.loading import guarded_loading
from featdex.ingest.model_hub import read_hub
from safetensors.torch import load_file, save_file

N_ROWS, D_MODEL, N_LAYERS = 40, 16, 2
TOKENS = ["<|endoftext|>", *"abcdefghijklmnopqrstuvwxyz", "Ġ", "Ġa", "Ġb", "ĠMary"]
REVISION = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "somebody/Tiny-Llama"
HEAD, NORM = "lm_head.weight", "model.norm.weight"
W_OUT, W_O = "model.layers.1.mlp.down_proj.weight", "model.layers.0.self_attn.o_proj.weight"


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untied model, each tensor of which has a file of its own."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("sharded")
    sizes: dict[str, Any] = {"hidden_size": D_MODEL, "intermediate_size": 20, "num_hidden_layers": N_LAYERS}
    with guarded_loading():
        torch.manual_seed(0)
        config = LlamaConfig(vocab_size=N_ROWS, num_attention_heads=2, tie_word_embeddings=False, **sizes)
        LlamaForCausalLM(config).save_pretrained(folder, max_shard_size=1)
        words = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(TOKENS)}, merges=[]))
        words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        make: Any = PreTrainedTokenizerFast  # untyped
        make(tokenizer_object=words, eos_token=TOKENS[0]).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def no_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the way through TransformerLens, which loads a whole model, an error."""
    monkeypatch.delattr(model_bridge, "read_through_bridge")


@pytest.fixture
def copy(sharded: Path, tmp_path: Path) -> Path:
    """The model's folder again, to be damaged."""
    return Path(shutil.copytree(sharded, tmp_path / "copy"))


def files_of(folder: Path) -> dict[str, str]:
    weight_map: dict[str, str] = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    return weight_map


def all_tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: load_file(folder / file)[name] for name, file in files_of(folder).items()}


def test_a_folder_needs_only_the_shards_that_hold_what_is_read(copy: Path, sharded: Path) -> None:
    whole = read_hub(sharded)
    files = files_of(copy)
    for tensor in files.keys() - {HEAD, NORM}:
        (copy / files[tensor]).unlink()
    model = read_hub(copy)
    assert torch.equal(model.W_U, whole.W_U)
    with pytest.raises(WeightsError, match=f"no complete Hugging Face model: .* names {files[W_OUT]}"):
        model.mlp_out(1)
    (copy / files[HEAD]).unlink()
    with pytest.raises(WeightsError, match="no complete Hugging Face model"):
        read_hub(copy)


def test_merged_shards_win_over_the_index_that_is_left_behind(copy: Path, sharded: Path) -> None:
    save_file(all_tensors(copy), copy / "model.safetensors", metadata={"format": "pt"})
    for file in files_of(copy).values():
        (copy / file).unlink()
    assert torch.equal(read_hub(copy).W_U, read_hub(sharded).W_U)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("[1]", "has no weight_map"),
        ('{"weight_map": 3}', "has no weight_map"),
        ("{", r"can't read the model .*index\.json"),
        (json.dumps({"weight_map": {HEAD: "../elsewhere.safetensors"}}), r"is no \.safetensors file beside it"),
        (json.dumps({"weight_map": {HEAD: "/etc/passwd"}}), r"is no \.safetensors file beside it"),
        (json.dumps({"weight_map": {HEAD: ["model.safetensors"]}}), r"is no \.safetensors file beside it"),
        (json.dumps({"weight_map": {HEAD: "pytorch_model.bin"}}), r"is no \.safetensors file beside it"),
        (json.dumps({"weight_map": {HEAD: "a.safetensors", NORM: "a.safetensors"}}), r"names a\.safetensors, which is"),
    ],
)
def test_a_damaged_index_is_one_line(copy: Path, index: str, message: str) -> None:
    (copy / "model.safetensors.index.json").write_text(index)
    with pytest.raises(WeightsError, match=message) as caught:
        read_hub(copy)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "replacement", "message"),
    [
        (HEAD, torch.zeros(N_ROWS, D_MODEL, dtype=torch.int8), "is of type I8, as in quantised models"),
        (HEAD, torch.zeros(N_ROWS, D_MODEL, dtype=torch.float8_e4m3fn), "is of type F8_E4M3, as in quantised"),
        (HEAD, torch.zeros(N_ROWS, D_MODEL + 1), r"of shapes \(40, 17\) and \(16,\) don't fit together"),
        (HEAD, torch.zeros(N_ROWS), "don't fit together"),
        (NORM, torch.zeros(()), "don't fit together"),
        (NORM, torch.full((D_MODEL,), float("nan")), "the final norm's weight has NaN or inf"),
        (W_OUT, torch.zeros(D_MODEL - 1, 20), r"has shape \(15, 20\), but d_model is 16"),
        (W_OUT, torch.zeros(D_MODEL), "but d_model is 16"),
    ],
)
def test_unfit_tensors_are_one_line(copy: Path, tensor: str, replacement: torch.Tensor, message: str) -> None:
    save_file({tensor: replacement}, copy / files_of(copy)[tensor])
    with pytest.raises(WeightsError, match=message) as caught:
        read_hub(copy).mlp_out(1)
    assert "\n" not in str(caught.value)


def test_a_layer_of_experts_has_no_single_output(copy: Path) -> None:
    index = json.loads((copy / "model.safetensors.index.json").read_text())
    del index["weight_map"][W_OUT]
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match=r"has no tensor model\.layers\.1\.mlp\.down_proj\.weight; is it quantised"):
        read_hub(copy).mlp_out(1)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


def leave_only_pickles(folder: Path, *, in_shards: bool = False, old_format: bool = False) -> None:
    tensors = all_tensors(folder)
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    if not in_shards:
        torch.save(tensors, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not old_format)
        return
    files = {name: f"pytorch_model-{i:05}-of-{len(tensors):05}.bin" for i, name in enumerate(tensors)}
    for name, file in files.items():
        torch.save({name: tensors[name]}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))


@pytest.mark.parametrize("options", [{}, {"in_shards": True}, {"old_format": True}], ids=str)
def test_pickles_are_refused_unless_allowed(copy: Path, sharded: Path, options: dict[str, bool]) -> None:
    leave_only_pickles(copy, **options)
    with pytest.raises(WeightsError, match=r"no model\.safetensors but pytorch_model\.bin, a pickle.*--allow-pickle"):
        read_hub(copy)
    model, expected = read_hub(copy, allow_pickle=True), read_hub(sharded)
    assert torch.equal(model.W_U, expected.W_U)
    assert torch.equal(model.mlp_out(1), expected.mlp_out(1))
    assert torch.equal(model.attn_out(0), expected.attn_out(0))


@pytest.mark.parametrize("old_format", [False, True])
def test_a_pickle_that_is_allowed_still_runs_nothing(copy: Path, tmp_path: Path, old_format: bool) -> None:
    leave_only_pickles(copy)
    bomb = {HEAD: Bomb(tmp_path / "exploded"), NORM: torch.ones(D_MODEL)}
    torch.save(bomb, copy / "pytorch_model.bin", _use_new_zipfile_serialization=not old_format)
    with pytest.raises(WeightsError, match="a pickle with more than tensors in it") as caught:
        read_hub(copy, allow_pickle=True)
    assert "\n" not in str(caught.value)
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(bomb))
    with pytest.raises(WeightsError, match="can't read the model"):
        read_hub(copy, allow_pickle=True)
    assert not (tmp_path / "exploded").exists()


class Hub:
    """A hub with one model, on the loopback device; `asked` are the files it was asked for since the last `forget`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: set[str] = set()
        self.unknown: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def forget(self) -> None:
        self.asked.clear()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body, as the hub gives them, of `/OWNER/NAME/resolve/REVISION/FILE`."""
        repository, _, rest = path.removeprefix("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        if repository == "somebody/gated":
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if repository != REPOSITORY or revision not in ("main", REVISION):
            self.unknown.append(path)
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        self.asked.add(name)
        file = self.folder / name
        if not file.is_file():
            return 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": REVISION}, b""
        body = file.read_bytes()
        return 200, {"X-Repo-Commit": REVISION, "ETag": f'"{hashlib.sha256(body).hexdigest()}"'}, body

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                self._reply(with_body=False)

            def do_GET(self) -> None:
                self._reply(with_body=True)

            def _reply(self, *, with_body: bool) -> None:
                status, headers, body = hub.answer(self.path)
                self.send_response(status)
                for name, value in (headers | {"Content-Length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@pytest.fixture
def hub(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A loopback hub that this process asks, with an empty cache."""
    from huggingface_hub import constants

    hub = Hub(copy)
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    yield hub
    hub.close()


def weights(names: set[str]) -> set[str]:
    return {name for name in names if name.endswith((".safetensors", ".bin"))}


def test_only_the_shards_that_are_read_are_asked_for(hub: Hub, sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, whole = files_of(sharded), read_hub(sharded)
    model = read_hub(REPOSITORY)
    assert (model.name, model.hf_repo, model.hf_revision) == ("tiny-llama", REPOSITORY, REVISION)
    assert torch.equal(model.W_U, whole.W_U)
    assert weights(hub.asked) == {files[HEAD], files[NORM]}
    assert {"config.json", "tokenizer.json", "model.safetensors.index.json"} < hub.asked
    hub.forget()
    assert torch.equal(model.mlp_out(1), whole.mlp_out(1))
    assert hub.asked == {files[W_OUT]}
    hub.forget()
    assert torch.equal(model.attn_out(0), whole.attn_out(0))
    assert hub.asked == {files[W_O]}
    hub.forget()
    read_hub(REPOSITORY).mlp_out(1)
    assert hub.asked == {"config.json"}  # has the model changed?
    assert not [path for path in hub.unknown if "somebody" in path]
    # What was fetched is enough without a hub, and what was not is told.
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    offline = read_hub(REPOSITORY)
    assert torch.equal(offline.W_U, whole.W_U)
    with pytest.raises(WeightsError, match=r"can't get model-.*\.safetensors of the model somebody.* HF_HUB_OFFLINE"):
        offline.mlp_out(0)


def test_a_pickle_on_the_hub_is_not_even_fetched(hub: Hub, sharded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_only_pickles(hub.folder)
    with pytest.raises(WeightsError, match=r"somebody/Tiny-Llama has no model\.safetensors but pytorch_model\.bin, a"):
        read_hub(REPOSITORY)
    assert not list((hub.folder.parent / "cache").rglob("*.bin"))
    expected = read_hub(sharded).W_U
    assert torch.equal(read_hub(REPOSITORY, allow_pickle=True).W_U, expected)
    # A cache that others have filled doesn't say what the repository lacks.
    from huggingface_hub import constants

    shutil.rmtree(hub.folder.parent / "cache" / "models--somebody--Tiny-Llama" / ".no_exist")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert torch.equal(read_hub(REPOSITORY, allow_pickle=True).W_U, expected)
    with pytest.raises(WeightsError, match="--allow-pickle"):
        read_hub(REPOSITORY)


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("repository", ["no/such", "somebody/gated"])
def test_a_repository_that_is_not_given_is_not_found(repository: str) -> None:
    with pytest.raises(NotFoundError, match=f"can't get the model '{repository}'") as caught:
        read_hub(repository)
    assert "\n" not in str(caught.value)


_CHILD = """
import sys
import numpy as np
from featdex.ingest.models import read_model
np.save(sys.argv[2], read_model(sys.argv[1]).W_U.numpy())
assert "transformer_lens" not in sys.modules and "sae_lens" not in sys.modules
"""


def test_the_environment_names_the_hub_and_nothing_heavy_is_imported(copy: Path, sharded: Path, tmp_path: Path) -> None:
    hub = Hub(copy)
    try:
        environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
        environment |= {"HF_HUB_DISABLE_TELEMETRY": "1"}
        environment.pop("HF_HUB_OFFLINE", None)
        environment.pop("HF_HUB_CACHE", None)
        command = [sys.executable, "-c", _CHILD, REPOSITORY, str(tmp_path / "W_U.npy")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    finally:
        hub.close()
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(tmp_path / "W_U.npy"), read_hub(sharded).W_U.numpy())
    files = files_of(sharded)
    assert weights(hub.asked) == {files[HEAD], files[NORM]}
