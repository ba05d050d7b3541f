"""The user's tags of features: short labels with a note, kept in the catalogue.

They belong to the SAE's slug and the feature's index: they stay when an SAE is computed again, also from other
weights, and when token sets change.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime

from .card import resolve_sae, split_address
from .catalogue import Catalogue
from .errors import NotFoundError, UsageError, nearest
from .file import DEFAULT_WAIT_SECONDS, translated, writing

_LONGEST_TAG = 100

Narrate = Callable[[str], None]


def add_tag(
    path: str | os.PathLike[str],
    address: str,
    tag: str,
    note: str | None = None,
    *,
    wait: float = DEFAULT_WAIT_SECONDS,
    narrate: Narrate | None = None,
) -> str:
    """Tag a feature and return its full address; one that has the tag keeps it, and gets the note where one is given.

    Args:
        path: The catalogue.
        address: `SAE/FEATURE`, as `card.feature_card` takes it.
        tag: The label: one line of at most 100 characters.
        note: Free text.
        wait: Seconds to wait for other processes to let go of the catalogue.
        narrate: Told when it has to wait.

    Raises:
        NotFoundError: There is no such SAE or feature.
        UsageError: The address is malformed or ambiguous, or the tag is none.
    """
    sae, feature = split_address(address)
    tag = _checked(tag)
    with writing(path, wait=wait, narrate=narrate, notes=True) as connection:
        slug = resolve_sae(Catalogue(path, connection), sae)
        with translated():
            ((sae_id, d_sae),) = connection.execute("SELECT sae_id, d_sae FROM sae WHERE slug = ?", [slug]).fetchall()
            if feature >= d_sae:
                raise NotFoundError(f"no feature {feature} in {slug!r}; its features are 0 to {d_sae - 1}")
            there = connection.execute(
                "SELECT count(*) FROM tag WHERE sae_id = ? AND feature = ? AND tag = ?", [sae_id, feature, tag]
            ).fetchall()
            if not there[0][0]:
                now = datetime.now(UTC).replace(tzinfo=None, microsecond=0)
                connection.execute("INSERT INTO tag VALUES (?, ?, ?, ?, ?)", [sae_id, feature, tag, note, now])
            elif note is not None:
                connection.execute(
                    "UPDATE tag SET note = ? WHERE sae_id = ? AND feature = ? AND tag = ?", [note, sae_id, feature, tag]
                )
    return f"{slug}/{feature}"


def remove_tag(
    path: str | os.PathLike[str],
    address: str,
    tag: str,
    *,
    wait: float = DEFAULT_WAIT_SECONDS,
    narrate: Narrate | None = None,
) -> str:
    """Take a tag off a feature and return the feature's full address; the arguments are those of `add_tag`.

    A feature that the SAE no longer has may have tags still: these can be taken off too.

    Raises:
        NotFoundError: There is no such SAE, or the feature has no such tag.
        UsageError: The address is malformed or ambiguous.
    """
    sae, feature = split_address(address)
    with writing(path, wait=wait, narrate=narrate, notes=True) as connection:
        slug = resolve_sae(Catalogue(path, connection), sae)
        with translated():
            found = connection.execute(
                "SELECT g.sae_id, g.tag FROM tag g JOIN sae s USING (sae_id) WHERE s.slug = ? AND g.feature = ?"
                " ORDER BY g.tag",
                [slug, feature],
            ).fetchall()
            tags = [label for _, label in found]
            if tag not in tags:
                known = nearest(tag, tags) or (f"; it has {', '.join(tags)}" if tags else "; it has no tags")
                raise NotFoundError(f"{slug}/{feature} has no tag {tag!r}{known}")
            connection.execute(
                "DELETE FROM tag WHERE sae_id = ? AND feature = ? AND tag = ?", [found[0][0], feature, tag]
            )
    return f"{slug}/{feature}"


def _checked(tag: str) -> str:
    tag = tag.strip()
    if not tag or len(tag) > _LONGEST_TAG or not tag.isprintable():
        raise UsageError(
            f"{tag[:40]!r} is no tag: write 1 to {_LONGEST_TAG} characters on one line, and --note TEXT for more"
        )
    return tag
