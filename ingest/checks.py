"""What no reader of weights lets through: numbers that are none, layers that are not there."""

from __future__ import annotations

import torch
from jaxtyping import Float32

from ..catalogue.errors import WeightsError


def require_finite_rows(rows: Float32[torch.Tensor, "n_rows width"], what: str, row_name: str) -> None:
    """Raise `WeightsError` naming the first row of `rows` that has a NaN or an infinity.

    `what` names the matrix and `row_name` what a row of it is: "W_dec has NaN or inf, first at feature 17".
    """
    if rows.numel() == 0:
        return
    # aminmax passes NaN on, so the usual case is one pass without a mask of the matrix's size.
    low, high = torch.aminmax(rows)
    if bool(torch.isfinite(low)) and bool(torch.isfinite(high)):
        return
    first = int(torch.nonzero(~torch.isfinite(rows).all(dim=1))[0])
    raise WeightsError(f"{what} has NaN or inf, first at {row_name} {first}; the weights are damaged")


def require_layer(layer: int, n_layers: int, model_name: str) -> None:
    """Raise `WeightsError` naming the valid layers unless `layer` is one of `n_layers`."""
    if not 0 <= layer < n_layers:
        raise WeightsError(f"{model_name} has no layer {layer}; its layers are 0 to {n_layers - 1}")
