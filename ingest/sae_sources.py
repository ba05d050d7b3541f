"""SAEs and transcoders from sae_lens folders and releases, as dictionaries of features in the residual stream.

sae_lens reads a dozen authors' formats; its loaders are used as they are. What is refused here, each in one line, is
what would give wrong numbers silently: a decoder with no linear way to this model's residual stream, NaN, pickles.
"""

from __future__ import annotations

import pickle
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
from .pickles import refused
from .sae_directory import ReleasedSae, find, neuronpedia_id_of
from .sae_folders import require_sae_folder, stored_log10_density
from .sae_mapping import place_of, to_residual

_BLOCK_FEATURES = 8192
_MOST_LOG10_DENSITY = 1e-3
"""log10 of a share is at most 0; rounding is forgiven."""

_MOST_L0 = 1e9
"""More features than any SAE has."""

_NEVER_LOG10_DENSITY = np.float32(-10.0)
"""What sae_lens writes for a feature that never fired: it adds 1e-10 before the logarithm."""

_SITE_SHORT = {
    "resid_post": "res",
    "resid_pre": "res-pre",
    "resid_mid": "res-mid",
    "attn_out": "att",
    "attn_z": "att-z",
    "mlp_out": "mlp",
    "mlp_post": "mlp-post",
}
"""How a site is spelt in a slug, after Neuronpedia's `8-res-jb`, `8-att-kk`."""


@dataclass(frozen=True)
class _Origin:
    """Where an SAE came from: what `FeatureDictionary` says of it, apart from its weights."""

    release: str
    sae_name: str | None
    slug: str | None
    slug_suffix: str
    listed: ReleasedSae | None = None


def read_sae_folder(
    path: str | Path,
    model: LanguageModel,
    slug: str | None = None,
    *,
    allow_pickle: bool = False,
    root: str | Path | None = None,
) -> FeatureDictionary:
    """Read the SAE in a folder that sae_lens saved: `cfg.json`, `sae_weights.safetensors`, and its densities if there.

    `release` is the folder's name, `sae_name` the hook, and `slug` by default `{model}/{layer}-{site}-{folder}`,
    such as `smollm2-135m/20-res-demo_sae`. `W_dec` is the stored decoder in float32, no norm folded, mapped to the
    residual stream where it lives elsewhere (`to_resid`). Layer, site and hook of a transcoder are those it writes to.

    Args:
        path: The folder.
        model: The model it was trained on.
        slug: Name in the catalogue.
        allow_pickle: Take the weights from the only pickle beside `cfg.json` where there is no safetensors file.
        root: Folder of several SAEs that this is one of: its name is the `release`, the way from there the `sae_name`.

    Raises:
        NotFoundError: no such folder.
        WeightsError: no SAE in it, a damaged one, a pickle not allowed, or none that writes to `model`'s residual
            stream.
    """
    folder = Path(path)
    try:
        converter = require_sae_folder(folder, allow_pickle).converter
    except OSError as error:
        raise WeightsError(f"can't read the folder {folder}: {error.strerror}") from error
    options: dict[str, Any] = {} if converter is None else {"converter": converter}
    try:
        with guarded_loading(), torch.no_grad():
            from sae_lens import SAE

            sae = SAE.load_from_disk(folder, device="cpu", dtype="float32", **options)
    except WeightsError:
        raise
    except Exception as error:  # cfg.json may hold anything, and every architecture has its own way to fail.
        raise WeightsError(f"sae_lens can't read the SAE in {folder}: {one_line(error)}") from error
    log10_density = stored_log10_density(folder)
    return _feature_dictionary(sae, log10_density, model, _origin_of_folder(folder, root, slug))


def _origin_of_folder(folder: Path, root: str | Path | None, slug: str | None) -> _Origin:
    name = folder.resolve().name
    if root is None:
        return _Origin(name, None, slug, name)
    release = Path(root).resolve().name
    sae_name = folder.relative_to(root).as_posix()
    return _Origin(release, sae_name, slug, f"{release}-{sae_name}".replace("/", "-"))


def read_sae_release(
    release: str, sae_id: str, model: LanguageModel, slug: str | None = None, *, allow_pickle: bool = False
) -> FeatureDictionary:
    """Read one SAE of a release by sae_lens' name, or of any hub repository (`owner/name`) with sae_lens folders.

    From the hub's cache or the hub. `slug` is by default the Neuronpedia id (`gpt2-small/8-res-jb`), else made of the
    model, layer, site, release and id. `W_dec` is as sae_lens gives it: no norm folded into the encoder, and an input
    scale of the release (`norm_scaling_factor`) divided out, so that features are in the model's own units; mapped to
    the residual stream where it lives elsewhere (`to_resid`).

    Raises:
        NotFoundError: no such release or id, or its files are neither in the cache nor, online, on the hub.
        WeightsError: it can't be read, comes as a pickle that was not allowed, or doesn't write to `model`'s residual
            stream.
    """
    known = None if "/" in release else find(release)
    listed = known.sae(sae_id) if known else None
    if known and known.is_pickled and not allow_pickle:
        raise refused(f"{release} {sae_id} comes as a pickle")
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


def _feature_dictionary(
    sae: Any, log10_density: Float32[np.ndarray, "n"] | None, model: LanguageModel, origin: _Origin
) -> FeatureDictionary:
    cfg, metadata = sae.cfg, sae.cfg.metadata
    # A transcoder's features live where it writes, not where it reads.
    d_out = getattr(cfg, "d_out", None)
    writes = d_out is not None
    place = place_of(
        metadata.hook_name_out if writes else metadata.hook_name,
        metadata.hook_head_index_out if writes else metadata.hook_head_index,
        "hook_name_out" if writes else "hook_name",
    )
    stored = sae.W_dec.detach().float().contiguous()
    _require_decoder(stored, cfg.d_sae, cfg.d_in if d_out is None else d_out)
    what = "transcoder writes vectors of d_out" if writes else "SAE reads vectors of d_in"
    W_dec, mapped_from = to_residual(stored, place, model, metadata.model_name, what)
    if log10_density is not None:
        log10_density = _checked_density(log10_density, cfg.d_sae)
    listed = origin.listed
    kind = "transcoder" if writes else "sae"
    short = kind if writes else _SITE_SHORT.get(place.site, place.site)
    # A folder's slug is its own even where its cfg.json names a Neuronpedia id: it may be a retrained copy.
    own_slug = f"{model.name}/{'e' if place.layer is None else place.layer}-{short}-{origin.slug_suffix}"
    return FeatureDictionary(
        kind=kind,
        release=origin.release,
        sae_name=origin.sae_name or place.hook_name,
        slug=origin.slug or (listed.neuronpedia_id if listed else None) or own_slug,
        layer=place.layer,
        hook_name=place.hook_name,
        site=place.site,
        to_resid=place.to_resid,
        architecture=cfg.architecture(),
        d_in=int(cfg.d_in),
        W_dec=W_dec,
        enc_dec_cos=_encoder_decoder_cosines(getattr(sae, "W_enc", None), stored),
        b_enc=_encoder_bias(getattr(sae, "b_enc", None)),
        log10_density=log10_density,
        l0=_l0(metadata.l0, listed),
        neuronpedia_id=(listed.neuronpedia_id if listed else None) or neuronpedia_id_of(metadata.neuronpedia_id),
        mapped_from=mapped_from,
    )


def _require_decoder(W_dec: torch.Tensor, d_sae: int, width: int) -> None:
    if tuple(W_dec.shape) != (d_sae, width):
        raise WeightsError(f"W_dec has shape {tuple(W_dec.shape)}, its configuration says {(d_sae, width)}")
    if not W_dec.numel():
        raise WeightsError(f"W_dec has shape {tuple(W_dec.shape)}: there are no features in it")
    require_finite_rows(W_dec, "W_dec", "feature")


def _checked_density(log10_density: Float32[np.ndarray, "n"], d_sae: int) -> Float32[np.ndarray, "n"]:
    if len(log10_density) != d_sae:
        raise WeightsError(f"the SAE has {d_sae:,} features but {len(log10_density):,} firing frequencies")
    above = np.flatnonzero(log10_density > _MOST_LOG10_DENSITY)
    if len(above):
        raise WeightsError(
            f"the firing frequency of feature {above[0]} is {log10_density[above[0]]:.4g}, which is no log10 of a share"
        )
    # "Never" is a number to sae_lens, and to the catalogue.
    return np.where(np.isneginf(log10_density), _NEVER_LOG10_DENSITY, log10_density)


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
    biases: Float32[np.ndarray, "d_sae"] = b_enc.detach().float().numpy()
    # An infinite bias switches a feature off or on; the catalogue holds numbers, or NULL.
    return np.where(np.isfinite(biases), biases, np.float32(np.nan))


def _l0(configured: Any, listed: ReleasedSae | None) -> float | None:
    if listed is not None and listed.l0 is not None:
        return listed.l0
    is_number = isinstance(configured, int | float) and not isinstance(configured, bool)
    return float(configured) if is_number and 0 <= configured < _MOST_L0 else None
