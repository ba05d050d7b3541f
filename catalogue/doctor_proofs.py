"""The checks of a catalogue that compute: hashes of what is stored, the ledger, and q-values from p-values."""

from __future__ import annotations

import hashlib
import json
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .dataset_place import columns_of_dataset
from .errors import FeatdexError
from .file import translated
from .findings import Check, Faults, Finding, rows
from .ledger import params_sha256

if TYPE_CHECKING:
    import duckdb

Floats = npt.NDArray[np.floating[Any]]

_TESTS_TO_CHECK = 1_000_000
"""q-values that are reproduced: all of a small catalogue, a random sample of a large one."""

_TESTS_AT_ONCE = 1 << 20
_TOKENS_AT_ONCE = 1 << 14
_RELATIVE_ROUNDING = 1e-6


def _set_members(connection: duckdb.DuckDBPyConnection) -> Finding:
    faults = Faults()
    saes = dict(
        rows(connection, "SELECT n.set_id, list(s.slug) FROM set_null n JOIN sae s USING (sae_id) GROUP BY ALL")
    )
    # A query for each set: the lists of all sets together need not fit in memory as Python objects.
    for set_id, name, n_tokens, recorded, n_dropped, n_listed in rows(
        connection,
        "SELECT s.set_id, s.name, s.n_tokens, s.members_sha256, s.n_dropped, count(d.set_id)"
        " FROM token_set s LEFT JOIN token_set_dropped d USING (set_id) GROUP BY ALL ORDER BY s.set_id",
    ):
        slugs = saes.get(set_id, ())
        ids = _column(
            connection, "SELECT token_id FROM token_set_member WHERE set_id = $set_id ORDER BY token_id", set_id=set_id
        ).astype(np.int32)
        digest = hashlib.sha256(f"{ids.dtype.str}{ids.shape}".encode() + ids.tobytes())
        if len(ids) != n_tokens:
            faults.add(f"{name} has {len(ids)} members; want {n_tokens}", slugs)
        elif digest.hexdigest() != recorded:
            faults.add(f"the members of {name} are not those its hash was made of", slugs)
        elif n_listed not in (0, n_dropped or 0):
            faults.add(f"{name} has {n_listed} dropped terms; want {n_dropped}")
    return faults.finding("set members", "every set has the members it was made with")


def _column(connection: duckdb.DuckDBPyConnection, query: str, **values: object) -> npt.NDArray[Any]:
    """Return the only column of a query that gives no NULL."""
    with translated():
        (column,) = connection.execute(query, values).fetchnumpy().values()
    return np.ascontiguousarray(column)


def _tokenizers(connection: duckdb.DuckDBPyConnection) -> Finding:
    faults = Faults()
    for model_id, name, recorded in rows(connection, "SELECT model_id, name, tokenizer_sha256 FROM model"):
        digest, between = hashlib.sha256(), b""
        with translated():
            found = connection.execute("SELECT raw FROM token WHERE model_id = ? ORDER BY token_id", [model_id])
            while some := found.fetchmany(_TOKENS_AT_ONCE):
                digest.update(between + b"\0".join(str(raw).encode() for (raw,) in some))
                between = b"\0"
        if digest.hexdigest() != recorded:
            faults.add(f"the tokens of {name} are not those its hash was made of")
    return faults.finding("tokenizers", "every model has the tokens it was read with")


def _ledger(connection: duckdb.DuckDBPyConnection) -> Finding:
    faults = Faults()
    runs = rows(
        connection,
        "SELECT s.slug, s.weights_sha256, m.unembed_sha256, m.tokenizer_sha256, r.params, r.params_sha256"
        " FROM sae s LEFT JOIN model m USING (model_id) LEFT JOIN run r USING (sae_id) ORDER BY s.sae_id, r.run_id",
    )
    for slug, weights, unembedding, tokenizer, text, recorded in runs:
        if text is None:
            faults.add(f"{slug} has no row in run", [slug])
            continue
        try:
            params = dict(json.loads(text))
        except (ValueError, TypeError):
            faults.add(f"the params of {slug} are no JSON object", [slug])
            continue
        hashes = {"weights_sha256": weights, "unembed_sha256": unembedding, "tokenizer_sha256": tokenizer}
        wrong = [name for name, value in hashes.items() if params.get(name) != value]
        if wrong:
            faults.add(f"{slug} was computed from another {', '.join(wrong)} than it has", [slug])
        elif params_sha256(params) != recorded:
            faults.add(f"the params of {slug} are not those their hash was made of", [slug])
    return faults.finding("ledger", "every SAE has a finished run, of its weights, unembedding and tokenizer")


def _ledger_sets(connection: duckdb.DuckDBPyConnection) -> Finding:
    """Compare the sets of a run with those that there are results of, by members: a set may have got another name."""
    faults = Faults()
    known = {digest for (digest,) in rows(connection, "SELECT members_sha256 FROM token_set")}
    names = dict(rows(connection, "SELECT members_sha256, min(name) FROM token_set GROUP BY ALL"))
    tested: dict[str, set[str]] = {}
    for slug, digest in rows(
        connection,
        "SELECT s.slug, t.members_sha256 FROM set_null n JOIN sae s USING (sae_id) JOIN token_set t USING (set_id)",
    ):
        tested.setdefault(slug, set()).add(digest)
    for slug, text in rows(
        connection, "SELECT s.slug, arg_max(r.params, r.run_id) FROM run r JOIN sae s USING (sae_id) GROUP BY ALL"
    ):
        try:
            computed = set(dict(dict(json.loads(text))["sets"]).values())
        except (ValueError, TypeError, KeyError):
            faults.add(f"the ledger does not tell the sets of {slug}", [slug])
            continue
        # Sets that were removed from the catalogue are in the ledger and nowhere else.
        for digest in sorted((computed & known) - tested.get(slug, set())):
            faults.add(f"{slug} has no results of {names[digest]}, which the ledger says were computed", [slug])
        for digest in sorted(tested.get(slug, set()) - computed):
            faults.add(f"{slug} has results of {names[digest]}, which the ledger does not know of", [slug])
    return faults.finding("ledger sets", "every SAE has the results that the ledger says were computed, and no others")


def _q_values(connection: duckdb.DuckDBPyConnection) -> Finding:
    faults = Faults()
    pairs = rows(
        connection,
        "SELECT s.slug, s.sae_id, n.set_id, s.d_sae FROM set_null n JOIN sae s USING (sae_id) ORDER BY ALL",
    )
    chosen = _sample([(pair, pair[3]) for pair in pairs])
    sizes: dict[tuple[str, int], int] = {}
    for slug, sae_id, _, d_sae in pairs:
        sizes[slug, sae_id] = sizes.get((slug, sae_id), 0) + d_sae
    # A dataset of core columns has no log10_q_all.
    saes = [] if columns_of_dataset(connection) == "core" else _sample(list(sizes.items()))
    try:
        for slug, sae_id, set_id, _ in chosen:
            wrong = _n_wrong_of_set(connection, sae_id, set_id)
            if wrong:
                faults.add(f"{wrong} of the log10_q of {slug} and set {set_id}", [slug], wrong)
        for slug, sae_id in saes:
            set_ids = _sample([(pair[2], pair[3]) for pair in pairs if pair[1] == sae_id])
            wrong = _n_wrong_of_all(connection, sae_id, set_ids)
            if wrong:
                faults.add(f"{wrong} of the log10_q_all of {slug}", [slug], wrong)
    except FeatdexError as error:
        faults.add(str(error))
    looked = f"log10_q of {len(chosen):,} of {len(pairs):,} (SAE, set)"
    looked += f" and log10_q_all of {len(saes)} of {len(sizes)} SAEs" if saes or not sizes else ""
    return faults.finding("q-values", f"{looked} follow from log10_p by Benjamini-Hochberg")


def _sample(sized: list[tuple[Any, int]]) -> list[Any]:
    """Return as many items, in random order, as have `_TESTS_TO_CHECK` tests; at least one."""
    random.shuffle(sized)
    chosen: list[Any] = []
    left = _TESTS_TO_CHECK
    for item, size in sized:
        if chosen and size > left:
            continue
        chosen.append(item)
        left -= size
    return chosen


def _n_wrong_of_set(connection: duckdb.DuckDBPyConnection, sae_id: int, set_id: int) -> int:
    """Return how many log10_q of an SAE and set do not follow from its p-values."""
    log10_p, found = _p_and_q(connection, "log10_q", sae_id, set_id)
    ascending = np.sort(log10_p)
    return _n_differing(found, _step_up(ascending)[np.searchsorted(ascending, log10_p)])


def _n_wrong_of_all(connection: duckdb.DuckDBPyConnection, sae_id: int, set_ids: list[int]) -> int:
    """Return how many log10_q_all of an SAE, those of these sets, do not follow from the p-values of all its sets."""
    query = "SELECT log10_p FROM enrichment WHERE sae_id = $sae AND log10_p IS NOT NULL"
    ascending = _column(connection, query, sae=sae_id)
    ascending.sort()
    expected = _step_up(ascending)
    wrong = 0
    for set_id in set_ids:
        log10_p, found = _p_and_q(connection, "log10_q_all", sae_id, set_id)
        wrong += _n_differing(found, expected[np.searchsorted(ascending, log10_p)])
    return wrong


def _n_differing(found: Floats, wanted: Floats) -> int:
    return int(np.count_nonzero(~(np.abs(found - wanted) <= _RELATIVE_ROUNDING * (1 + np.abs(wanted)))))


def _p_and_q(connection: duckdb.DuckDBPyConnection, column: str, sae_id: int, set_id: int) -> tuple[Floats, Floats]:
    """Return the p-values of an SAE and set, and their q-values of that column: 1, which no log10 is, for NULL."""
    with translated():
        found = connection.execute(
            f"SELECT log10_p, coalesce({column}, 1) AS q FROM enrichment"
            " WHERE sae_id = $sae AND set_id = $set_id AND log10_p IS NOT NULL",
            {"sae": sae_id, "set_id": set_id},
        ).fetchnumpy()
    return np.asarray(found["log10_p"]), np.asarray(found["q"])


def _step_up(ascending: Floats) -> Floats:
    """Return log10 of the Benjamini-Hochberg q of sorted log10 p, [tests]: min over k >= i of p_(k) + log M - log k.

    From the largest p down, in parts, so that hardly more memory is needed than the result takes.
    """
    n = len(ascending)
    q = np.empty(n, ascending.dtype)
    smallest = 0.0
    for stop in range(n, 0, -_TESTS_AT_ONCE):
        start = max(stop - _TESTS_AT_ONCE, 0)
        ranks = np.arange(start + 1, stop + 1, dtype=np.float64)
        scaled = ascending[start:stop].astype(np.float64) + np.log10(n) - np.log10(ranks)
        scaled[-1] = min(scaled[-1], smallest)
        part = np.minimum.accumulate(scaled[::-1])[::-1]
        q[start:stop], smallest = part, float(part[0])
    return q


PROOFS: dict[str, Check] = {
    "set members": _set_members,
    "tokenizers": _tokenizers,
    "ledger": _ledger,
    "ledger sets": _ledger_sets,
    "q-values": _q_values,
}
"""Every check that computes, by name."""
