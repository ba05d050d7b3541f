"""The neurons of an MLP layer as a dictionary of features: the baseline every SAE is measured against.

A neuron's output direction is a row of `W_out`, which writes to the residual stream as a decoder row does
(Gurnee et al. 2024, Universal Neurons, arXiv 2401.12181).
"""

from __future__ import annotations

from .inputs import FeatureDictionary, LanguageModel

RELEASE = "mlp_neurons"
"""What `release` says of neurons, which have none."""


def mlp_neurons(model: LanguageModel, layer: int) -> FeatureDictionary:
    """Return the neurons of MLP `layer` (0-based) of `model`; `W_dec` is `W_out` [d_mlp, d_model] as stored.

    Raises:
        WeightsError: no such layer, no single `W_out` in it (mixture of experts), or NaN or inf in it.
    """
    W_out = model.mlp_out(layer)
    hook_name = f"blocks.{layer}.mlp.hook_post"
    return FeatureDictionary(
        kind="mlp_neurons",
        release=RELEASE,
        sae_name=hook_name,
        slug=f"{model.name}/{layer}-mlp",
        layer=layer,
        hook_name=hook_name,
        site="mlp_post",
        to_resid="W_out",
        architecture=None,
        d_in=int(W_out.shape[0]),
        W_dec=W_out,
    )
