"""``bascule score``."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bascule.cli.options import connection_options, count_option, model_option, open_client

if TYPE_CHECKING:
    from bascule.cli.output_file import OutputFile
    from bascule.client import Client
    from bascule.models import Model, ValueKind
    from bascule.query import Query


QUERIES_PER_MESSAGE = 256
"""As many as a server computes together. With 64 the file takes a sixth longer: threads wait for each other at each
message."""

PROGRESS_ROWS = 256
"""Rows between two steps of the progress bar."""

CONNECTIONS = 8
"""Each has a stream, and so each worker of the server some: the kernel parts connections among them, not calls."""


@click.command()
@click.argument("users", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file to write.")
@click.option(
    "--columns",
    default="",
    metavar="NAME=COLUMN,...",
    help="Where user_id, history or a feature stands under another name in USERS, such as user_id=customer.",
)
@count_option
@model_option
@connection_options
def score(users: Path, out: Path, columns: str, count: int, model: str, server: str, ca: Path | None) -> None:
    """Recommend items to every user of the file USERS.

    Both files are Parquet, CSV or JSON lines, by their suffix: .parquet, .csv or .jsonl. USERS has a column user_id; a
    column history (item ids, oldest first) and columns named as features of the model are read too. In CSV the
    values of a list stand in one cell, separated by |.

    The output has the columns user_id, item_ids, scores and path, and a row for each row of the input. Rows that fail
    are listed with their reason in OUT.failed.jsonl, and the exit status is 1.
    """
    from bascule.cli import CommandFailed
    from bascule.cli.input_rows import InputError

    renamed = _parse_columns(columns)
    try:
        with open_client(server, ca, model=model, connections=CONNECTIONS) as client:
            failed_count = _score_file(users, out, client, model, count, renamed)
    except (InputError, OSError) as error:
        raise CommandFailed(str(error)) from error
    raise click.exceptions.Exit(1 if failed_count else 0)


def _parse_columns(text: str) -> Mapping[str, str]:
    """The columns that ``--columns`` gives, by what is read from them."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if not all(name.strip() and column.strip() for name, _, column in pairs):
        raise click.BadParameter(f"expected NAME=COLUMN,...; got {text!r}", param_hint="--columns")
    return {name.strip(): column.strip() for name, _, column in pairs}


def _score_file(users: Path, out: Path, client: "Client", model: str, count: int, columns: Mapping[str, str]) -> int:
    """Writes the output, and returns how many rows failed."""
    from bascule.cli.failed_rows import FailedRows
    from bascule.cli.input_rows import format_of
    from bascule.cli.output_file import ranking_row
    from bascule.cli.progress import row_progress
    from bascule.errors import BasculeError

    input_format = format_of(users)
    features = _declared_features(client.models(), model)
    _check_columns(users, input_format.column_names(users), features, columns)
    with ExitStack() as stack:
        output = stack.enter_context(_open_output(users, out))
        failed_rows = FailedRows(out, stack)
        progress = stack.enter_context(row_progress())
        task = progress.add_task("", total=input_format.count_rows(users))
        asked = Asked(input_format.read_rows(users), features, columns)
        row_number = 0
        for row_number, result in enumerate(
            client.stream(asked, count=count, queries_per_message=QUERIES_PER_MESSAGE), start=1
        ):
            user_id = asked.user_ids.popleft()
            output.write(ranking_row(user_id, result))
            if isinstance(result, BasculeError):
                failed_rows.write(row_number, user_id, result)
            if row_number % PROGRESS_ROWS == 0:
                progress.update(task, completed=row_number)
        progress.update(task, completed=row_number, total=row_number)
    failed_rows.remove_stale()
    click.echo(f"{out}: {row_number:,} rows")
    if failed_rows.count:
        click.echo(f"{failed_rows.count:,} of them failed; {failed_rows.path} says why", err=True)
    return failed_rows.count


class Asked:
    """The queries of the rows, and whose they are: the ids of the users whose answers are still to come, in order."""

    def __init__(
        self,
        rows: Iterator[Mapping[str, object]],
        features: Mapping[str, "ValueKind"],
        columns: Mapping[str, str],
    ) -> None:
        self.user_ids: deque[str] = deque()
        self._rows = rows
        self._features = features
        self._columns = columns

    def __iter__(self) -> Iterator["Query"]:
        from bascule.cli.row_query import query_of

        for row in self._rows:
            query = query_of(row, self._features, self._columns)
            self.user_ids.append(query.user_id)
            yield query


def _declared_features(models: Sequence["Model"], name: str) -> Mapping[str, "ValueKind"]:
    """The features of the newest version that serves."""
    from bascule.cli import CommandFailed

    serving = [model for model in models if model.state == "serving"]
    names = sorted({model.name for model in serving})
    chosen = [model for model in serving if name in ("", model.name)]
    if not chosen:
        wanted = f"no model {name!r} that is ready" if name else "no model that is ready"
        raise CommandFailed(f"the server has {wanted}; ready are: {', '.join(names) or 'none'}")
    if not name and len(names) > 1:
        raise CommandFailed(f"the server has several models; choose one of {', '.join(names)} with --model")
    return max(chosen, key=lambda model: model.version).features


def _check_columns(
    users: Path, present: Sequence[str], features: Mapping[str, "ValueKind"], columns: Mapping[str, str]
) -> None:
    from bascule.cli.input_rows import InputError

    readable = {"user_id", "history", *features}
    if unreadable := columns.keys() - readable:
        got, names = ", ".join(sorted(unreadable)), ", ".join(sorted(readable))
        raise click.BadParameter(f"the model reads {names}; got {got}", param_hint="--columns")
    for column in {"user_id": "user_id", **columns}.values():
        if column not in present:
            raise InputError(f"{users}: no column {column}; there are: {', '.join(present) or 'none'}")
    read = {columns.get(name, name) for name in readable}
    ignored = [column for column in present if column not in read]
    if ignored:
        click.echo(f"not read, since the model has no such features: {', '.join(ignored)}", err=True)


def _open_output(users: Path, out: Path) -> "OutputFile":
    from bascule.cli import CommandFailed
    from bascule.cli.output_file import OUTPUT_FILES

    if out.exists() and out.samefile(users):
        raise CommandFailed(f"{out} is the input itself; choose another file for --out")
    if out.suffix.lower() not in OUTPUT_FILES:
        raise click.UsageError(f"{out}: expected a file that ends in {', '.join(OUTPUT_FILES)}")
    return OUTPUT_FILES[out.suffix.lower()](out)
