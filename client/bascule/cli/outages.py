"""What a command that waits for a server says meanwhile."""

from rich.console import Console

from bascule.errors import BasculeError


class Outages:
    """Says once for each time that the server is away what is waited for, and when that is over."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_away = False

    def began(self, error: BasculeError, _delay: float) -> None:
        """Notes that a stream broke."""
        if not self._is_away:
            self._is_away = True
            self._say(f"The server is away ({error}). It is tried again for ten minutes.")

    def ended(self) -> None:
        """Notes that an answer came."""
        if self._is_away:
            self._is_away = False
            self._say("The server is back.")

    def _say(self, sentence: str) -> None:
        self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)
