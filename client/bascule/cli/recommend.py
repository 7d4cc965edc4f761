"""``bascule recommend``."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from bascule.cli.options import Connection, connection_options, count_option, model_option

if TYPE_CHECKING:
    from bascule.query import FeatureValue
    from bascule.ranking import Ranking


@click.command()
@click.option("--user", default="", metavar="ID", help="Recommend to this user.")
@click.option("--history", default="", metavar="ID,ID,...", help="Recommend after these items, oldest first.")
@click.option("--item", metavar="ID", help="Find items similar to this one.")
@count_option
@click.option("--attributes", default="", metavar="NAME,NAME,...", help="Show these attributes of the items.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@model_option
@connection_options
def recommend(
    user: str,
    history: str,
    item: str | None,
    count: int,
    attributes: str,
    as_json: bool,
    model: str,
    connection: Connection,
) -> None:
    """Recommend items to a user, after a history, or similar to an item."""
    if item is not None and (user or history):
        raise click.UsageError("--item stands alone; got --user or --history beside it")
    if not (user or history or item):
        raise click.UsageError("got nothing to recommend for; give --user, --history or --item")
    names = _split(attributes)
    with connection.client(model=model) as client:
        ranking = client.recommend(user, history=_split(history), item_id=item, count=count, attributes=names)
    if as_json:
        click.echo(_as_json(ranking))
    else:
        _print_table(ranking, names)


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _as_json(ranking: "Ranking") -> str:
    import json

    attributes = ranking.attributes or [{}] * len(ranking.item_ids)
    items = [
        {"item_id": item_id, "score": score, **({"attributes": values} if values else {})}
        for item_id, score, values in zip(ranking.item_ids, ranking.scores.tolist(), attributes, strict=True)
    ]
    answer = {
        "model": ranking.model,
        "version": ranking.version,
        "path": ranking.path,
        "unknown_item_ids": ranking.unknown_item_ids,
        "items": items,
    }
    return json.dumps(answer, ensure_ascii=False, default=_iso_8601)


def _iso_8601(value: object) -> str:
    """What of an attribute is no JSON: a moment."""
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"got {type(value).__name__}; expected what JSON has, or a datetime")


def _print_table(ranking: "Ranking", names: Sequence[str]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "item", "score", *map(escape, names), box=None, pad_edge=False)
    attributes = ranking.attributes or [{}] * len(ranking.item_ids)
    scored = zip(ranking.item_ids, ranking.scores, attributes, strict=True)
    for place, (item_id, score, values) in enumerate(scored, start=1):
        shown = [escape(_shown(values.get(name))) for name in names]
        table.add_row(str(place), escape(item_id), f"{score:.4f}", *shown)
    Console().print(table)
    click.echo(f"{ranking.model} version {ranking.version}, path: {ranking.path}", err=True)
    if ranking.unknown_item_ids:
        click.echo(f"not in the catalogue: {', '.join(ranking.unknown_item_ids)}", err=True)


def _shown(value: "FeatureValue | None") -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else ", ".join(map(str, value)) if isinstance(value, list) else str(value)
