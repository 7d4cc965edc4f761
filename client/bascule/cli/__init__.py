"""The command line. Each package brings its own commands, by the entry points ``bascule.commands``.

A command's module is loaded when the command is asked for, and a command whose module cannot be imported is not there.
Exit status: 0 for success, 1 where a command could do only a part or the answer is no, 2 where it could not do what it
was asked for, 130 after Ctrl-C.
"""

import importlib.metadata
from typing import Any

import click

from bascule.errors import BasculeError

EXTRAS = {"bascule": "cli", "bascule_server": "server", "bascule_training": "training"}
"""What to install for the commands of each package."""


class CommandFailed(click.ClickException):
    """The command cannot do what it was asked for: one sentence, and exit status 2."""

    exit_code = 2


class InstalledCommands(click.Group):
    """The commands that are installed."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Their names."""
        return sorted(_entry_points())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command, or None where there is none or it cannot be imported; then click does not list it."""
        entry_point = _entry_points().get(cmd_name)
        if entry_point is None:
            return None
        try:
            command: click.Command = entry_point.load()
        except ImportError:
            return None
        return command

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's signature
        """Runs a command. What goes wrong as expected becomes one line, without a traceback."""
        try:
            return super().invoke(ctx)
        except BasculeError as error:
            raise CommandFailed(str(error)) from error
        except ModuleNotFoundError as error:
            raise _missing_module(ctx.invoked_subcommand or "", error) from error
        except KeyboardInterrupt:
            click.echo("Aborted!", err=True)
            raise click.exceptions.Exit(130) from None


@click.group(cls=InstalledCommands)
@click.version_option(package_name="bascule")
def bascule() -> None:
    """Trains two-tower recommenders and serves them over gRPC: one user, a batch, or an endless stream."""


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group="bascule.commands")}


def _missing_module(command: str, error: ModuleNotFoundError) -> Exception:
    """What to say where a command's module is there, but not what it imports in its turn."""
    package = _entry_points()[command].module.partition(".")[0]
    if package not in EXTRAS or (error.name or "").partition(".")[0] in EXTRAS:
        return error
    extra = EXTRAS[package]
    return CommandFailed(f"{command!r} needs {error.name}, which is not installed: pip install 'bascule[{extra}]'")
