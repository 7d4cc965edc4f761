"""The console command ``bascule``, and ``python -m bascule``."""

import sys


def main() -> None:
    """Runs the command line, or says what it takes to have one."""
    try:
        from bascule.cli import bascule
    except ModuleNotFoundError as error:
        if error.name != "click":
            raise
        sys.stderr.write("bascule: the command line needs more than the client: pip install 'bascule[cli]'\n")
        sys.exit(2)
    bascule(prog_name="bascule")


if __name__ == "__main__":
    main()
