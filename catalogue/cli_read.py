"""The verbs that ask and print tables: top, promotes, q, ls, sql."""

from __future__ import annotations

import re
import sys
from collections.abc import Container
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .cli_common import FormatOption, SaeOption, catalogue_of, db_path, emit, emit_answer, example, narrate
from .display import printable
from .errors import NotFoundError, UsageError
from .formats import Answer, Format

if TYPE_CHECKING:
    from .catalogue import Catalogue, Question


class Engine(StrEnum):
    """What runs SQL."""

    DUCKDB = "duckdb"
    DAFT = "daft"


ValuesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Parameters, by name or in order; quote '5' to have it as text."),
]


def register(app: typer.Typer) -> None:
    """Add the verbs of this module."""
    app.command(epilog=example("featdex top girls_names --min-kurtosis 8 -n 5"))(top)
    app.command(epilog=example("featdex promotes ' Mary' -n 5"))(promotes)
    # Unknown options are let through because a value may start with a minus sign: q outliers -skewness.
    unknown = {"ignore_unknown_options": True}
    app.command(epilog=example("featdex q outliers kurtosis n=5"), context_settings=unknown)(q)
    app.command(epilog=example("featdex ls enriched_for"))(ls)
    app.command(
        epilog=example('featdex sql "SELECT sae, feature, kurtosis FROM features ORDER BY kurtosis DESC LIMIT 5"')
    )(sql)


def top(
    context: typer.Context,
    set_name: Annotated[str, typer.Argument(metavar="SET", help="Name of a token set; 'featdex sets ls' lists them.")],
    sae: SaeOption = None,
    min_kurtosis: Annotated[float | None, typer.Option(help="Smallest kurtosis (a Gaussian has 3).")] = None,
    max_kurtosis: Annotated[float | None, typer.Option(help="Largest kurtosis.")] = None,
    min_skewness: Annotated[float | None, typer.Option(help="Smallest skewness.")] = None,
    max_density: Annotated[
        float | None, typer.Option(help="Largest firing density, 0 to 1; unknown ones drop out.")
    ] = None,
    max_q: Annotated[float | None, typer.Option(help="Largest q of z.")] = None,
    role: Annotated[
        str | None, typer.Option(help="Only prediction, suppression or partition features, or other ones.")
    ] = None,
    role_kurtosis: Annotated[
        float | None,
        typer.Option(help="Kurtosis of the cosines with W_U from which a feature predicts or suppresses [10]."),
    ] = None,
    role_variance: Annotated[
        float | None, typer.Option(help="Variance of the cosines with W_U from which a feature partitions [0.005].")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of rows.")] = 20,
    suppressed: Annotated[
        bool, typer.Option("--suppressed", help="The features that suppress the set instead.")
    ] = False,
    form: FormatOption = None,
) -> None:
    """Show the features that promote the tokens of a set, ranked by z: the question enriched_for.

    With --suppressed, suppressed_for. Roles are those of Universal Neurons; 'featdex ls roles' explains them.
    """
    with catalogue_of(context) as catalogue:
        relation = catalogue.query(
            "suppressed_for" if suppressed else "enriched_for",
            **_given(
                set_name=set_name,
                sae=sae,
                min_kurtosis=min_kurtosis,
                max_kurtosis=max_kurtosis,
                min_skewness=min_skewness,
                max_density=max_density,
                max_q=max_q,
                role=role,
                role_kurtosis=role_kurtosis,
                role_variance=role_variance,
                n=n,
            ),
        )
        verb = "suppresses" if suppressed else "promotes"
        if not emit(relation, form):
            raise NotFoundError(f"no feature {verb} {set_name!r} within these limits; loosen them")


def _given(**values: Any) -> dict[str, Any]:
    """Return the parameters that have a value; the question knows the defaults of the others."""
    return {name: value for name, value in values.items() if value is not None}


def promotes(
    context: typer.Context,
    token: Annotated[
        str, typer.Argument(metavar="TOKEN", help="Its text, with the space (' Mary'), or its raw spelling ('ĠMary').")
    ],
    sae: SaeOption = None,
    suppresses: Annotated[
        bool, typer.Option("--suppresses", help="The features that suppress the token instead.")
    ] = False,
    by_id: Annotated[bool, typer.Option("--id", help="TOKEN is a token id.")] = False,
    max_rank: Annotated[
        int | None, typer.Option(min=1, max=20, help="Among that many most promoted tokens of the feature [20].")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="Number of rows.")] = 20,
    form: FormatOption = None,
) -> None:
    """Show the features that promote a token, ranked by its logit weight: the question features_promoting.

    With --suppresses, features_suppressing.
    """
    if by_id and not (token.isascii() and token.isdigit()):
        raise UsageError(f"{token!r} is no token id; leave out --id to name a token by its text")
    with catalogue_of(context) as catalogue:
        relation = catalogue.query(
            "features_suppressing" if suppresses else "features_promoting",
            **_given(token=int(token) if by_id else token, sae=sae, max_rank=max_rank, n=n),
        )
        if not emit(relation, form):
            verb, end = ("suppresses", "suppressed") if suppresses else ("promotes", "promoted")
            raise NotFoundError(f"no feature {verb} {token!r} among its {max_rank or 20} most {end} tokens")


def q(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A question or view; 'featdex ls' lists them.")],
    values: ValuesArgument = None,
    form: FormatOption = None,
) -> None:
    """Ask a saved question."""
    with catalogue_of(context) as catalogue:
        if not emit(catalogue.query(name, **named_values(catalogue, name, values or [])), form):
            raise NotFoundError(f"{name} finds nothing with these parameters")


def ls(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Explain this question or view in full.")] = None,
    form: FormatOption = None,
) -> None:
    """List the questions and views of the catalogue, or explain one."""
    with catalogue_of(context) as catalogue:
        list_questions(catalogue, name, form)


def list_questions(catalogue: Catalogue, name: str | None, form: Format | None) -> None:
    """Print the questions and views of a catalogue, or one of them in full."""
    from .catalogue import signature

    if name is not None:
        question = catalogue.question(name)
        text = [signature(question), "", *question.comment.splitlines()]
        print("\n".join(map(printable, text)))
        return
    kinds = {"question": catalogue.questions(), "view": catalogue.views()}
    rows = [
        (question.name, kind, question.title, ", ".join(map(str, question.parameters)))
        for kind, questions in kinds.items()
        for question in questions
    ]
    names = ["name", "kind", "title", "parameters"]
    emit_answer(Answer(names, ["VARCHAR"] * len(names), iter(rows), not rows), form)


def sql(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="SQL; - reads it from stdin.")],
    engine: Annotated[
        Engine,
        typer.Option(help="What runs it: duckdb, or daft for scans of a whole dataset (tables only, no views)."),
    ] = Engine.DUCKDB,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Run Daft on this Ray cluster: auto, HOST:PORT, ray://…, or local."),
    ] = None,
    form: FormatOption = None,
) -> None:
    """Run SQL on the catalogue, read-only."""
    query = sys.stdin.read() if text == "-" else text
    if engine is Engine.DAFT:
        from .daft_engine import answered

        with answered(db_path(context), query, ray) as relation:
            if not emit(relation, form):
                narrate("no rows")
        return
    if ray is not None:
        raise UsageError("DuckDB runs on one machine; add --engine daft, or leave out --ray")
    with catalogue_of(context) as catalogue:
        n_statements = len(catalogue.statements(query))
        if n_statements > 1:
            raise UsageError(f"sql answers one statement, and these are {n_statements}; 'featdex shell' takes several")
        if not emit(catalogue.sql(query), form):
            narrate("no rows")


def named_values(catalogue: Catalogue, name: str, texts: list[str]) -> dict[str, Any]:
    """Return the values that a command line gives to the parameters of a question, by name or in order."""
    named: dict[str, Any] = {}
    in_order = []
    for text in texts:
        key, equals, value = text.partition("=")
        if text.startswith("--"):
            raise UsageError(f"no option {key}; parameters are KEY=VALUE, without dashes")
        if equals and key.isidentifier():
            if key in named:
                raise UsageError(f"{key} is given twice")
            named[key] = typed(value)
        else:
            in_order.append(typed(text))
    if in_order:
        named = _by_name(catalogue.question(name), in_order, named) | named
    return named


def _by_name(question: Question, values: list[Any], taken: Container[str]) -> dict[str, Any]:
    """Give values in order to the parameters that have none yet."""
    free = [parameter.name for parameter in question.parameters if parameter.name not in taken]
    if len(values) > len(free):
        raise UsageError(
            f"{question.name} takes {len(question.parameters)} parameters; {values[len(free)]!r} is one too many"
        )
    return dict(zip(free, values, strict=False))


def typed(text: str) -> Any:
    """Return a command-line value as what it looks like: number, true, false, null, else text; '5' (quoted) is text."""
    words = {"null": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    # DuckDB's longest integers have 39 digits; Python refuses to read one of thousands.
    if re.fullmatch(r"[+-]?[0-9]{1,39}", text):
        return int(text)
    if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", text):
        return float(text)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return text
