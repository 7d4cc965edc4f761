"""``bascule score``."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bascule.cli.options import Connection, connection_options, count_option, model_option

if TYPE_CHECKING:
    from bascule.cli.output_file import OutputFormat
    from bascule.cli.output_parts import Conditions, OutputParts
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

MAX_TRIES = 300
"""A server that is away is tried for ten minutes and more: long enough for it to be restarted, or another in its place.
"""


@click.command()
@click.argument("users", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The file to write.")
@click.option(
    "--columns",
    default="",
    metavar="NAME=COLUMN,...",
    help="Where user_id, history or a feature stands under another name in USERS, such as user_id=customer.",
)
@click.option("--resume", is_flag=True, help="Go on where a run that did not end was; start where there is none.")
@count_option
@model_option
@connection_options
def score(users: Path, out: Path, columns: str, resume: bool, count: int, model: str, connection: Connection) -> None:
    """Recommend items to every user of the file USERS.

    Both files are Parquet, CSV or JSON lines, by their suffix: .parquet, .csv or .jsonl. USERS has a column user_id; a
    column history (item ids, oldest first) and columns named as features of the model are read too. In CSV the
    values of a list stand in one cell, separated by |.

    The output has the columns user_id, item_ids, scores and path, and a row for each row of the input. Rows that fail
    are listed with their reason in OUT.failed.jsonl, and the exit status is 1.

    A server that is away is waited for, for ten minutes. Until the output is complete, its rows are in the folder
    OUT.parts; after whatever ended the command, repeat it with --resume. All rows are by one version of the model.
    """
    from bascule.cli import CommandFailed
    from bascule.cli.input_rows import InputError
    from bascule.cli.output_parts import ResumeError

    renamed = _parse_columns(columns)
    try:
        with connection.client(model=model, connections=CONNECTIONS) as client:
            failed_count = _score_file(users, out, client, model, count, renamed, resume=resume)
    except (InputError, ResumeError, OSError) as error:
        raise CommandFailed(str(error)) from error
    raise click.exceptions.Exit(1 if failed_count else 0)


def _parse_columns(text: str) -> Mapping[str, str]:
    """The columns that ``--columns`` gives, by what is read from them."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if not all(name.strip() and column.strip() for name, _, column in pairs):
        raise click.BadParameter(f"expected NAME=COLUMN,...; got {text!r}", param_hint="--columns")
    return {name.strip(): column.strip() for name, _, column in pairs}


def _score_file(
    users: Path, out: Path, client: "Client", name: str, count: int, columns: Mapping[str, str], *, resume: bool
) -> int:
    """Writes the output, and returns how many rows failed."""
    from bascule.cli.input_rows import format_of, sha256_of
    from bascule.cli.output_parts import Conditions, OutputParts

    input_format, output_format = format_of(users), _output_format(users, out)
    model = _serving_model(client.models(), name)
    _check_columns(users, input_format.column_names(users), model.features, columns)
    conditions = Conditions(sha256_of(users), model.name, model.version, count, columns)
    with OutputParts(out, output_format, conditions, resume=resume) as parts, _kept(parts):
        if parts.row_count:
            click.echo(f"{parts.row_count:,} rows are done", err=True)
        rows = islice(input_format.read_rows(users), parts.row_count, None)
        _score_rows(Asked(rows, model.features, columns), parts, client, conditions, input_format.count_rows(users))
    click.echo(f"{out}: {parts.row_count:,} rows")
    if parts.failed_count:
        click.echo(f"{parts.failed_count:,} of them failed; {parts.failed_path} says why", err=True)
    return parts.failed_count


def _score_rows(asked: "Asked", parts: "OutputParts", client: "Client", by: "Conditions", row_count: int) -> None:
    """Writes a row for each that is asked."""
    from bascule.cli.outages import Outages
    from bascule.cli.output_file import ranking_row
    from bascule.cli.progress import row_progress
    from bascule.errors import BasculeError

    with row_progress() as progress:
        task = progress.add_task("", total=row_count, completed=parts.row_count)
        outages = Outages(progress.console)
        results = client.stream(
            asked,
            queries_per_message=QUERIES_PER_MESSAGE,
            max_tries=MAX_TRIES,
            on_break=outages.began,
            count=by.count,
            model=by.model,
            version=by.version,
        )
        for result in results:
            outages.ended()
            user_id = asked.user_ids.popleft()
            row = ranking_row(user_id, result)
            if isinstance(result, BasculeError):
                parts.write_failed(row, result)
            else:
                parts.write(row)
            if parts.row_count % PROGRESS_ROWS == 0:
                progress.update(task, completed=parts.row_count)
        progress.update(task, completed=parts.row_count, total=parts.row_count)


@contextmanager
def _kept(parts: "OutputParts") -> Iterator[None]:
    """Says after an exception which rows are not lost."""
    try:
        yield
    except BaseException:
        if kept := parts.kept_row_count:
            click.echo(f"{kept:,} rows are done, in {parts.folder}; go on with --resume", err=True)
        raise


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


def _serving_model(models: Sequence["Model"], name: str) -> "Model":
    """The newest version that serves."""
    from bascule.cli import CommandFailed

    serving = [model for model in models if model.state == "serving"]
    names = sorted({model.name for model in serving})
    chosen = [model for model in serving if name in ("", model.name)]
    if not chosen:
        wanted = f"no model {name!r} that is ready" if name else "no model that is ready"
        raise CommandFailed(f"the server has {wanted}; ready are: {', '.join(names) or 'none'}")
    if not name and len(names) > 1:
        raise CommandFailed(f"the server has several models; choose one of {', '.join(names)} with --model")
    return max(chosen, key=lambda model: model.version)


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


def _output_format(users: Path, out: Path) -> "OutputFormat":
    from bascule.cli import CommandFailed
    from bascule.cli.output_file import OUTPUT_FORMATS

    if out.exists() and out.samefile(users):
        raise CommandFailed(f"{out} is the input itself; choose another file for --out")
    if out.suffix.lower() not in OUTPUT_FORMATS:
        raise click.UsageError(f"{out}: expected a file that ends in {', '.join(OUTPUT_FORMATS)}")
    return OUTPUT_FORMATS[out.suffix.lower()]
