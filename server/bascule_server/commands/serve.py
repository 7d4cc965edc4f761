"""``bascule serve``."""

from pathlib import Path

import click

from bascule_server.commands.failure import CommandFailed


@click.command()
@click.option("--models", "models_root", type=click.Path(path_type=Path), required=True, help="Folder of the models.")
@click.option("--config", "config_path", type=click.Path(path_type=Path), help="Configuration (TOML).")
@click.option("--listen", help="Address and port, such as 127.0.0.1:50051; port 0 takes any free one.")
@click.option("--workers", type=int, help="Processes that share the port; best one a core.")
@click.option("--reflection", is_flag=True, default=None, help="Answer questions about the services' definitions.")
@click.option("--port-file", type=click.Path(path_type=Path), help="File to write the port to, once it answers.")
def serve(
    models_root: Path,
    config_path: Path | None,
    listen: str | None,
    workers: int | None,
    reflection: bool | None,
    port_file: Path | None,
) -> None:
    """Serve the newest version of each model.

    SIGTERM or Ctrl-C stops it: what is in flight is answered first. The exit status is 0 then, 2 where it could not
    start, and 1 where its workers died again and again.
    """
    from bascule_server.footprint import keep_small

    keep_small()
    from bascule_server import process
    from bascule_server.artifact.reading import ArtifactError
    from bascule_server.config import ConfigError, read_config
    from bascule_server.logs import configure_logs
    from bascule_server.server import ListenError
    from bascule_server.workers import CrashLoopError, WorkerError

    given = {"listen": listen, "workers": workers, "reflection": reflection}
    try:
        config = read_config(config_path, {name: value for name, value in given.items() if value is not None})
        configure_logs(config.log_level)
        process.run(config, models_root, lambda port: _write_port(port_file, port))
    except (ArtifactError, ConfigError, ListenError, WorkerError) as error:
        raise CommandFailed(str(error)) from error
    except CrashLoopError as error:
        raise click.ClickException(str(error)) from error


def _write_port(path: Path | None, port: int) -> None:
    """Writes it whole or not at all, since others wait for the file to appear."""
    if path is not None:
        written = path.with_name(f"{path.name}.part")
        written.write_text(f"{port}\n")
        written.replace(path)
