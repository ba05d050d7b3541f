"""From the SQL of a set file to token ids."""

from __future__ import annotations

from collections.abc import Sequence

from ..catalogue.token_sql import QUERY_SECONDS, select_token_ids
from .arrow import token_table
from .inputs import Vocabulary
from .set_definition import SetDefinition


def query_ids(
    definitions: Sequence[SetDefinition], vocabulary: Vocabulary, seconds: float = QUERY_SECONDS
) -> list[set[int]]:
    """Return the token ids that the query of each definition gives; see `token_sql.select_token_ids`."""
    queries = [(found.name, found.query) for found in definitions]
    return select_token_ids(token_table(vocabulary), queries, seconds)
