"""What tokens share besides meaning: frequency, a leading space, an initial capital.

A feature that promotes frequent tokens looks enriched for names, girls' and boys' alike. These covariates give the
directions that `z_adj` holds fixed.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from .inputs import Vocabulary

NUISANCE = ("log1p_token_id", "leading_space", "initial_capital")
"""Names of the covariates. A token's id is its place in the order of BPE merges, and so a proxy of its frequency."""


def token_covariates(vocabulary: Vocabulary) -> Float64[np.ndarray, "3 d_vocab"]:
    """Return log(1 + token id), and whether the text starts with a space and (after it) with a capital."""
    words = [text.lstrip() for text in vocabulary.text]
    return np.array(
        [
            np.log1p(np.arange(len(vocabulary))),
            [float(text[:1].isspace()) for text in vocabulary.text],
            [float(word[:1].isupper()) for word in words],
        ]
    )
