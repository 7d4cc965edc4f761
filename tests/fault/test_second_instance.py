"""A second server at the port of one that serves is refused at once, and the first one's callers notice nothing."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from fault.asking import plainly
from fault.oracle import Oracle
from fault.steady_load import SteadyLoad
from fault.waiting import until

CALLS_A_SECOND = 50.0
OTHERS = ((1, 2), (2, 1), (2, 2))
OPERATORS = ("catalogue_listen", "admin_listen", "metrics_listen")


@pytest.mark.parametrize(
    ("workers", "second_workers"), [(1, 1), *(pytest.param(*each, marks=pytest.mark.slow) for each in OTHERS)]
)
async def test_a_second_server_at_the_same_port_ends_at_once_with_status_2_and_no_call_fails(
    serve: Any, tiny_oracle: Oracle, workers: int, second_workers: int
) -> None:
    first = serve(workers=workers)
    address = f"127.0.0.1:{await asyncio.to_thread(first.port)}"
    await until(lambda: first.count("serving") == workers)
    async with plainly(address) as asker, SteadyLoad(asker, tiny_oracle).running(CALLS_A_SECOND) as load:
        await until(lambda: load.report.versions[1] > 50)
        began = time.monotonic()
        second = serve(listen=address, workers=second_workers)
        status = await asyncio.to_thread(second.ended)
        seconds = time.monotonic() - began
        seen = load.report.versions[1]
        await until(lambda: load.report.versions[1] > seen + 50)
    print(
        f"\n{second_workers} workers beside {workers}: refused {seconds:.2f} s after the start of the process; "
        f"{len(load.report.calls)} calls beside that, failed {dict(load.report.failed)}"
    )
    assert status == 2
    (sentence,) = second.sentences
    assert address in sentence
    assert "Address already in use" in sentence
    assert not load.report.failed
    assert not load.report.wrong


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("field", OPERATORS)
async def test_a_port_for_operators_that_is_taken_ends_the_start_with_status_2(
    serve: Any, tmp_path: Path, free_port: int, field: str, workers: int
) -> None:
    config = tmp_path / "server.toml"
    config.write_text(f"{field} = {json.dumps(f'127.0.0.1:{free_port}')}\n")
    first = serve(config=config, workers=1)
    await asyncio.to_thread(first.port)
    second = serve(config=config, workers=workers)
    assert await asyncio.to_thread(second.ended) == 2
    assert any(field in sentence and str(free_port) in sentence for sentence in second.sentences), second.sentences
    assert first.process.poll() is None
