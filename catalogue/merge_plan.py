"""Which rows of several catalogues make one, and under which ids: decided from their small tables before any is copied.

The catalogues are taken in the order given, as if one ingest after the other had gone into one file. The first keeps
its ids; what a later one brings gets the next free ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .errors import CatalogueError

Row = Mapping[str, Any]

_LARGEST_ID = {"models": 32_767, "SAEs": 32_767, "token sets": 32_767, "runs": 2_147_483_647}
"""By the types of their ids."""

_WHAT_DIFFERS = {
    "model": "another model",
    "weights_sha256": "other weights",
    "d_sae": "another number of features",
    "neuronpedia_id": "another Neuronpedia id",
    "params_sha256": "other parameters or sets",
    "sets": "results of other sets",
}


@dataclass(frozen=True)
class Contents:
    """The small tables of one catalogue. `tested` are the pairs of sae_id and set_id that it has results of."""

    label: str
    models: Sequence[Row]
    sets: Sequence[Row]
    saes: Sequence[Row]
    runs: Sequence[Row]
    tested: Sequence[tuple[int, int]]


@dataclass
class Ids:
    """Ids of one kind: `new` maps those of a catalogue to those of the result, `own` are of the rows taken from it."""

    new: dict[int, int] = field(default_factory=dict)
    own: list[int] = field(default_factory=list)


@dataclass
class Share:
    """What becomes of one catalogue: the ids of all that the result has of it, from whichever catalogue."""

    models: Ids = field(default_factory=Ids)
    sets: Ids = field(default_factory=Ids)
    saes: Ids = field(default_factory=Ids)
    runs: Ids = field(default_factory=Ids)
    unexplained: list[int] = field(default_factory=list)
    """SAEs that are another's in the result, by Neuronpedia id or size: explanations of these are not of that one."""


class Plan(NamedTuple):
    """How several catalogues become one.

    Attributes:
        shares: One for each catalogue, in their order.
        set_names: The name of every token set of the result, by its set_id there.
        left_out: Names of sets that no SAE was tested against, and another definition of which came later.
    """

    shares: list[Share]
    set_names: dict[int, str]
    left_out: list[str]


class _SetKey(NamedTuple):
    model_id: int
    name: str
    members_sha256: str


@dataclass
class _Known:
    """A model or an SAE of the result: its id, the facts that have to agree, and the catalogue it is taken from."""

    new_id: int
    facts: dict[str, Any]
    label: str


def plan_merge(catalogues: Sequence[Contents], *, keep_first: bool = False) -> Plan:
    """Plan how catalogues become one.

    Args:
        catalogues: Their small tables, in the order in which they are taken.
        keep_first: Take an SAE that they differ in from the first that has it, instead of refusing.

    Raises:
        CatalogueError: They hold different models under one name, or different results under one slug; or more than
            one catalogue can hold.
    """
    planner = _Planner(keep_first)
    for contents in catalogues:
        _require_owners(contents)
        planner.add(contents)
    return planner.finish()


def _require_owners(contents: Contents) -> None:
    models = {row["model_id"] for row in contents.models if row["name"] is not None}
    sets = {row["set_id"] for row in contents.sets if None not in (row["name"], row["members_sha256"])}
    owned = {row["model_id"] for row in (*contents.models, *contents.sets, *contents.saes)}
    tested = {set_id for _, set_id in contents.tested} | {row["set_id"] for row in contents.sets}
    if owned - models or tested - sets:
        raise CatalogueError(f"{contents.label} has rows of models or sets that are not there; see 'featdex doctor'")


class _Planner:
    def __init__(self, keep_first: bool) -> None:
        self._keep_first = keep_first
        self._shares: list[Share] = []
        self._models: dict[str, _Known] = {}
        self._saes: dict[str, _Known] = {}
        self._sets: dict[_SetKey, int] = {}
        # The version that has the plain name of each set, and those that have had it in some catalogue.
        self._plain: dict[tuple[int, str], _SetKey] = {}
        self._were_plain: dict[_SetKey, str] = {}
        self._tested: set[_SetKey] = set()
        self._conflicts: list[str] = []
        self._largest = dict.fromkeys(_LARGEST_ID, 0)

    def add(self, contents: Contents) -> None:
        share = Share()
        self._shares.append(share)
        for row in contents.models:
            self._add_model(row, contents.label, share)
        keys = self._add_sets(contents, share)
        runs = sorted(contents.runs, key=lambda run: run["run_id"])
        newest = {run["sae_id"]: run for run in runs}
        sets_of: dict[int, list[_SetKey]] = {}
        for sae_id, set_id in contents.tested:
            sets_of.setdefault(sae_id, []).append(keys[set_id])
        for row in contents.saes:
            facts = {name: row[name] for name in ("weights_sha256", "d_sae", "neuronpedia_id")}
            facts["model"] = share.models.new[row["model_id"]]
            facts["params_sha256"] = newest.get(row["sae_id"], {}).get("params_sha256")
            facts["sets"] = sorted(key[1:] for key in sets_of.get(row["sae_id"], []))
            self._add_sae(row, facts, contents.label, share)
        own = set(share.saes.own)
        self._tested.update(key for sae_id in own for key in sets_of.get(sae_id, []))
        for run in runs:
            if run["sae_id"] in own:
                share.runs.new[run["run_id"]] = self._new_id("runs", run["run_id"])
                share.runs.own.append(run["run_id"])

    def _new_id(self, what: str, old_id: int) -> int:
        new_id = old_id if len(self._shares) == 1 else self._largest[what] + 1
        if new_id > _LARGEST_ID[what]:
            raise CatalogueError(f"a catalogue holds {_LARGEST_ID[what]:,} {what} at most; merge fewer into one file")
        self._largest[what] = max(self._largest[what], new_id)
        return new_id

    def _add_model(self, row: Row, label: str, share: Share) -> None:
        facts = {name: row[name] for name in ("unembed_sha256", "tokenizer_sha256")}
        known = self._models.get(row["name"])
        if known is None:
            new_id = self._new_id("models", row["model_id"])
            known = self._models[row["name"]] = _Known(new_id, facts, label)
            share.models.own.append(row["model_id"])
        elif known.facts != facts:
            raise CatalogueError(
                f"{known.label} and {label} hold different models under the name {row['name']!r}; ingest one of them"
                " again with another --model-name, nothing was written"
            )
        share.models.new[row["model_id"]] = known.new_id

    def _add_sets(self, contents: Contents, share: Share) -> dict[int, _SetKey]:
        """Give every set of a catalogue its id; return its key by its id there."""
        keys = {}
        for row in contents.sets:
            digest = row["members_sha256"]
            name = row["name"].removesuffix(f"@{digest[:8]}")
            key = keys[row["set_id"]] = _SetKey(share.models.new[row["model_id"]], name, digest)
            if name == row["name"]:
                self._plain[key.model_id, name] = key
                self._were_plain.setdefault(key, contents.label)
            if key not in self._sets:
                self._sets[key] = self._new_id("token sets", row["set_id"])
                share.sets.own.append(row["set_id"])
            share.sets.new[row["set_id"]] = self._sets[key]
        if len(set(keys.values())) < len(keys):
            raise CatalogueError(f"{contents.label} holds a token set twice; see 'featdex doctor'")
        return keys

    def _add_sae(self, row: Row, facts: dict[str, Any], label: str, share: Share) -> None:
        known = self._saes.get(row["slug"])
        if known is None:
            new_id = self._new_id("SAEs", row["sae_id"])
            known = self._saes[row["slug"]] = _Known(new_id, facts, label)
            share.saes.own.append(row["sae_id"])
        differing = [text for name, text in _WHAT_DIFFERS.items() if known.facts[name] != facts[name]]
        if differing and not self._keep_first:
            self._conflicts.append(f"{row['slug']} in {known.label} and {label} ({', '.join(differing)})")
        if any(known.facts[name] != facts[name] for name in ("d_sae", "neuronpedia_id")):
            share.unexplained.append(row["sae_id"])
        share.saes.new[row["sae_id"]] = known.new_id

    def finish(self) -> Plan:
        if self._conflicts:
            more = f" and {len(self._conflicts) - 1} more SAEs" if len(self._conflicts) > 1 else ""
            raise CatalogueError(
                f"different results of {self._conflicts[0]}{more}; ingest it again in one of them as in the other, or"
                " take those named first with --keep-first; nothing was written"
            )
        names = {}
        gone = set()
        left_out = []
        for key, set_id in self._sets.items():
            if self._plain.get((key.model_id, key.name)) == key:
                names[set_id] = key.name
            elif key in self._tested:
                names[set_id] = f"{key.name}@{key.members_sha256[:8]}"
            else:
                gone.add(set_id)
                left_out += [f"{key.name} of {self._were_plain[key]}"] if key in self._were_plain else []
        for share in self._shares:
            share.sets.own = [set_id for set_id in share.sets.own if share.sets.new[set_id] not in gone]
        return Plan(self._shares, names, left_out)
