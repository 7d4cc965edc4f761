"""Where the model of the serving benchmarks lies, and has it written unless it is there.

It is kept below benchmarks/out/serving, by its number of items and by the code that draws it; remove that at will.
"""

import hashlib
import sys
from pathlib import Path
from typing import NamedTuple

from figures import OUT
from serving_child import printed
from serving_weights import CLUSTERS

from bascule_server.artifact import file_names

ITEMS = 20_000
MODEL = "generated"
WRITER = Path(__file__).with_name("serving_artifact.py")
SOURCES = (WRITER, WRITER.with_name("serving_weights.py"))


class Generated(NamedTuple):
    """A model's folders."""

    models: Path
    """For ``bascule serve --models``."""
    weights: Path
    """The arrays of ``serving_weights.save_weights``."""

    @property
    def version(self) -> Path:
        """The folder of the artifact."""
        return self.models / MODEL / "1"

    @property
    def item_vectors(self) -> Path:
        """float32 [items, dimension]."""
        return self.version / file_names.ITEM_VECTORS


def generated(item_count: int = ITEMS) -> Generated:
    """The model with so many items."""
    assert item_count % CLUSTERS == 0, f"got {item_count} items; expected a multiple of {CLUSTERS}"
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()
    folder = OUT / "serving" / f"{item_count}-{digest[:8]}"
    found = Generated(folder / "models", folder / "weights")
    if not (found.version / file_names.MANIFEST).exists():
        printed([sys.executable, WRITER, found.models, found.weights, item_count])
    return found
