"""``bascule tune``: searches for a better configuration and writes it."""

import os
from pathlib import Path

import click

from bascule_server.commands.failure import CommandFailed


@click.command()
@click.argument("config_path", metavar="CONFIG.toml", type=click.Path(path_type=Path))
@click.option("--trials", type=click.IntRange(min=1), default=40, show_default=True, help="How many are tried in all.")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The best configuration; unless given, CONFIG.best.toml. Trials are kept beside it, in CONFIG.best.trials.",
)
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Replaces a value of CONFIG.toml.")
def tune(config_path: Path, trials: int, out: Path | None, settings: tuple[str, ...]) -> None:
    """Tries settings of the tower and its fitting, and writes the configuration that ranks best on validation.

    The test part is never looked at. A search that was stopped goes on when it is called again.

    The exit status is 0 when the configuration was written, 130 when the search was stopped with Ctrl-C, and 2 when it
    could not be done.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from rich.console import Console

    from bascule_training.config import ConfigError, load_config
    from bascule_training.config_text import config_text
    from bascule_training.data.tables import DataError

    console = Console()
    try:
        config = load_config(config_path, settings)
        from bascule_training import tune as tuning
        from bascule_training.prepared import prepare
    except ConfigError as error:
        raise CommandFailed(str(error)) from error
    path = out or config_path.with_suffix(".best.toml")

    def show(trial: tuning.Trial) -> None:
        quality = "stopped early" if trial.quality is None else f"NDCG@10 {trial.quality:.4f}"
        shown = ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in trial.settings.items()
        )
        line = f"trial {trial.number}: {quality}, best {trial.best_quality:.4f}; {shown}"
        console.print(line, highlight=False, soft_wrap=True)

    try:
        best = tuning.tune(config, prepare(config), trials, path.with_suffix(".trials"), show)
        path.write_text(config_text(best), encoding="utf-8")
    except (DataError, tuning.TuneError, OSError) as error:
        raise CommandFailed(str(error)) from error
    except KeyboardInterrupt:
        console.print("Stopped. Call again to go on.")
        raise SystemExit(130) from None
    click.echo(f"wrote {path}")
