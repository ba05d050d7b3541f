"""The token sets of a report: z and q of every feature by set, the sets each way by feature, the pages of sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from .file import translated
from .report_chunks import ChunkWriter
from .report_plan import Plan, SetPart, dicts

if TYPE_CHECKING:
    from .catalogue import Catalogue

Floats = npt.NDArray[np.float32]

NO_SET = 0xFFFF
_LARGEST = 32_767
_NO_Z = -32_768
_AT_ONCE = 16
"""Sets read at once: with 300,000 features, 58 MB."""

_DROPPED_SHOWN = 200


class Leaders(NamedTuple):
    """The sets each way of every feature, features x 2 top: largest z first, then smallest z first.

    Attributes:
        number: Number of the set in the plan; NO_SET where there are no more.
        z: Its z; NaN where there is no set. So are the others.
        log10_q: Its log10 q.
        z_adj: Its adjusted z.
    """

    number: npt.NDArray[np.uint16]
    z: Floats
    log10_q: Floats
    z_adj: Floats


class _Block(NamedTuple):
    """Results of some sets, sets x features; NaN where a pair was not tested."""

    z: Floats
    log10_q: Floats
    z_adj: Floats


def write_sets(catalogue: Catalogue, plan: Plan, writer: ChunkWriter) -> Leaders:
    """Write z and q of every feature, a file a set, and its page; return the sets each way of every feature.

    z is in 16 bits, in steps of 1/32,767 of the largest |z| of the set; log10 q is a 16-bit float.
    """
    top = plan.options.top
    up, down = _none(plan.n_features, top), _none(plan.n_features, top)
    for first in range(0, len(plan.sets), _AT_ONCE):
        parts = plan.sets[first : first + _AT_ONCE]
        block = _read(catalogue, plan, parts)
        for k in range(len(parts)):
            _write_column(writer, first + k, block.z[k], block.log10_q[k])
        up = _merged(up, block, first, +1)
        down = _merged(down, block, first, -1)
    for number, part in enumerate(plan.sets):
        _write_page(catalogue, plan, writer, number, part)
    return Leaders(
        np.hstack([up.number, down.number]),
        np.hstack([up.z, down.z]),
        np.hstack([up.log10_q, down.log10_q]),
        np.hstack([up.z_adj, down.z_adj]),
    )


def quantised(z: Floats) -> tuple[npt.NDArray[np.int16], float]:
    """Return z in 16 bits and the size of a step; NaN becomes -32,768."""
    largest = float(np.nanmax(np.abs(z))) if np.isfinite(z).any() else 0.0
    step = largest / _LARGEST or 1.0
    return np.where(np.isnan(z), _NO_Z, np.rint(np.nan_to_num(z) / step)).astype(np.int16), step


def _write_column(writer: ChunkWriter, number: int, z: Floats, log10_q: Floats) -> None:
    whole, step = quantised(z)
    writer.write(f"set/{number}", {"step": step}, {"z": whole, "log10_q": log10_q.astype(np.float16)})


def _read(catalogue: Catalogue, plan: Plan, parts: tuple[SetPart, ...]) -> _Block:
    block = _Block(*(np.full((len(parts), plan.n_features), np.nan, np.float32) for _ in _Block._fields))
    row_of = {set_id: k for k, part in enumerate(parts) for set_id in part.set_ids}
    row_of_id = np.zeros(max(row_of) + 1, np.int64)
    row_of_id[list(row_of)] = list(row_of.values())
    for sae in plan.saes:
        with translated():
            found = catalogue.connection.execute(
                "SELECT set_id, feature, z, log10_q, z_adj FROM enrichment WHERE sae_id = ? AND set_id IN"
                f" ({', '.join(map(str, row_of))}) AND feature < ?",
                [sae.sae_id, sae.n],
            ).fetchnumpy()
        place = row_of_id[found["set_id"]], sae.start + found["feature"].astype(np.int64)
        for name, values in block._asdict().items():
            values[place] = np.ma.filled(found[name], np.nan)
    return block


def _none(n_features: int, top: int) -> Leaders:
    def empty() -> Floats:
        return np.full((n_features, top), np.nan, np.float32)

    return Leaders(np.full((n_features, top), NO_SET, np.uint16), empty(), empty(), empty())


def _merged(before: Leaders, block: _Block, first: int, direction: int) -> Leaders:
    """Return the leaders of what there was and a block whose first set is number `first`; earlier sets win ties."""
    n_sets, n_features = block.z.shape
    top = before.z.shape[1]
    numbers = np.broadcast_to(np.arange(first, first + n_sets, dtype=np.uint16), (n_features, n_sets))
    number = np.hstack([before.number, numbers])
    z = np.hstack([before.z, block.z.T])
    # NaN goes last, and so does what points the other way.
    behind = np.where(z * direction > 0, -z * direction, np.inf)
    order = np.argsort(behind, axis=1, kind="stable")[:, :top]
    is_none = np.isinf(np.take_along_axis(behind, order, axis=1))

    def chosen(values: Floats) -> Floats:
        return np.where(is_none, np.float32(np.nan), np.take_along_axis(values, order, axis=1))

    return Leaders(
        np.where(is_none, np.uint16(NO_SET), np.take_along_axis(number, order, axis=1)),
        chosen(z),
        chosen(np.hstack([before.log10_q, block.log10_q.T])),
        chosen(np.hstack([before.z_adj, block.z_adj.T])),
    )


def _write_page(catalogue: Catalogue, plan: Plan, writer: ChunkWriter, number: int, part: SetPart) -> None:
    """Write what the page of a set shows: its definitions, members and dropped terms by model, and counts by SAE."""
    members: dict[str, npt.NDArray[np.uint32]] = {}
    facts = []
    for set_id in part.set_ids:
        (row,) = dicts(catalogue, "FROM token_set WHERE set_id = $id", {"id": set_id})
        model = next(k for k, model in enumerate(plan.models) if model["model_id"] == row["model_id"])
        ids = dicts(catalogue, "SELECT token_id FROM token_set_member WHERE set_id = $id ORDER BY 1", {"id": set_id})
        members[f"members_{model}"] = np.array([entry["token_id"] for entry in ids], np.uint32)
        dropped = dicts(
            catalogue,
            f"SELECT term, reason FROM token_set_dropped WHERE set_id = $id ORDER BY term LIMIT {_DROPPED_SHOWN}",
            {"id": set_id},
        )
        kept = ("kind", "definition", "description", "source", "licence", "version", "n_terms", "n_tokens", "n_dropped")
        facts.append(
            {"model": model, "sha256": row["members_sha256"], **{name: row[name] for name in kept}}
            | {"dropped": [[entry["term"], entry["reason"]] for entry in dropped]}
        )
    place = {sae.sae_id: k for k, sae in enumerate(plan.saes)}
    counted = dicts(
        catalogue,
        "SELECT y.*, n.vif FROM set_summary y LEFT JOIN set_null n USING (sae_id, set_id)"
        " WHERE list_contains($ids, y.set_id)",
        {"ids": list(part.set_ids)},
    )
    columns = ("n_promoted", "n_suppressed", "best_promoted", "best_promoted_z", "best_suppressed", "best_suppressed_z")
    rows = sorted(
        [place[row["sae_id"]], *(row[name] for name in columns), row["vif"]]
        for row in counted
        if row["sae_id"] in place
    )
    writer.write(f"page/{number}", {"facts": facts, "saes": rows}, members)
