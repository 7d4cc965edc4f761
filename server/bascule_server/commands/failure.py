"""How a command ends that cannot do what it was asked for."""

import click


class CommandFailed(click.ClickException):
    """One sentence on standard error, and exit status 2."""

    exit_code = 2
