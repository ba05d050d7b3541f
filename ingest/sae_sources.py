"""SAEs and transcoders from sae_lens folders and releases, as dictionaries of features in the residual stream.

sae_lens reads a dozen authors' formats; its loaders are used as they are. What is refused here, each in one line, is
what would give wrong numbers silently: a decoder that doesn't write to this model's residual stream, NaN, pickles.
"""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from ..catalogue.errors import NotFoundError, WeightsError
from .checks import require_finite_rows
from .inputs import FeatureDictionary, LanguageModel
from .loading import guarded_loading, one_line
from .sae_directory import ReleasedSae, find

_CONFIG_FILE = "cfg.json"
_WEIGHTS_FILE = "sae_weights.safetensors"
_SPARSITY_FILE = "sparsity.safetensors"
_PICKLE_SUFFIXES = {".pt", ".pth", ".bin", ".pkl", ".ckpt"}
_BLOCK_FEATURES = 8192

_HOOK = re.compile(r"blocks\.(\d+)\.(.+)")
_RESIDUAL_SITES = {
    "hook_resid_pre": "resid_pre",
    "hook_resid_mid": "resid_mid",
    "hook_resid_post": "resid_post",
    "hook_attn_out": "attn_out",
    "hook_mlp_out": "mlp_out",
    # TransformerBridge's own names of the same places
    "hook_in": "resid_pre",
    "hook_out": "resid_post",
    "attn.hook_out": "attn_out",
    "mlp.hook_out": "mlp_out",
}
"""Hooks whose vectors are, or are added to, the residual stream: a decoder of theirs needs no mapping."""

_SITE_SHORT = {"resid_post": "res", "resid_pre": "res-pre", "resid_mid": "res-mid", "attn_out": "att", "mlp_out": "mlp"}
"""How a site is spelt in a slug, after Neuronpedia's `8-res-jb`, `8-att-kk`."""


@dataclass(frozen=True)
class _Origin:
    """Where an SAE came from: what `FeatureDictionary` says of it, apart from its weights."""

    release: str
    sae_name: str | None
    slug: str | None
    slug_suffix: str
    listed: ReleasedSae | None = None


def read_sae_folder(path: str | Path, model: LanguageModel, slug: str | None = None) -> FeatureDictionary:
    """Read the SAE in a folder that sae_lens saved: `cfg.json`, `sae_weights.safetensors`, and its densities if there.

    `release` is the folder's name, `sae_name` the hook, and `slug` by default `{model}/{layer}-{site}-{folder}`,
    such as `smollm2-135m/20-res-demo_sae`. `W_dec` is the stored decoder in float32, no norm folded. Layer, site and
    hook of a transcoder are those it writes to.

    Raises:
        NotFoundError: no such folder.
        WeightsError: no SAE in it, a damaged one, a pickle, or one that doesn't write to `model`'s residual stream.
    """
    folder = Path(path)
    _require_sae_folder(folder)
    name = folder.resolve().name
    try:
        with guarded_loading(), torch.no_grad():
            from sae_lens import SAE

            sae = SAE.load_from_disk(folder, device="cpu", dtype="float32")
    except Exception as error:  # cfg.json may hold anything, and every architecture has its own way to fail.
        raise WeightsError(f"sae_lens can't read the SAE in {folder}: {one_line(error)}") from error
    log10_density = _stored_log10_density(folder / _SPARSITY_FILE)
    return _feature_dictionary(sae, log10_density, model, _Origin(name, None, slug, name))


def read_sae_release(release: str, sae_id: str, model: LanguageModel, slug: str | None = None) -> FeatureDictionary:
    """Read one SAE of a release by sae_lens' name, or of any hub repository (`owner/name`) with sae_lens folders.

    From the hub's cache or the hub. `slug` is by default the Neuronpedia id (`gpt2-small/8-res-jb`), else made of the
    model, layer, site, release and id. `W_dec` is as sae_lens gives it: no norm folded into the encoder, and an input
    scale of the release (`norm_scaling_factor`) divided out, so that features are in the model's own units.

    Raises:
        NotFoundError: no such release or id, or its files are neither in the cache nor, online, on the hub.
        WeightsError: it can't be read, or doesn't write to `model`'s residual stream.
    """
    listed = None if "/" in release else find(release).sae(sae_id)
    try:
        with guarded_loading(), torch.no_grad():
            from sae_lens import SAE

            sae, _, log_sparsity = SAE.from_pretrained_with_cfg_and_sparsity(release, sae_id, device="cpu")
    except OSError as error:  # the hub's word for missing, gated and offline alike
        raise NotFoundError(
            f"can't get {release} {sae_id} from the Hugging Face hub or its cache ({one_line(error)}); "
            "check the network and HF_HUB_OFFLINE"
        ) from error
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{release} {sae_id} is a pickle with more than tensors in it, which can run code and is never opened"
        ) from error
    except Exception as error:  # Each release has a converter of its own.
        raise WeightsError(f"sae_lens can't read {release} {sae_id}: {one_line(error)}") from error
    log10_density = None if log_sparsity is None else log_sparsity.detach().float().reshape(-1).numpy()
    suffix = f"{release}-{sae_id}".replace("/", "-")
    return _feature_dictionary(sae, log10_density, model, _Origin(release, sae_id, slug, suffix, listed))


def _require_sae_folder(folder: Path) -> None:
    if not folder.exists():
        raise NotFoundError(f"no such folder: {folder}")
    if not folder.is_dir():
        raise WeightsError(f"{folder} is a file; give the folder of an SAE, with {_CONFIG_FILE} and {_WEIGHTS_FILE}")
    missing = [name for name in (_CONFIG_FILE, _WEIGHTS_FILE) if not (folder / name).is_file()]
    if not missing:
        return
    if any(file.suffix.lower() in _PICKLE_SUFFIXES for file in folder.iterdir()):
        raise WeightsError(
            f"{folder} holds a pickle checkpoint, which can run code and is never opened; save it with sae_lens"
        )
    raise WeightsError(f"{folder} is no sae_lens SAE: it has no {' and no '.join(missing)}")


def _stored_log10_density(path: Path) -> Float32[np.ndarray, "d_sae"] | None:
    if not path.is_file():
        return None
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"can't read {path}: {one_line(error)}") from error
    if "sparsity" not in stored:
        raise WeightsError(f"{path} has no tensor 'sparsity' (log10 of how often each feature fires)")
    values: Float32[np.ndarray, "d_sae"] = stored["sparsity"].float().reshape(-1).numpy()
    return values


def _feature_dictionary(
    sae: Any, log10_density: Float32[np.ndarray, "n"] | None, model: LanguageModel, origin: _Origin
) -> FeatureDictionary:
    cfg, metadata = sae.cfg, sae.cfg.metadata
    # A transcoder's features live where it writes, not where it reads.
    d_out = getattr(cfg, "d_out", None)
    hook_name = metadata.hook_name if d_out is None else metadata.hook_name_out
    layer, site = _residual_place(hook_name)
    _require_width(cfg.d_in if d_out is None else d_out, d_out is not None, model, metadata.model_name)
    W_dec = sae.W_dec.detach().float().contiguous()
    _require_decoder(W_dec, cfg.d_sae, model.d_model)
    if log10_density is not None and len(log10_density) != cfg.d_sae:
        raise WeightsError(f"the SAE has {cfg.d_sae:,} features but {len(log10_density):,} firing frequencies")
    listed = origin.listed
    neuronpedia_id = (listed.neuronpedia_id if listed else None) or metadata.neuronpedia_id
    place = "e" if layer is None else str(layer)
    kind = "sae" if d_out is None else "transcoder"
    short = _SITE_SHORT.get(site, site) if kind == "sae" else kind
    # A folder's slug is its own even where its cfg.json names a Neuronpedia id: it may be a retrained copy.
    own_slug = f"{model.name}/{place}-{short}-{origin.slug_suffix}"
    return FeatureDictionary(
        kind=kind,
        release=origin.release,
        sae_name=origin.sae_name or hook_name,
        slug=origin.slug or (listed.neuronpedia_id if listed else None) or own_slug,
        layer=layer,
        hook_name=hook_name,
        site=site,
        to_resid="identity",
        architecture=cfg.architecture(),
        d_in=int(cfg.d_in),
        W_dec=W_dec,
        enc_dec_cos=_encoder_decoder_cosines(getattr(sae, "W_enc", None), W_dec),
        b_enc=_encoder_bias(getattr(sae, "b_enc", None)),
        log10_density=log10_density,
        l0=_l0(metadata.l0, listed),
        neuronpedia_id=neuronpedia_id if isinstance(neuronpedia_id, str) else None,
    )


def _residual_place(hook_name: Any) -> tuple[int | None, str]:
    """Return the layer and site of a hook in the residual stream's space; the embedding has no layer."""
    if not isinstance(hook_name, str) or not hook_name:
        raise WeightsError("the SAE's configuration doesn't say where it lives; add metadata.hook_name to its cfg.json")
    if hook_name == "hook_embed":
        return None, "embed"
    match = _HOOK.fullmatch(hook_name)
    site = _RESIDUAL_SITES.get(match[2]) if match else None
    if match is None or site is None:
        raise WeightsError(f"the SAE is on {hook_name}: {_why_unsupported(hook_name)}")
    return int(match[1]), site


def _why_unsupported(hook_name: str) -> str:
    if hook_name.endswith("hook_z"):
        return "features on hook_z need W_O to reach the residual stream, which is not supported yet"
    if hook_name.endswith(("mlp.hook_post", "mlp.hook_pre")):
        return "features on an MLP's hidden layer need W_out to reach the residual stream, which is not supported yet"
    return f"not supported yet; supported are {', '.join(list(_RESIDUAL_SITES)[:5])} of a block"


def _require_width(width: int, writes: bool, model: LanguageModel, trained_on: Any) -> None:
    if width == model.d_model:
        return
    does = f"transcoder writes vectors of d_out {width}" if writes else f"SAE reads vectors of d_in {width}"
    named = f" ({trained_on})" if isinstance(trained_on, str) and trained_on else ""
    raise WeightsError(
        f"the {does}, the model's d_model is {model.d_model} ({model.name}); "
        f"name the model it was trained on{named} with --model"
    )


def _require_decoder(W_dec: torch.Tensor, d_sae: int, d_model: int) -> None:
    if tuple(W_dec.shape) != (d_sae, d_model):
        raise WeightsError(f"W_dec has shape {tuple(W_dec.shape)}, its configuration says {(d_sae, d_model)}")
    require_finite_rows(W_dec, "W_dec", "feature")


def _encoder_decoder_cosines(
    W_enc: Any, W_dec: Float32[torch.Tensor, "d_sae d_model"]
) -> Float32[np.ndarray, "d_sae"] | None:
    """Return cos(W_enc[:, f], W_dec[f]); NaN for a zero vector, None where the two don't share a space."""
    if not isinstance(W_enc, torch.Tensor) or W_enc.shape != W_dec.T.shape:
        return None
    cosines = torch.empty(len(W_dec), dtype=torch.float32)
    for start in range(0, len(W_dec), _BLOCK_FEATURES):
        stop = start + _BLOCK_FEATURES
        encoder, decoder = W_enc.detach()[:, start:stop].T.double(), W_dec[start:stop].double()
        norms = encoder.norm(dim=1) * decoder.norm(dim=1)
        cosines[start:stop] = ((encoder * decoder).sum(1) / norms).float()  # 0 / 0 is the NaN that is meant
    values: Float32[np.ndarray, "d_sae"] = cosines.numpy()
    return values


def _encoder_bias(b_enc: Any) -> Float32[np.ndarray, "d_sae"] | None:
    if not isinstance(b_enc, torch.Tensor):
        return None
    values: Float32[np.ndarray, "d_sae"] = b_enc.detach().float().numpy()
    return values


def _l0(configured: Any, listed: ReleasedSae | None) -> float | None:
    if listed is not None and listed.l0 is not None:
        return listed.l0
    return float(configured) if isinstance(configured, int | float) and not isinstance(configured, bool) else None
