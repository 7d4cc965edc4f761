"""The commands that need the server's package: ``bascule serve`` and ``bascule inspect``."""
