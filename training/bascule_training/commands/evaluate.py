"""``bascule evaluate``: how well an artifact does on a configuration's test part or on any log."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bascule_server.commands.failure import CommandFailed

if TYPE_CHECKING:
    from bascule_training.evaluate import Log

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--config", metavar="CONFIG.toml", type=_FILE, help="Evaluates on the test part of this configuration.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replaces a value of CONFIG.toml: --set data.min_value=4",
)
@click.option("--before", metavar="FILE", type=_FILE, help="Interactions that are known: user_id, item_id, time.")
@click.option("--after", metavar="FILE", type=_FILE, help="Interactions that are to be found.")
@click.option(
    "--users", metavar="FILE", type=_FILE, help="With --before: user_id, and the features that the model reads."
)
@click.option("--json", "json_path", metavar="FILE", type=_FILE, help="Also writes all figures and intervals to FILE.")
def evaluate(
    folder: Path,
    config: Path | None,
    settings: tuple[str, ...],
    before: Path | None,
    after: Path | None,
    users: Path | None,
    json_path: Path | None,
) -> None:
    """Evaluates the artifact in DIR (models/<model>/<version>), with popularity beside it.

    On the test part of a configuration, or on two files: what users did before, and what they did after. The model is
    asked through the server's own scorer. What a ranking tower reads of the context are columns of the latter.

    The exit status is 0 where there are figures, and 2 where there can be none.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    from bascule_server.artifact.reading import ArtifactError
    from bascule_training import evaluate as evaluating
    from bascule_training.config import ConfigError
    from bascule_training.data.tables import DataError
    from bascule_training.evaluation.evaluated import evaluation_table
    from bascule_training.evaluation.groups import groups_table

    if json_path is not None and not json_path.parent.is_dir():
        raise CommandFailed(f"--json {json_path}: there is no folder {json_path.parent}; make it first")
    console = Console()
    try:
        log = _log(folder, config, settings, before, after, users)
        with Progress(BarColumn(), TextColumn("{task.completed} users"), console=console, transient=True) as progress:
            task = progress.add_task("", total=None)
            evaluated = evaluating.evaluate(folder, log, lambda count: progress.advance(task, count))
        if json_path is not None:
            json_path.write_text(json.dumps(evaluating.as_json(evaluated), indent=2) + "\n", encoding="utf-8")
    except (ArtifactError, ConfigError, DataError, OSError) as error:
        raise CommandFailed(str(error)) from error
    console.print(evaluation_table(evaluated.evaluations, elsewhere="--json FILE"))
    console.print()
    console.print(groups_table(evaluated.groups))
    for note in evaluated.notes:
        console.print(f"Note: {note}", style="yellow", markup=False, highlight=False)


def _log(
    folder: Path,
    config: Path | None,
    settings: tuple[str, ...],
    before: Path | None,
    after: Path | None,
    users: Path | None,
) -> "Log":
    from bascule_server.artifact.reading import read_manifest
    from bascule_training import evaluate as evaluating
    from bascule_training.config import load_config

    if config is not None and before is None and after is None and users is None:
        return evaluating.log_of_config(load_config(config, settings))
    if config is None and not settings and before is not None and after is not None:
        return evaluating.log_of_files(before, after, users, read_manifest(folder).ranker.context)
    raise CommandFailed("expected either --config (with --set), or --before and --after (with --users)")
