"""Probes and steering vectors from files, against the arrays they were written from; files that are none."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from featdex.catalogue.errors import NotFoundError, WeightsError
from featdex.ingest.arrow import feature_table
from featdex.ingest.directions_file import read_directions
from featdex.ingest.inputs import FeatureDictionary, LanguageModel, Recipe, Vocabulary
from safetensors.torch import save_file

D_MODEL = 12


def language_model() -> LanguageModel:
    flags = np.zeros(3, dtype=np.bool_)
    return LanguageModel(
        name="tiny",
        n_layers=4,
        W_U=torch.zeros(D_MODEL, 3),
        vocabulary=Vocabulary(raw=("a", "b", "c"), text=("a", "b", "c"), is_special=flags, is_partial_utf8=flags),
        recipe=Recipe(fold_ln=True, center_d_model=False, center_unembed=True),
        mlp_out=lambda layer: torch.zeros(1, D_MODEL),
    )


def read(path: Path, **options: Any) -> FeatureDictionary:
    return read_directions(path, language_model(), **options)


def rows(n: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(size=(n, D_MODEL)).astype(np.float32) * 3


def test_tensors_by_name(tmp_path: Path) -> None:
    matrix, vector = rows(3), rows(1, seed=1)[0]
    tensors = {"sentiment": torch.from_numpy(vector), "probe.weight": torch.from_numpy(matrix).half()}
    save_file(tensors | {"probe.bias": torch.zeros(3)}, tmp_path / "my probes.safetensors")
    found = read(tmp_path / "my probes.safetensors")
    assert found.names == ("probe.weight/0", "probe.weight/1", "probe.weight/2", "sentiment")
    assert np.array_equal(found.W_dec.numpy(), np.concatenate([matrix.astype(np.float16), vector[None]]))
    assert found.W_dec.dtype == torch.float32
    assert (found.kind, found.to_resid, found.site, found.layer) == ("directions", "identity", "other", None)
    assert (found.release, found.sae_name, found.slug) == (
        "my probes",
        "my probes.safetensors",
        "tiny/directions-my probes",
    )
    assert (found.d_sae, found.d_in, found.architecture, found.hook_name) == (4, D_MODEL, None, None)


def test_a_layer_and_a_slug(tmp_path: Path) -> None:
    save_file({"v": torch.ones(D_MODEL)}, tmp_path / "steer.safetensors")
    found = read(tmp_path / "steer.safetensors", layer=3)
    assert (found.layer, found.slug) == (3, "tiny/3-directions-steer")
    assert read(tmp_path / "steer.safetensors", slug="mine").slug == "mine"


@pytest.mark.parametrize("dtype", ["<f4", ">f8", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numpy_arrays(dtype: str, order: Any, tmp_path: Path) -> None:
    matrix = np.array(rows(5), dtype=dtype, order=order)
    np.save(tmp_path / "d.npy", matrix)
    found = read(tmp_path / "d.npy")
    assert np.array_equal(found.W_dec.numpy(), matrix.astype(np.float32))
    assert found.names is None
    np.savez(tmp_path / "d.npz", zebra=matrix[0], ant=matrix[1:])
    found = read(tmp_path / "d.npz")
    assert found.names == ("ant/0", "ant/1", "ant/2", "ant/3", "zebra")
    assert np.array_equal(found.W_dec.numpy(), np.roll(matrix, -1, axis=0).astype(np.float32))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("d.txt", "past tense\n Paris \r\nnaïve\n\n\n"),
        ("d.names.txt", "\ufeffpast tense\nParis\nnaïve"),
        ("d.json", json.dumps(["past tense", "Paris", "naïve"])),
        ("d.names.json", json.dumps(["past tense", "Paris", "naïve"])),
    ],
)
def test_names_beside_an_array(file: str, text: str, tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", rows(3))
    (tmp_path / file).write_text(text, encoding="utf-8", newline="")
    assert read(tmp_path / "d.npy").names == ("past tense", "Paris", "naïve")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("d.txt", b"a\nb", r"d\.txt has 2 names for 3 directions"),
        ("d.json", b"{}", "no list of names"),
        ("d.json", b"[1, 2, 3]", "no list of names"),
        ("d.json", b"[", "can't read the names in"),
        ("d.json", b"[" * 100_000, "can't read the names in"),
        ("d.txt", b"\xff\xfe\xff", "can't read the names in"),
        ("d.txt", b"x" * 5000 + b"\nb\nc", "no list of names"),
    ],
)
def test_names_that_do_not_fit(file: str, text: bytes, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", rows(3))
    (tmp_path / file).write_bytes(text)
    with pytest.raises(WeightsError, match=message) as caught:
        read(tmp_path / "d.npy")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (
            rows(3)[:, :5],
            r"the array in .*d\.npy has shape \[3, 5\], directions of tiny are vectors \[12\] or matrices",
        ),
        (rows(3).T, r"shape \[12, 3\], .*; transpose it"),
        (np.float32(1), r"shape \[\]"),
        (rows(0), r"shape \[0, 12\]"),
        (rows(4).reshape(2, 2, D_MODEL), r"shape \[2, 2, 12\]"),
        (np.ones((2, D_MODEL), np.int64), "is of type int64; directions are real numbers"),
        (np.ones((2, D_MODEL), np.complex64), "is of type complex64"),
        (np.full((2, D_MODEL), 1e300), r"the array in .* has NaN or inf, first at direction 0"),
        (np.zeros(2, [("a", "f4")]), "can't read"),
        (np.array([object()]), "holds no plain array; Python objects are a pickle, .* never opened"),
    ],
)
def test_arrays_that_are_no_directions(array: Any, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", array, allow_pickle=True)
    for allowed in (False, True):
        with pytest.raises(WeightsError, match=message) as caught:
            read(tmp_path / "d.npy", allow_pickle=allowed)
        assert "\n" not in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no such file"):
        read(tmp_path / "absent.npy")
    with pytest.raises(NotFoundError, match="no such file"):
        read(tmp_path)
    for name in ("d.npy", "d.npz", "d.safetensors"):
        for content in (b"", b"\0" * 64, b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x80\x04N."):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(WeightsError, match=r"can't read|holds no plain array") as caught:
                read(tmp_path / name)
            assert "\n" not in str(caught.value)
    (tmp_path / "d.csv").touch()
    with pytest.raises(WeightsError, match=r"no file of directions; give a \.safetensors, \.npy or \.npz"):
        read(tmp_path / "d.csv")
    save_file({"bias": torch.zeros(D_MODEL)}, tmp_path / "d.safetensors")
    with pytest.raises(WeightsError, match="holds no directions"):
        read(tmp_path / "d.safetensors")


def test_the_weights_of_an_sae_are_no_directions(tmp_path: Path) -> None:
    save_file({"W_enc": torch.ones(D_MODEL, 3), "W_dec": torch.ones(3, D_MODEL)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="holds the weights of an SAE; name the folder"):
        read(tmp_path / "w.safetensors")


def test_a_truncated_archive_is_one_line(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, a=rows(5))
    (tmp_path / "d.npz").write_bytes(buffer.getvalue()[:-40])
    with pytest.raises(WeightsError, match="can't read"):
        read(tmp_path / "d.npz")
    damaged = bytearray(buffer.getvalue())
    damaged[200] ^= 0xFF
    (tmp_path / "d.npz").write_bytes(damaged)
    with pytest.raises(WeightsError, match="can't read"):
        read(tmp_path / "d.npz")


def test_a_pickle_is_read_only_where_allowed(tmp_path: Path) -> None:
    matrix = rows(2)
    torch.save({"probe": torch.from_numpy(matrix), "steps": 7}, tmp_path / "p.pt")
    with pytest.raises(WeightsError, match=r"p\.pt is a pickle, which can run code; --allow-pickle reads its tensors"):
        read(tmp_path / "p.pt")
    found = read(tmp_path / "p.pt", allow_pickle=True)
    assert found.names == ("probe/0", "probe/1")
    assert np.array_equal(found.W_dec.numpy(), matrix)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["d.npy", "d.npz", "d.pt", "d.bin", "d.safetensors"])
def test_no_file_runs_code(name: str, tmp_path: Path) -> None:
    bomb, target = Bomb(tmp_path / "exploded"), tmp_path / name
    if name == "d.npz":
        np.savez(target, a=np.array([bomb], dtype=object))
    elif name == "d.npy":
        np.save(target, np.array([bomb], dtype=object))
    else:
        target.write_bytes(pickle.dumps({"a": bomb}))
    for allowed in (False, True):
        with pytest.raises(WeightsError) as caught:
            read(target, allow_pickle=allowed)
        assert "\n" not in str(caught.value)
    torch.save({"a": bomb}, tmp_path / "bomb.pt")
    with pytest.raises(WeightsError, match="more than tensors in it"):
        read(tmp_path / "bomb.pt", allow_pickle=True)
    assert not (tmp_path / "exploded").exists()


def test_names_are_labels_of_the_table(tmp_path: Path) -> None:
    names = ["a", "'; DROP TABLE feature; --", "\ud800", ""]
    np.save(tmp_path / "d.npy", rows(4))
    (tmp_path / "d.json").write_text(json.dumps(names))
    found = read(tmp_path / "d.npy")
    table = feature_table({"mean": np.zeros(2, np.float32)}, 2, found)
    assert table.column("label").to_pylist() == ["?", None]
    assert feature_table({"mean": np.zeros(2, np.float32)}, 0, found).column("label").to_pylist() == names[:2]
    (tmp_path / "d.json").unlink()
    assert "label" not in feature_table({"mean": np.zeros(4, np.float32)}, 0, read(tmp_path / "d.npy")).column_names


def test_other_names_are_another_dictionary(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", rows(2))
    digests = {read(tmp_path / "d.npy").weights_sha256}
    for names in (["a", "b"], ["b", "a"]):
        (tmp_path / "d.json").write_text(json.dumps(names))
        digests |= {read(tmp_path / "d.npy").weights_sha256, read(tmp_path / "d.npy").weights_sha256}
    assert len(digests) == 3
