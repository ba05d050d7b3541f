"""One adapter an engine: each gets the same logits and sets in the form it likes best before its clock starts.

So what is timed is the engine's own call on many features at once, as its authors would write it, and not the making
of data frames.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from workload import Floats, TokenIds

Scores = npt.NDArray[np.float64]
Call = Callable[[], Scores]
"""Gives the enrichment scores [s, f]."""

Prepare = Callable[[Floats, list[TokenIds], int], Call]


class Engine(NamedTuple):
    """An engine and how to measure it.

    Attributes:
        name: Its key on the command line and in the results.
        returns: What a call gives for a pair.
        prepare: Turns (logits, sets, threads) into a call without arguments.
        features: The fewest features that time well.
        repeats: Timed repeats.
        package: Distribution that must be installed.
        module: Module that must be importable.
        weight: Exponent of the weights of its score, with which its scores are compared.
        signed: Whether its scores have a sign.
        parallel: Whether it can use more than one thread.
    """

    name: str
    returns: str
    prepare: Prepare
    features: int
    repeats: int
    package: str
    module: str
    weight: float = 0.0
    signed: bool = True
    parallel: bool = True

    def is_installed(self) -> bool:
        """Tell whether the engine can be imported."""
        return find_spec(self.module) is not None


def reference_scores(logits: Floats, sets: list[TokenIds], weight: float) -> Scores:
    """Return featdex's es [s, f] of a given weight, against which engines are compared."""
    return _rank(logits, sets, threads=1, weight=weight, wants_statistics=False)()


def _rank(logits: Floats, sets: list[TokenIds], threads: int, weight: float, wants_statistics: bool) -> Call:
    from featdex.ingest.ranking import pack_sets
    from featdex.ingest.ranking_cpu import rank_rows

    packed = pack_sets([ids.astype(np.int32) for ids in sets], logits.shape[1], complement=weight == 0.0)
    scale = np.ones(logits.shape[1])

    def call() -> Scores:
        _, scores = rank_rows(logits, scale, packed, weight=weight, threads=threads, wants_statistics=wants_statistics)
        return np.asarray(scores.es)

    return call


def _featdex_scores(logits: Floats, sets: list[TokenIds], threads: int) -> Call:
    return _rank(logits, sets, threads, weight=0.0, wants_statistics=False)


def _featdex_everything(logits: Floats, sets: list[TokenIds], threads: int) -> Call:
    return _rank(logits, sets, threads, weight=0.0, wants_statistics=True)


def _featdex_weighted(logits: Floats, sets: list[TokenIds], threads: int) -> Call:
    return _rank(logits, sets, threads, weight=1.0, wants_statistics=False)


def _sae_lens(logits: Floats, sets: list[TokenIds], threads: int) -> Call:
    """SAELens pads its sets with -1 into one tensor; that is done here, once."""
    import torch
    from sae_lens.tutorial.tsea import calculate_batch_enrichment_scores, pad_gene_sets

    torch.set_num_threads(threads)
    padded = pad_gene_sets({str(k): ids.tolist() for k, ids in enumerate(sets)})
    members, scores = torch.tensor(list(padded.values())), torch.from_numpy(logits)
    return lambda: calculate_batch_enrichment_scores(scores, members).double().numpy()


def _gseapy(permutations: int) -> Prepare:
    """GSEApy's prerank, with the unweighted score; its loop over features is inside, so one call takes them all."""

    def prepare(logits: Floats, sets: list[TokenIds], threads: int) -> Call:
        import gseapy
        import pandas as pd

        names = [f"t{token}" for token in range(logits.shape[1])]
        columns = [f"f{feature}" for feature in range(len(logits))]
        ranking = pd.DataFrame(logits.T.astype(np.float64), index=names, columns=columns)
        members = {f"s{k}": [names[token] for token in ids] for k, ids in enumerate(sets)}

        def call() -> Scores:
            result = gseapy.prerank(
                rnk=ranking if len(columns) > 1 else ranking[columns[0]],
                gene_sets=members,
                min_size=1,
                max_size=logits.shape[1],
                permutation_num=permutations,
                weight=0.0,
                threads=threads,
                seed=0,
                outdir=None,
                no_plot=True,
            ).res2d
            label = result["Name"] if len(columns) > 1 else columns[0]
            wide = result.assign(feature=label).pivot(index="Term", columns="feature", values="ES")
            return wide.loc[list(members), columns].to_numpy(np.float64)

        return call

    return prepare


def _decoupler(logits: Floats, sets: list[TokenIds], threads: int) -> Call:
    """decoupler's GSEA has no unweighted score. It takes its threads from numba, which takes them from the caller."""
    import decoupler
    import pandas as pd

    names = np.array([f"t{token}" for token in range(logits.shape[1])])
    labels = [f"s{k}" for k in range(len(sets))]
    data = pd.DataFrame(logits.astype(np.float64), columns=names, index=[f"f{k}" for k in range(len(logits))])
    owners = np.repeat(labels, [len(ids) for ids in sets])
    network = pd.DataFrame({"source": owners, "target": names[np.concatenate(sets)]})

    def call() -> Scores:
        es, _ = decoupler.mt.gsea(data, network, tmin=1, times=0)
        return es[labels].to_numpy(np.float64).T

    return call


def _scipy(logits: Floats, sets: list[TokenIds], threads: int) -> Call:
    """Turn scipy's two-sample test into es: its sign is that of the members' distribution function, ours of ranks."""
    from scipy.stats import ks_2samp

    masks = [np.bincount(ids, minlength=logits.shape[1]).astype(bool) for ids in sets]

    def score(row: Floats, mask: npt.NDArray[np.bool_]) -> float:
        result = ks_2samp(row[mask], row[~mask], method="asymp")
        return -float(result.statistic_sign) * float(result.statistic)

    return lambda: np.array([[score(row, mask) for row in logits] for mask in masks])


ENGINES = (
    Engine("featdex", "es, opposed es, peak, lead, AUROC", _featdex_scores, 128, 5, "featdex", "featdex"),
    Engine("featdex, all columns", "and hits, row statistics", _featdex_everything, 128, 5, "featdex", "featdex"),
    Engine("featdex, weight 1", "the same, weighted", _featdex_weighted, 32, 5, "featdex", "featdex", weight=1.0),
    Engine("SAELens tsea", "|es|", _sae_lens, 16, 5, "sae-lens", "sae_lens", signed=False),
    Engine("scipy ks_2samp", "es, p (random tokens)", _scipy, 2, 3, "scipy", "scipy", parallel=False),
    Engine("decoupler gsea", "weighted es", _decoupler, 16, 3, "decoupler", "decoupler", weight=1.0),
    Engine("gseapy prerank", "es", _gseapy(0), 2, 3, "gseapy", "gseapy"),
    Engine("gseapy, 1,000 permutations", "es, nes, p, q (random sets)", _gseapy(1000), 1, 1, "gseapy", "gseapy"),
)


def measure_engine(engine: Engine, logits: Floats, sets: list[TokenIds], threads: int) -> tuple[dict, Scores]:
    """Warm an engine up on two small sets, which compiles what it compiles, then measure it; return also its scores."""
    from measure import measure

    engine.prepare(logits[:1], sets[:2], threads)()
    call = engine.prepare(logits, sets, threads)
    kept: list[Scores] = []

    def keep() -> None:
        kept[:] = [call()]

    return measure(keep, engine.repeats).record(), kept[0]
