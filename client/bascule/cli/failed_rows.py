"""The side file that says which rows have no ranking, and why."""

from contextlib import ExitStack
from pathlib import Path

from bascule.cli.output_file import JsonLinesFile
from bascule.errors import BasculeError


class FailedRows:
    """Writes ``<out>.failed.jsonl``, if there is anything to write; enters the file into ``stack`` when there is."""

    def __init__(self, out: Path, stack: ExitStack) -> None:
        self.path = out.with_name(f"{out.name}.failed.jsonl")
        self.count = 0
        self._stack = stack
        self._file: JsonLinesFile | None = None

    def write(self, row_number: int, user_id: str, error: BasculeError) -> None:
        """Notes that the row, counted from 1, failed."""
        if self._file is None:
            self._file = self._stack.enter_context(JsonLinesFile(self.path))
        reason = error.reason or error.code.name
        self._file.write({"row": row_number, "user_id": user_id, "reason": reason, "message": error.message})
        self.count += 1

    def remove_stale(self) -> None:
        """Removes what an earlier run left, where this one has nothing to say."""
        if self._file is None:
            self.path.unlink(missing_ok=True)
