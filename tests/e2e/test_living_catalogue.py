"""Items come and go while real servers serve: every worker knows within a second, and nothing acknowledged is lost."""

import asyncio
import math
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import polars as pl
import pytest
from google.protobuf import json_format

from bascule import (
    AnyOf,
    BasculeError,
    CatalogueClient,
    Client,
    FeatureValue,
    InternalError,
    InvalidRequestError,
    LimitExceededError,
    NotFoundError,
    PreconditionError,
    Query,
    UnavailableError,
)
from bascule.v1.artifact_pb2 import Manifest
from bascule.v1.catalogue_service_pb2 import CatalogueChange, CatalogueItem
from bascule.v1.recommendation_service_pb2 import FeatureValue as FeatureValueMessage
from bascule_server.artifact import file_names
from bascule_server.living import compaction, log, service
from bascule_server.living.log import NAME, CatalogueLog
from bascule_server.living.log_format import Record, encoded
from bascule_server.versions.copies import PrivateCopies
from bascule_server.versions.models_folder import ModelsFolder

PATIENCE_SECONDS = 30.0
CONNECTIONS = 16


@pytest.fixture
def own_models(models_root: Path, tmp_path: Path) -> Path:
    """Models of one test's own, beside which it may have a log."""
    return Path(shutil.copytree(models_root, tmp_path / "models"))


@pytest.fixture
def living(serve: Any, own_models: Path, tmp_path: Path, free_port: int) -> Callable[..., Any]:
    """Starts a server whose catalogue may change, always at the same ports."""

    def start(workers: int = 1) -> Any:
        config = tmp_path / "server.toml"
        config.write_text(f'catalogue_listen = "127.0.0.1:{free_port}"\n')
        return serve(models=own_models, config=config, workers=workers)

    return start


def until(is_so: Callable[[], bool]) -> float:
    """How many seconds it took to be so; fails where it does not come to that."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() < began + PATIENCE_SECONDS
    return time.monotonic() - began


def values_like(models: Path, item_id: str) -> dict[str, Any]:
    items = pl.read_parquet(next(models.glob(f"*/*/{file_names.ITEMS}")))
    (found,) = items.filter(pl.col("item_id") == item_id).to_dicts()
    return {"genres": found["genres"], "year": float(found["year"]), "title": "brand new"}


def test_a_new_item_is_recommended_by_every_worker_to_those_who_like_its_neighbours(
    living: Any, own_models: Path, free_port: int
) -> None:
    serving = living(workers=2)
    address = f"127.0.0.1:{serving.port()}"
    until(lambda: serving.count("serving") == 2)
    with Client(address, connections=CONNECTIONS) as client, CatalogueClient(f"127.0.0.1:{free_port}") as catalogue:
        revision = catalogue.upsert({"cold": values_like(own_models, "i1")})

        def all_know() -> bool:
            answers = [client.recommend("u1") for _ in range(2 * CONNECTIONS)]
            return all(each.catalogue_revision >= revision for each in answers)

        print(f"served by both workers after {until(all_know):.2f} s")  # noqa: T201 - shown with -s
        # Those most like it, and those least.
        alike = client.recommend(item_id="cold", count=200).item_ids
        for _ in range(2 * CONNECTIONS):
            fans, others = (client.recommend(history=had, count=200).item_ids for had in (alike[:10], alike[-10:]))
            assert fans.index("cold") < others.index("cold")
        only = client.recommend(history=alike[:10], filters=[AnyOf("title", ["brand new"])], attributes=["title"])
        assert (only.item_ids, only.attributes) == (["cold"], [{"title": "brand new"}])
        assert catalogue.retire(["cold", "nothing"]).unknown_item_ids[-1:] == ("nothing",)
        until(lambda: all("cold" not in client.recommend(item_id="i1", count=1_000).item_ids for _ in range(32)))


def test_a_caller_waits_for_its_own_write_in_every_way_to_ask(living: Any, free_port: int) -> None:
    serving = living()
    with (
        Client(f"127.0.0.1:{serving.port()}") as client,
        CatalogueClient(f"127.0.0.1:{free_port}") as catalogue,
    ):
        revision = catalogue.upsert({"new": {"genres": ["Drama"], "year": 1990}})
        until(lambda: client.recommend("u1").catalogue_revision >= revision)
        query = Query(history=["i1", "i2"])
        alone = client.recommend(history=["i1", "i2"], count=1_000)
        (in_batch,) = client.recommend_many([query], count=1_000)
        (in_stream,) = client.stream([query], count=1_000)
        assert "new" in alone.item_ids
        for other in (in_batch, in_stream):
            assert not isinstance(other, BasculeError)
            assert (other.item_ids, other.catalogue_revision) == (alone.item_ids, revision)
        assert client.score(["new"], history=["i1", "i2"])[0] == alone.scores[alone.item_ids.index("new")]
        assert len(client.recommend(item_id="new").item_ids) == 10
        state = catalogue.state()
        assert (state.revision, state.log_revision, state.upserted_count, state.item_count) == (1, 1, 1, 121)
        assert state.last_change is not None


def test_changes_outlive_the_server(living: Any, free_port: int) -> None:
    serving = living()
    serving.port()
    with CatalogueClient(f"127.0.0.1:{free_port}") as catalogue:
        catalogue.upsert({"new": {"year": 1990}})
        catalogue.retire(["i1", "i2"])
    serving.process.send_signal(signal.SIGTERM)
    assert serving.ended() == 0
    again = living()
    with Client(f"127.0.0.1:{again.port()}") as client:
        ranking = client.recommend(history=["i3"], count=1_000)
        assert ranking.catalogue_revision == 2
        assert "new" in ranking.item_ids
        assert not {"i1", "i2"} & set(ranking.item_ids)


def test_a_server_that_is_killed_while_it_is_written_to_loses_nothing_that_it_acknowledged(
    living: Any, own_models: Path, free_port: int
) -> None:
    acknowledged: list[int] = []
    for _ in range(3):
        serving = living(workers=2)
        serving.port()
        until(lambda: serving.count("listening") == 2)  # noqa: B023 - asked at once
        stopped = threading.Event()

        def write() -> None:
            with CatalogueClient(f"127.0.0.1:{free_port}", timeout=PATIENCE_SECONDS) as catalogue:
                while not stopped.is_set():  # noqa: B023 - joined below
                    number = len(acknowledged)
                    try:
                        catalogue.upsert({f"new-{number}": {"year": 1990}})
                    except BasculeError:
                        return
                    acknowledged.append(number)

        writing = threading.Thread(target=write)
        before = len(acknowledged)
        writing.start()
        until(lambda: len(acknowledged) >= before + 20)  # noqa: B023 - asked at once
        children = Path(f"/proc/{serving.process.pid}/task/{serving.process.pid}/children").read_text().split()
        for pid in (serving.process.pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        stopped.set()
        writing.join()
    assert len(CatalogueLog(own_models / "tiny" / NAME).read()) >= len(acknowledged)
    again = living()
    with Client(f"127.0.0.1:{again.port()}") as client:
        for start in range(0, len(acknowledged), 1_000):
            scores = client.score([f"new-{number}" for number in acknowledged[start : start + 1_000]], history=["i1"])
            assert not any(score != score for score in scores)


def published_in(models: Path) -> ModelsFolder:
    return ModelsFolder(models, PrivateCopies(models.parent / "copies"))


@pytest.fixture
async def catalogue(serve_in_process: Any, own_models: Path) -> AsyncIterator[CatalogueClient]:
    """Asks a server in this process, in threads."""
    async with serve_in_process(published_in(own_models), catalogue_listen="127.0.0.1:0") as served:
        with CatalogueClient(f"127.0.0.1:{served.server.operator_ports['catalogue_listen']}") as client:
            await asyncio.to_thread(until, partial(is_ready, client))
            yield client


def is_ready(catalogue: CatalogueClient) -> bool:
    try:
        catalogue.state()
    except UnavailableError:
        return False
    return True


WRONG: list[tuple[dict[str, dict[str, FeatureValue]], str, str]] = [
    ({}, "items", "got 0; expected 1 to 1,000"),
    ({f"i{number}": {} for number in range(1_001)}, "items", "got 1,001; expected 1 to 1,000"),
    ({"": {}}, "items[0].item_id", "got none; expected 1 to 256 bytes"),
    ({"a": {}, "b" * 257: {}}, "items[1].item_id", "got 257 bytes; expected at most 256"),
    (
        {"a": {"colour": "red"}},
        'items[0].values["colour"]',
        'got "colour"; expected a declared feature or attribute of items: genres, released, title, year',
    ),
    ({"a": {"year": "late"}}, 'items[0].values["year"]', "got category; expected number"),
    ({"a": {"year": math.nan}}, 'items[0].values["year"]', "got nan; expected a finite number"),
    ({"a": {"genres": ["x"] * 257}}, 'items[0].values["genres"].categories.values', "got 257; expected at most 256"),
]


async def test_one_item_that_the_model_does_not_declare_keeps_all_out(catalogue: CatalogueClient) -> None:
    for items, path, violation in WRONG:
        with pytest.raises(InvalidRequestError) as caught:
            await asyncio.to_thread(catalogue.upsert, items)
        (found,) = caught.value.violations
        assert (found.field, found.description) == (path, violation)
    assert (await asyncio.to_thread(catalogue.state)).log_revision == 0


async def test_ids_that_are_none_are_refused(catalogue: CatalogueClient) -> None:
    with pytest.raises(InvalidRequestError, match="item_ids: got 0; expected 1 to 1,000"):
        await asyncio.to_thread(catalogue.retire, [])
    with pytest.raises(InvalidRequestError, match=r"item_ids\[1\]: got none; expected 1 to 256 bytes"):
        await asyncio.to_thread(catalogue.retire, ["a", ""])


async def test_more_items_than_may_come_are_refused(
    catalogue: CatalogueClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MAX_UPSERTED", 3)
    assert await asyncio.to_thread(catalogue.upsert, {"a": {}, "b": {}}) == 1
    await asyncio.to_thread(until, lambda: catalogue.state().upserted_count == 2)
    with pytest.raises(LimitExceededError) as caught:
        await asyncio.to_thread(catalogue.upsert, {"c": {}, "d": {}})
    assert caught.value.reason == "CATALOGUE_FULL"
    assert await asyncio.to_thread(catalogue.upsert, {"c": {}}) == 2


async def test_a_full_log_and_a_change_that_is_too_large_are_refused(
    catalogue: CatalogueClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(log, "MAX_FILE_BYTES", 40)
        with pytest.raises(LimitExceededError) as full:
            await asyncio.to_thread(catalogue.retire, ["i1"])
        assert full.value.reason == "LOG_FULL"
        patch.setattr(service, "MAX_PAYLOAD_BYTES", 10)
        with pytest.raises(InvalidRequestError, match=r"item_ids: got \d+ bytes; expected at most 10"):
            await asyncio.to_thread(catalogue.retire, ["i1"])
    assert (await asyncio.to_thread(catalogue.state)).log_revision == 0


async def test_a_log_that_cannot_be_written_fails_the_call_and_is_written_when_it_can_be(
    catalogue: CatalogueClient, own_models: Path
) -> None:
    (own_models / "tiny" / NAME).mkdir()
    with pytest.raises(UnavailableError) as caught:
        await asyncio.to_thread(catalogue.upsert, {"new": {}})
    assert caught.value.reason == "LOG_FAILED"
    assert caught.value.retry_after is not None
    assert 0.5 <= caught.value.retry_after <= 1.5
    (own_models / "tiny" / NAME).rmdir()
    assert await asyncio.to_thread(catalogue.upsert, {"new": {}}) == 1
    await asyncio.to_thread(until, lambda: catalogue.state().revision == 1)


async def test_what_a_version_leaves_out_of_an_older_log_is_counted(
    serve_in_process: Any, own_models: Path, free_port: int
) -> None:
    values = {"colour": FeatureValueMessage(category="red"), "year": FeatureValueMessage(number=1990)}
    change = CatalogueChange(upserted=[CatalogueItem(item_id="new", values=values)])
    CatalogueLog(own_models / "tiny" / NAME).append(change.SerializeToString())
    fields = {"catalogue_listen": "127.0.0.1:0", "metrics_listen": f"127.0.0.1:{free_port}"}
    async with serve_in_process(published_in(own_models), **fields) as served:
        with CatalogueClient(f"127.0.0.1:{served.server.operator_ports['catalogue_listen']}") as client:
            await asyncio.to_thread(until, partial(is_ready, client))
            state = await asyncio.to_thread(client.state)
        page = await asyncio.to_thread(lambda: urlopen(f"http://127.0.0.1:{free_port}/metrics").read().decode())
    assert (state.upserted_count, state.left_out_value_count, state.unplaced_count) == (1, 1, 0)
    assert 'bascule_catalogue_left_out_values{model="tiny"} 1.0' in page
    assert 'bascule_catalogue_revision{model="tiny"} 1.0' in page


@pytest.mark.parametrize("timeout", [0, -0.5, float("nan")])
def test_a_client_without_time_is_not_made(timeout: float) -> None:
    with pytest.raises(ValueError, match=f"timeout is more than 0 seconds; got {timeout:g}"):
        CatalogueClient("127.0.0.1:1", timeout=timeout)


def test_a_model_that_is_not_there_is_not_found(living: Any, free_port: int) -> None:
    living().port()
    with CatalogueClient(f"127.0.0.1:{free_port}", model="other") as catalogue:
        with pytest.raises(NotFoundError) as caught:
            catalogue.state()
        assert caught.value.reason == "MODEL_NOT_FOUND"


def test_without_an_item_tower_items_that_training_saw_may_change_and_no_others_come(
    living: Any, own_models: Path, free_port: int
) -> None:
    folder = own_models / "tiny" / "1"
    manifest = json_format.Parse((folder / file_names.MANIFEST).read_text(), Manifest())
    kept = [file for file in manifest.files if not file.path.startswith("item_tower")]
    del manifest.files[:]
    manifest.files.extend(kept)
    (folder / file_names.ITEM_TOWER_LITERT).unlink()
    shutil.rmtree(folder / file_names.ITEM_TOWER_SAVED_MODEL)
    (folder / file_names.MANIFEST).write_text(json_format.MessageToJson(manifest))
    living().port()
    with CatalogueClient(f"127.0.0.1:{free_port}") as catalogue:
        assert catalogue.upsert({"i1": {"title": "renamed"}}) == 1
        with pytest.raises(PreconditionError) as caught:
            catalogue.upsert({"i1": {}, "new": {}})
        assert caught.value.reason == "NO_ITEM_TOWER"


def test_a_damaged_log_is_told_of_and_what_was_served_goes_on(living: Any, own_models: Path, free_port: int) -> None:
    path = own_models / "tiny" / NAME
    serving = living()
    address = f"127.0.0.1:{serving.port()}"
    with CatalogueClient(f"127.0.0.1:{free_port}") as catalogue, Client(address) as client:
        catalogue.upsert({"new": {"year": 1990}})
        until(lambda: client.recommend("u1").catalogue_revision == 1)
        with path.open("ab") as file:
            file.write(b"rubbish" * 10 + encoded(Record(2, b"whole")))
        until(lambda: catalogue.state().log_is_damaged)
        with pytest.raises(InternalError) as caught:
            catalogue.upsert({"more": {}})
        assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.DATA_LOSS, "LOG_DAMAGED")
        assert "new" in client.recommend(history=["i1"], count=1_000).item_ids


def test_a_log_that_cannot_be_read_stops_the_start_with_one_sentence(living: Any, own_models: Path) -> None:
    (own_models / "tiny" / NAME).mkdir()
    refused = living()
    assert refused.ended() == 2
    assert "catalogue.log: cannot be read" in refused.sentences[-1]


def test_a_file_that_is_no_log_stops_the_start_with_one_sentence_and_is_left_as_it_is(
    living: Any, own_models: Path
) -> None:
    path = own_models / "tiny" / NAME
    path.write_text("a note to myself")
    refused = living()
    assert refused.ended() == 2
    assert "catalogue.log: got a file that is no log of a catalogue" in refused.sentences[-1]
    assert path.read_text() == "a note to myself"


async def test_a_log_of_much_that_is_superseded_is_compacted_while_it_is_served(
    catalogue: CatalogueClient, own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "MIN_BYTES", 2_000)
    path = own_models / "tiny" / NAME
    sizes = []
    for number in range(100):
        await asyncio.to_thread(catalogue.upsert, {f"new-{number % 3}": {"year": number}})
        sizes.append(path.stat().st_size)
    await asyncio.to_thread(until, lambda: catalogue.state().revision == 100)
    state = await asyncio.to_thread(catalogue.state)
    assert (state.log_revision, state.upserted_count, state.log_is_damaged) == (100, 3, False)
    await asyncio.to_thread(until, lambda: path.stat().st_size < 100 * sizes[0] / 2)
    assert CatalogueLog(path).read()[-1].revision > 1


def test_the_code_of_the_page_runs(living: Any, free_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "catalogue.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    port = living().port()
    exec(code.replace("127.0.0.1:50053", f"127.0.0.1:{free_port}").replace("127.0.0.1:50051", f"127.0.0.1:{port}"), {})
    neighbours, state = capsys.readouterr().out.splitlines()
    assert neighbours.startswith("['i")
    assert "item_count=120" in state
