"""The verbs that show one thing in full: show (a feature) and sets (the token sets)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_common import AddressArgument, FormatOption, VerbGroup, catalogue_of, emit, example, print_json
from .display import printable, visible_token
from .errors import NotFoundError, UsageError
from .formats import Format, read
from .schema import RETIRED

if TYPE_CHECKING:
    from .catalogue import Catalogue

CardFormatOption = Annotated[Format | None, typer.Option("--format", "-f", help="table (text, the default) or json.")]


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command(epilog=example("featdex show 29-mlp/573"))(show)
    sets = typer.Typer(
        cls=VerbGroup, help="The token sets of the catalogue.", epilog=example("featdex sets ls"), rich_markup_mode=None
    )
    sets.command("ls", epilog=example("featdex sets ls --collection names"))(list_sets)
    sets.command("show", epilog=example("featdex sets show girls_names -n 10"))(show_set)
    app.add_typer(sets, name="sets")


def show(
    context: typer.Context,
    address: AddressArgument,
    form: CardFormatOption = None,
) -> None:
    """Show one feature: statistics, tokens, token sets.

    The percentage behind a statistic is the share of the SAE's features below it.
    """
    if form not in (None, Format.TABLE, Format.JSON):
        raise UsageError(f"show has no {form.value}; use -f json, or 'featdex q tokens_of', 'featdex q sets_of'")
    from .card import feature_card, render_card

    with catalogue_of(context) as catalogue:
        card = feature_card(catalogue, address)
    if form is Format.JSON:
        print_json(card)
    else:
        print(render_card(card))


def list_sets(
    context: typer.Context,
    collection: Annotated[str | None, typer.Option(help="Only sets of this collection.")] = None,
    retired: Annotated[bool, typer.Option("--retired", help="Earlier definitions (name@hash) as well.")] = False,
    form: FormatOption = None,
) -> None:
    """List the token sets."""
    with catalogue_of(context) as catalogue:
        relation = catalogue.sql(
            "SELECT t.name, t.collection, t.kind, t.n_tokens, t.n_terms, t.n_dropped, m.name AS model, t.description"
            " FROM token_set t JOIN model m USING (model_id)"
            " WHERE ($collection IS NULL OR t.collection = $collection)"
            f" AND ($retired OR NOT regexp_matches(t.name, '{RETIRED}'))"
            " ORDER BY m.name, t.collection, t.name",
            {"collection": collection, "retired": retired},
        )
        if not emit(relation, form):
            raise NotFoundError(_no_sets(catalogue, collection))


def _no_sets(catalogue: Catalogue, collection: str | None) -> str:
    if collection is None:
        return "the catalogue holds no token sets"
    known = read(catalogue.sql("SELECT DISTINCT collection FROM token_set WHERE collection IS NOT NULL ORDER BY ALL"))
    return f"no collection {collection!r}; there are {', '.join(name for (name,) in known.rows) or 'none'}"


def show_set(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a token set.")],
    n: Annotated[int, typer.Option("-n", min=0, help="Number of members, and of dropped terms, to show.")] = 40,
    form: FormatOption = None,
) -> None:
    """Show one token set: what it is, where it comes from, its members, and the terms that gave none.

    -f json gives the same as data; csv and the other tables give the members only.
    """
    with catalogue_of(context) as catalogue:
        # The helper knows the nearest names, and finds the set of that name in every model.
        facts = catalogue.sql(
            "SELECT t.*, m.name AS model FROM token_set t JOIN model m USING (model_id)"
            " WHERE t.set_id IN (FROM _set_ids($name)) ORDER BY m.name",
            {"name": name},
        )
        members = catalogue.sql(
            "SELECT m.name AS model, t.token_id, t.str AS token, t.raw"
            " FROM token_set_member i JOIN token_set s USING (set_id) JOIN model m USING (model_id)"
            " JOIN token t ON t.model_id = s.model_id AND t.token_id = i.token_id"
            " WHERE i.set_id IN (FROM _set_ids($name))"
            " QUALIFY row_number() OVER (PARTITION BY i.set_id ORDER BY i.token_id) <= $n"
            " ORDER BY m.name, t.token_id",
            {"name": name, "n": n},
        )
        if form not in (None, Format.TABLE, Format.JSON):
            emit(members, form)
            return
        dropped = catalogue.sql(
            "SELECT m.name AS model, d.term, d.reason FROM token_set_dropped d"
            " JOIN token_set s USING (set_id) JOIN model m USING (model_id)"
            " WHERE d.set_id IN (FROM _set_ids($name))"
            " QUALIFY row_number() OVER (PARTITION BY d.set_id ORDER BY d.term) <= $n ORDER BY m.name, d.term",
            {"name": name, "n": n},
        )
        sets = read(facts).dicts()
        all_members = read(members).dicts()
        all_dropped = read(dropped).dicts()
    for row in sets:
        row["members"] = [member for member in all_members if member["model"] == row["model"]]
        row["dropped"] = [term for term in all_dropped if term["model"] == row["model"]]
    if form is Format.JSON:
        print_json(sets)
    else:
        print("\n\n".join(map(_set_text, sets)))


def _set_text(facts: dict[str, Any]) -> str:
    counts = f"{facts['n_tokens']} tokens"
    if facts["n_terms"] is not None:
        counts += f" from {facts['n_terms']} terms, of which {facts['n_dropped']} gave none"
    lines = {
        "collection": facts["collection"],
        "model": facts["model"],
        "what": facts["description"],
        "definition": f"{facts['kind']}: {facts['definition']}",
        "source": facts["source"],
        "licence": facts["licence"],
        "version": facts["version"],
        "size": counts,
    }
    text = [printable(facts["name"])]
    text += [f"  {label:<12}{printable(str(value))}" for label, value in lines.items() if value is not None]
    shown = " ".join(visible_token(member["token"]) for member in facts["members"])
    more = facts["n_tokens"] - len(facts["members"])
    text.append(f"  {'members':<12}{shown}{f' … and {more:,} more' if more > 0 else ''}")
    reasons: dict[str, list[str]] = {}
    for term in facts["dropped"]:
        reasons.setdefault(term["reason"], []).append(visible_token(term["term"]))
    text += [f"  {'dropped':<12}{', '.join(terms)} ({printable(reason)})" for reason, terms in reasons.items()]
    left = (facts["n_dropped"] or 0) - len(facts["dropped"])
    return "\n".join([*text, *([f"  {'':<12}… and {left:,} more dropped"] if left > 0 else [])])
