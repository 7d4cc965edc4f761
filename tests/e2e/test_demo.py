"""The demo does what the README says. It trains a model, so it belongs to the slow tests."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_the_demo_ends_well_with_a_model_that_beats_popularity_and_item_knn() -> None:
    """Writes to ``data/`` and ``models/`` of this checkout, as for anybody who runs it."""
    result = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo.py")], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    last = result.stdout.strip().splitlines()[-1]
    found = re.fullmatch(r"demo: ok, [\d,]+ users/s through the stream, NDCG@10 (0\.\d{4})", last)
    assert found, last
    published = re.search(r"^published (.+)$", result.stdout, re.MULTILINE)
    assert published, result.stdout
    metrics = json.loads((ROOT / published[1] / "metrics.json").read_text())
    model, popularity, item_knn = (metrics[name]["ndcg@10"] for name in (*list(metrics)[:1], "popularity", "item-kNN"))
    assert float(found[1]) == pytest.approx(model, abs=1e-4)
    assert model > max(popularity, item_knn)
