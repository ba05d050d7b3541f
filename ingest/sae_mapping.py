"""Where in a transformer block an SAE lives, and how its decoder reaches the residual stream.

A logit lens needs vectors of the residual stream. Most SAEs write them; those on the heads' outputs (`hook_z`) or on an
MLP's hidden layer write to it through one matrix of the model, by which their decoder is multiplied once, here.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

import torch
from jaxtyping import Float32

from ..catalogue.errors import WeightsError
from .checks import require_finite_rows
from .inputs import LanguageModel, array_sha256

IDENTITY, BY_W_O, BY_W_OUT = "identity", "W_O", "W_out"
"""Values of `sae.to_resid`."""

_HOOK = re.compile(r"blocks\.([0-9]{1,4})\.(.+)")
_SITES = {
    "hook_resid_pre": ("resid_pre", IDENTITY),
    "hook_resid_mid": ("resid_mid", IDENTITY),
    "hook_resid_post": ("resid_post", IDENTITY),
    "hook_attn_out": ("attn_out", IDENTITY),
    "hook_mlp_out": ("mlp_out", IDENTITY),
    "attn.hook_z": ("attn_z", BY_W_O),
    "mlp.hook_post": ("mlp_post", BY_W_OUT),
    # Spelt without the component in some configurations.
    "hook_z": ("attn_z", BY_W_O),
    "hook_post": ("mlp_post", BY_W_OUT),
    # TransformerBridge's own names of the same places.
    "hook_in": ("resid_pre", IDENTITY),
    "hook_out": ("resid_post", IDENTITY),
    "attn.hook_out": ("attn_out", IDENTITY),
    "mlp.hook_out": ("mlp_out", IDENTITY),
    "attn.o.hook_in": ("attn_z", BY_W_O),
    "mlp.out.hook_in": ("mlp_post", BY_W_OUT),
}
"""The hooks of a block from which a linear map leads to the residual stream."""

_NAMED_IN_ERRORS = 7
_SHOWN = 80
_ROWS_OF_A_PRODUCT = 256


class Place(NamedTuple):
    """Where features write: the hook, its layer (None for the embedding), the site and the map to the residual stream.

    `head` is the one attention head of a `hook_z` dictionary that has only that; None for all heads side by side.
    """

    hook_name: str
    layer: int | None
    site: str
    to_resid: str
    head: int | None = None


def place_of(hook_name: Any, head: Any = None, key: str = "hook_name") -> Place:
    """Return the place of a TransformerLens hook such as `blocks.8.hook_resid_pre`.

    Args:
        hook_name: The hook, as a configuration has it.
        head: Index of the only attention head, if the configuration names one.
        key: What the configuration's metadata calls the hook.

    Raises:
        WeightsError: No hook, or one from which no linear map leads to the residual stream.
    """
    if not isinstance(hook_name, str) or not hook_name:
        raise WeightsError(f"the SAE's configuration doesn't say where it lives; add metadata.{key} to its cfg.json")
    if hook_name == "hook_embed":
        return Place(hook_name, None, "embed", IDENTITY)
    match = _HOOK.fullmatch(hook_name)
    known = _SITES.get(match[2]) if match else None
    if match is None or known is None:
        raise WeightsError(f"the SAE is on {_shown(hook_name)}: {_why_unmapped(hook_name)}")
    site, to_resid = known
    one_head = head if to_resid == BY_W_O and isinstance(head, int) and not isinstance(head, bool) else None
    return Place(hook_name, int(match[1]), site, to_resid, one_head)


def _shown(text: str) -> str:
    """Return text of a configuration for a message: one line, not without end, nothing that steers a terminal."""
    plain = "".join(sign if sign.isprintable() else "?" for sign in text[:_SHOWN])
    return plain if len(text) <= _SHOWN else f"{plain}…"


def _why_unmapped(hook_name: str) -> str:
    if re.search(r"mlp\.hook_(pre|pre_linear|mid)$", hook_name):
        return "a non-linearity lies between the MLP's pre-activations and the residual stream, so it has no logit lens"
    if re.search(r"hook_(q|k|v|pattern|attn_scores|rot_q|rot_k)$", hook_name):
        return "attention patterns lie between queries, keys or values and the residual stream, so it has no logit lens"
    if re.search(r"(hook_normalized|hook_scale)$", hook_name):
        return "its decoder writes to the normalised input of a layer and not to the residual stream"
    return f"no linear map to the residual stream is known; supported are {', '.join(list(_SITES)[:_NAMED_IN_ERRORS])}"


def to_residual(
    W_dec: Float32[torch.Tensor, "d_sae d_in"],
    place: Place,
    model: LanguageModel,
    trained_on: Any = None,
    what: str = "SAE reads vectors of d_in",
) -> tuple[Float32[torch.Tensor, "d_sae d_model"], str | None]:
    """Return a decoder's rows in the residual stream, and the hash of what they are a product of (None: they are own).

    Rows are not normalised again: the norm of a row stays what the feature adds per unit of activation.

    Args:
        W_dec: Decoder as stored.
        place: Where it writes.
        model: The model that has the map.
        trained_on: What the configuration calls its model, for messages.
        what: How to speak of the decoder's width in messages.

    Raises:
        WeightsError: The width is not that of the place in this model, or the model gives no such map.
    """
    width = int(W_dec.shape[1])
    if place.to_resid == IDENTITY:
        if width != model.d_model:
            raise WeightsError(
                f"the {what} {width}, the model's d_model is {model.d_model} ({model.name}); {_advice(trained_on)}"
            )
        return W_dec, None
    W_map = _map_of(place, model)
    if place.head is not None:
        W_map = _rows_of_head(W_map, place, width, model)
    if W_map.shape != (width, model.d_model):
        raise WeightsError(_misfit(place, width, W_map, model, trained_on))
    require_finite_rows(W_map, f"{place.to_resid} of layer {place.layer}", "row")
    wide = W_map.double()
    mapped = torch.empty(len(W_dec), model.d_model, dtype=torch.float32)
    # In float64: the session's precision of float32 products then doesn't matter, and the rounding is one of many.
    for start in range(0, len(W_dec), _ROWS_OF_A_PRODUCT):
        rows = slice(start, start + _ROWS_OF_A_PRODUCT)
        mapped[rows] = (W_dec[rows].double() @ wide).float()
    origin = f"{array_sha256(W_dec)} {place.to_resid} {array_sha256(W_map)}"
    return mapped, hashlib.sha256(origin.encode()).hexdigest()


def _map_of(place: Place, model: LanguageModel) -> Float32[torch.Tensor, "d_in d_model"]:
    layer = place.layer or 0
    read, name = (model.mlp_out, BY_W_OUT) if place.to_resid == BY_W_OUT else (model.attn_out, BY_W_O)
    try:
        return read(layer).detach().cpu()
    except WeightsError as error:
        raise WeightsError(
            f"features on {place.hook_name} need {name} to reach the residual stream: {error}"
        ) from error


def _rows_of_head(
    W_O: Float32[torch.Tensor, "z d_model"], place: Place, width: int, model: LanguageModel
) -> Float32[torch.Tensor, "d_head d_model"]:
    head = place.head or 0
    if width == W_O.shape[0]:  # it names a head, and has all of them all the same
        return W_O
    if width < 1 or W_O.shape[0] % width or not 0 <= head < W_O.shape[0] // width:
        raise WeightsError(
            f"the SAE is on head {head} of {place.hook_name} with d_head {width}, which doesn't fit the "
            f"{W_O.shape[0]} rows of W_O in layer {place.layer} of {model.name}"
        )
    return W_O[head * width : (head + 1) * width]


def _misfit(place: Place, width: int, W_map: torch.Tensor, model: LanguageModel, trained_on: Any) -> str:
    counted = "n_heads x d_head" if place.to_resid == BY_W_O else "d_mlp"
    grouped = ""
    if place.to_resid == BY_W_O and width and W_map.shape[0] % width == 0:
        grouped = "; a width of fewer heads can be mapped only where metadata.hook_head_index names the head"
    return (
        f"the SAE has {width} dimensions of {place.hook_name}, {place.to_resid} of layer {place.layer} in {model.name} "
        f"has {W_map.shape[0]} ({counted}){grouped}; {_advice(trained_on)}"
    )


def _advice(trained_on: Any) -> str:
    named = f" ({_shown(trained_on)})" if isinstance(trained_on, str) and trained_on else ""
    return f"name the model it was trained on{named} with --model"
