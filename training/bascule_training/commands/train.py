"""``bascule train``: from a configuration to a published artifact, with a progress bar and a table."""

import os
from pathlib import Path

import click

from bascule_server.commands.failure import CommandFailed

KINDS = (
    "history_transformer",
    "history_bag",
    "features",
    "spectral",
    "ease",
    "svd",
    "ials",
    "itemknn",
    "popularity",
    "classic",
)
"""The kinds of model, as in ``tower.kind``; not taken from the configuration's module, which loads slowly."""


@click.command()
@click.argument("config_path", metavar="CONFIG.toml", type=click.Path(path_type=Path))
@click.option(
    "--out",
    "models",
    default="models",
    show_default=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder of the models; the new version goes to DIR/<model>/<version>.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Replaces a value of CONFIG.toml: --set fit.epochs=3"
)
@click.option(
    "--model",
    "kind",
    type=click.Choice(KINDS),
    help="Trains this kind of model in the place of the configuration's, with its own defaults.",
)
@click.option("--resume", is_flag=True, help="Goes on from the last epoch of a run that was stopped.")
@click.option(
    "--sign",
    "key",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Signs what is published with this private Ed25519 key (PEM); see `bascule sign`.",
)
def train(
    config_path: Path, models: Path, settings: tuple[str, ...], kind: str | None, resume: bool, key: Path | None
) -> None:
    """Trains a two-tower model, evaluates it beside the baselines and publishes it.

    The exit status is 0 when a version was published, 130 when the run was stopped with Ctrl-C, and 2 when it could not
    be done.
    """
    # TensorFlow's notes about the processor say nothing to a person who trains a model.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from rich.console import Console

    from bascule_server.artifact.reading import ArtifactError
    from bascule_server.artifact.signature import read_private_key
    from bascule_server.config import ConfigError as KeyFileError
    from bascule_training.config import ConfigError, load_config
    from bascule_training.data.tables import DataError

    console = Console()
    try:
        config = load_config(config_path, settings, kind)
        private_key = None if key is None else read_private_key(key)
        # Only now, since TensorFlow takes seconds to load and a slip in the configuration should not wait for it.
        from bascule_training import train as training
        from bascule_training.evaluation.evaluated import evaluation_table
        from bascule_training.fitting.checkpoint import CheckpointError
        from bascule_training.publishing.publish import PublishError
        from bascule_training.train_display import TrainDisplay
    except (ConfigError, KeyFileError) as error:
        raise CommandFailed(str(error)) from error
    try:
        with TrainDisplay(console) as display:
            trained = training.train(config, models, resume=resume, observe=display.show, private_key=private_key)
    except (ArtifactError, CheckpointError, DataError, PublishError) as error:
        raise CommandFailed(str(error)) from error
    except KeyboardInterrupt:
        console.print("Stopped. Nothing was published; go on after the last whole epoch with --resume.")
        raise SystemExit(130) from None
    console.print(evaluation_table(trained.evaluations, elsewhere="metrics.json, report.html"))
    if trained.ranking is not None:
        click.echo(trained.ranking.sentence())
    click.echo(f"published {trained.folder}")
