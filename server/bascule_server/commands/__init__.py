"""The commands that need the server's package: ``bascule serve``, ``bascule inspect`` and ``bascule sign``."""
