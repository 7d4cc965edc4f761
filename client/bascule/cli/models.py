"""``bascule models``."""

from collections.abc import Mapping

import click

from bascule.cli.options import Connection, connection_options

HEADLINES = ("ndcg@10", "recall@10")
"""The metrics shown; an artifact's own page, ``bascule inspect``, has the others."""


@click.command()
@connection_options
def models(connection: Connection) -> None:
    """List the models that a server has."""
    from rich.console import Console
    from rich.table import Table

    with connection.client() as client:
        known = client.models()
    table = Table(box=None, pad_edge=False)
    for heading, side in (("model", "left"), ("version", "right"), ("state", "left"), ("items", "right")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    for heading in ("dimension", "features", "attributes", "metrics"):
        table.add_column(heading, overflow="fold")
    for model in known:
        table.add_row(
            model.name,
            str(model.version),
            str(model.state) if model.error is None else f"{model.state}: {model.error}",
            f"{model.item_count:,}",
            str(model.dimension),
            _listed(model.features),
            _listed(model.attributes),
            ", ".join(f"{name} {model.metrics[name]:.4f}" for name in HEADLINES if name in model.metrics),
        )
    Console().print(table, markup=False) if known else click.echo("no models")


def _listed(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in sorted(kinds.items()))
