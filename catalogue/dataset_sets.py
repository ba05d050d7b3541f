"""The token sets that an SAE of a dataset was tested against, as `stored` gives those of a catalogue."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from .dataset import Dataset
from .dataset_files import read_shared
from .stored import StoredSet
from .tables import TOKEN_SET, TOKEN_SET_DROPPED, TOKEN_SET_MEMBER


def sets_of_partition(dataset: Dataset, slug: str) -> list[StoredSet]:
    """Return the token sets that an SAE has results of, by the order of their ids, earlier definitions included."""
    tested = {set_id for part in dataset.partitions() if part.sae["slug"] == slug for set_id in part.set_ids}
    rows = [row for row in read_shared(dataset.store, TOKEN_SET).to_pylist() if row["set_id"] in tested]
    members = read_shared(dataset.store, TOKEN_SET_MEMBER)
    dropped = read_shared(dataset.store, TOKEN_SET_DROPPED)
    sets = []
    for row in sorted(rows, key=lambda row: int(row["set_id"])):
        set_id = row.pop("set_id")
        row.pop("model_id")
        ids = members.filter(pc.equal(members.column("set_id"), set_id)).column("token_id").to_numpy()
        terms = dropped.filter(pc.equal(dropped.column("set_id"), set_id)).to_pylist()
        pairs = sorted((term["term"], term["reason"]) for term in terms)
        sets.append(StoredSet(set_id, row, np.sort(ids).astype(np.int32), pairs))
    return sets
