"""Whatever bytes come over the wire, the caller gets an answer that keeps its contract or an error of the caller's own.

What is fuzzed is in ``fuzz_wire``. An input that fails is shown, to become a test of its own.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fault.wire_seeds import SERVICES, methods_of

TESTS = Path(__file__).parents[1]
SECONDS = 45
PATIENCE_SECONDS = 240.0

UNANSWERED = {"RollBack"}
"""Without an older version, none is rolled back to."""


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("which", SERVICES)
def test_no_bytes_get_anything_but_an_answer_or_an_error_that_a_caller_may_cause(
    models_root: Path, tmp_path: Path, which: str
) -> None:
    pytest.importorskip("atheris", reason="there is no atheris for this Python or machine")
    models, corpus, outcomes = tmp_path / "models", tmp_path / "corpus", tmp_path / "outcomes.json"
    shutil.copytree(models_root, models)
    corpus.mkdir()
    options = [f"-max_total_time={SECONDS}", "-max_len=4096", "-timeout=30", "-rss_limit_mb=4096"]
    # What numpy warns of is a number that nobody foresaw.
    command = [
        sys.executable,
        "-W",
        "error::RuntimeWarning",
        "-m",
        "fault.fuzz_wire",
        which,
        models,
        corpus,
        outcomes,
        *options,
    ]
    fuzzing = subprocess.run(
        [*map(str, command), f"-artifact_prefix={tmp_path}/"],
        cwd=TESTS,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    inputs = [path.read_bytes() for pattern in ("crash-*", "timeout-*", "oom-*") for path in tmp_path.glob(pattern)]
    assert fuzzing.returncode == 0, f"inputs {inputs}\n{fuzzing.stderr[-8_000:]}"
    counts: dict[str, int] = json.loads(outcomes.read_text())
    (runs,) = re.findall(r"Done (\d+) runs", fuzzing.stderr)
    covered = re.findall(r"cov: (\d+)", fuzzing.stderr)
    answered = {name.removesuffix(": OK"): count for name, count in counts.items() if name.endswith(": OK")}
    print(
        f"\n{which}: {runs} inputs in {SECONDS} s, {sum(answered.values())} of them answered, the others refused; "
        f"from {covered[0]} branches at the beginning to {covered[-1]}"
    )
    # Else little is tried.
    assert {method.name for method in methods_of(which)} - UNANSWERED <= set(answered)
