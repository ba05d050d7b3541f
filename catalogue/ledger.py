"""What the ledger says of a run: the hash of its params, and the sets that it computed."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

NO_INPUTS = ("nuisance_directions", "origin")
"""What a run's params hold besides what their hash is of."""


def params_sha256(params: dict[str, Any]) -> str:
    """Return the hash of a run's params."""
    inputs = {key: value for key, value in params.items() if key not in NO_INPUTS}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def forget_removed_sets(connection: duckdb.DuckDBPyConnection, sae_id: int) -> None:
    """Take from an SAE's runs, in the transaction of the connection, the sets that it has no results of any more.

    Else a set that is removed, and added again, would look like one whose results were lost.
    """
    tested = {
        digest
        for (digest,) in connection.execute(
            "SELECT t.members_sha256 FROM set_null n JOIN token_set t USING (set_id) WHERE n.sae_id = ?", [sae_id]
        ).fetchall()
    }
    for run_id, text in connection.execute("SELECT run_id, params FROM run WHERE sae_id = ?", [sae_id]).fetchall():
        params = json.loads(text)
        params["sets"] = {name: digest for name, digest in params.get("sets", {}).items() if digest in tested}
        connection.execute(
            "UPDATE run SET params = ?, params_sha256 = ? WHERE run_id = ?",
            [json.dumps(params, sort_keys=True), params_sha256(params), run_id],
        )
