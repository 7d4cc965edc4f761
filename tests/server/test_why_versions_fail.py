"""A version that cannot be loaded says why: one reason for each cause, with its fixed text, and no path and no file."""

import asyncio
import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fixed_versions import FixedVersions
from structlog.testing import capture_logs

from bascule import AsyncClient, BasculeError, Client, ModelState
from bascule.standard_protos import error_details_pb2
from bascule_server.artifact import file_names
from bascule_server.artifact.reading import MAX_MANIFEST_BYTES, ArtifactError, read_manifest, sha256, verify
from bascule_server.artifact.signature import sign
from bascule_server.errors import Reason, ServiceError, to_status
from bascule_server.living.catalogues import LivingCatalogues
from bascule_server.living.log import NAME as CATALOGUE_LOG
from bascule_server.models import Models
from bascule_server.scoring.golden import read_golden, write_golden
from bascule_server.servable import ServableVersion
from bascule_server.versions import copies
from bascule_server.versions.copies import PrivateCopies
from bascule_server.versions.models_folder import ModelsFolder
from bascule_server.versions.watcher import Source, Watcher

KEY, OTHER_KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()

Make: TypeAlias = Callable[[Path], object]


def rewritten(folder: Path, name: str, content: bytes) -> None:
    """Puts another file into its place, in the manifest too."""
    (folder / name).write_bytes(content)
    described = {"size_bytes": str(len(content)), "sha256": sha256(folder / name)}
    with_manifest(folder, lambda fields: [each.update(described) for each in fields["files"] if each["path"] == name])


def with_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / file_names.MANIFEST
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def a_bit_of_a_file_differs(folder: Path) -> None:
    content = bytearray((folder / file_names.ITEM_VECTORS).read_bytes())
    content[-1] ^= 1
    (folder / file_names.ITEM_VECTORS).write_bytes(content)


def a_file_is_shorter(folder: Path) -> None:
    os.truncate(folder / file_names.ITEM_VECTORS, 100)


def a_file_is_missing(folder: Path) -> None:
    (folder / file_names.ITEM_VECTORS).unlink()


def a_file_is_too_many(folder: Path) -> None:
    (folder / "further").touch()


def a_file_is_a_link(folder: Path) -> None:
    (folder / file_names.ITEM_VECTORS).rename(folder.parent / "vectors")
    (folder / file_names.ITEM_VECTORS).symlink_to(folder.parent / "vectors")


def a_whole_file_holds_something_else(folder: Path) -> None:
    rewritten(folder, file_names.ITEMS, b"no table")


def the_query_tower_is_none(folder: Path) -> None:
    rewritten(folder, file_names.QUERY_TOWER_LITERT, b"no tower")


def the_manifest_is_none(folder: Path) -> None:
    (folder / file_names.MANIFEST).write_text("{")


def the_manifest_is_too_large(folder: Path) -> None:
    (folder / file_names.MANIFEST).write_bytes(b" " * (MAX_MANIFEST_BYTES + 1))


def a_number_in_the_manifest_is_out_of_bounds(folder: Path) -> None:
    with_manifest(folder, lambda fields: fields.update(dimension=1_000_000))


def the_manifest_is_of_another_version(folder: Path) -> None:
    with_manifest(folder, lambda fields: fields.update(version="2"))


def a_newer_release_wrote_it(folder: Path) -> None:
    with_manifest(folder, lambda fields: fields.update(schema_version=2))


def a_feature_is_of_a_kind_that_is_not_known(folder: Path) -> None:
    with_manifest(folder, lambda fields: fields["query_features"].append({"name": "smell", "scent": {}}))


def training_computed_something_else(folder: Path) -> None:
    golden = read_golden(folder)
    write_golden(folder / file_names.GOLDEN, replace(golden, vectors=-golden.vectors))
    rewritten(folder, file_names.GOLDEN, (folder / file_names.GOLDEN).read_bytes())


def the_catalogue_log_is_none(folder: Path) -> None:
    (folder.parent / CATALOGUE_LOG).write_bytes(b"x" * 4_096)


CAUSES: list[tuple[Make, Reason]] = [
    (a_bit_of_a_file_differs, Reason.FILE_DAMAGED),
    (a_file_is_shorter, Reason.FILE_DAMAGED),
    (a_file_is_missing, Reason.FILE_MISSING),
    (a_file_is_too_many, Reason.FILE_MISSING),
    (a_file_is_a_link, Reason.FILE_MISSING),
    (a_whole_file_holds_something_else, Reason.FILE_INVALID),
    (the_query_tower_is_none, Reason.FILE_INVALID),
    (the_manifest_is_none, Reason.MANIFEST_INVALID),
    (the_manifest_is_too_large, Reason.MANIFEST_INVALID),
    (a_number_in_the_manifest_is_out_of_bounds, Reason.MANIFEST_INVALID),
    (the_manifest_is_of_another_version, Reason.MANIFEST_INVALID),
    (a_newer_release_wrote_it, Reason.FORMAT_UNSUPPORTED),
    (a_feature_is_of_a_kind_that_is_not_known, Reason.FORMAT_UNSUPPORTED),
    (training_computed_something_else, Reason.GOLDEN_DIFFERS),
    (the_catalogue_log_is_none, Reason.LOG_DAMAGED),
]


@dataclass
class Desk:
    """A published version that one may damage, and what becomes of it."""

    folder: Path
    copies: Path

    async def failed(self, source: Source | None = None, publishers: Any = ()) -> ServiceError:
        """Why it cannot be loaded, as callers are told, after the log has said the same."""
        source = source or ModelsFolder(self.folder.parent.parent, PrivateCopies(self.copies), publishers)
        models = Models()
        with ThreadPoolExecutor(1) as loader, capture_logs() as lines:
            await Watcher(source, models, loader, LivingCatalogues(models, lambda *_: None)).look()
        (known,) = models.known()
        assert known.error is not None
        (line,) = [line for line in lines if line["event"] == "version failed"]
        assert line["reason"] == known.error.reason.name
        return known.error


@pytest.fixture
def desk(artifact_folder: Path, tmp_path: Path) -> Desk:
    folder = shutil.copytree(artifact_folder, tmp_path / "models" / "tiny" / "1")
    return Desk(Path(folder), tmp_path / "copies")


@pytest.mark.parametrize(("make", "reason"), CAUSES, ids=lambda given: getattr(given, "__name__", ""))
async def test_each_cause_has_its_reason(desk: Desk, make: Make, reason: Reason) -> None:
    make(desk.folder)
    error = await desk.failed()
    assert error.reason is reason
    status = to_status(error)
    assert status.message == reason.text
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, dict(info.metadata)) == (reason.name, {})
    assert len(status.details) == 1


async def test_what_nobody_signed_and_what_a_stranger_signed_differ(desk: Desk) -> None:
    assert (await desk.failed(publishers=[KEY.public_key()])).reason is Reason.NOT_SIGNED
    sign(desk.folder, OTHER_KEY)
    assert (await desk.failed(publishers=[KEY.public_key()])).reason is Reason.SIGNATURE_WRONG
    (desk.folder / file_names.SIGNATURE).write_bytes(b"short")
    assert (await desk.failed(publishers=[KEY.public_key()])).reason is Reason.SIGNATURE_WRONG


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.ENOSPC, Reason.NO_ROOM),
        (errno.EDQUOT, Reason.NO_ROOM),
        (errno.EMFILE, Reason.NO_ROOM),
        (errno.EROFS, Reason.LOAD_FAILED),
    ],
)
async def test_a_copy_for_which_there_is_no_room_differs_from_one_that_cannot_be_made(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, number: int, reason: Reason
) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(copies, "_copy_file", refused)
    assert (await desk.failed()).reason is reason


async def test_a_file_that_may_not_be_read_is_as_good_as_missing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    path = desk.folder / file_names.ITEM_VECTORS

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(copies, "_copy_file", refused)
    assert (await desk.failed()).reason is Reason.FILE_MISSING


@pytest.mark.parametrize(("raised", "reason"), [(MemoryError, Reason.NO_ROOM), (KeyError, Reason.LOAD_FAILED)])
async def test_what_nobody_foresaw_has_the_id_of_its_line_in_the_log(
    desk: Desk, raised: type[Exception], reason: Reason
) -> None:
    def load(_: Path) -> ServableVersion:
        raise raised("a secret")

    with capture_logs():
        error = await desk.failed(FixedVersions([desk.folder], load))
    assert error.reason is reason
    assert set(error.metadata) == {"error_id"}
    assert "secret" not in str(to_status(error))


def test_a_file_that_changes_while_it_is_loaded_has_a_reason_of_its_own(desk: Desk) -> None:
    verified = verify(desk.folder, read_manifest(desk.folder))
    a_bit_of_a_file_differs(desk.folder)
    with pytest.raises(ArtifactError) as caught:
        verified.check()
    assert caught.value.reason is Reason.FILE_CHANGED


@pytest.fixture
async def failing_server(serve_in_process: Any, desk: Desk) -> AsyncIterator[str]:
    """The address of a server with a version that serves, named last, and one that is damaged."""
    damaged = desk.folder.with_name("2")
    shutil.copytree(desk.folder, damaged)
    with_manifest(damaged, lambda fields: fields.update(version="2"))
    a_bit_of_a_file_differs(damaged)
    async with serve_in_process(ModelsFolder(desk.folder.parent.parent, PrivateCopies(desk.copies))) as served:
        async with AsyncClient(f"127.0.0.1:{served.port}") as client:
            await client.wait_ready()
        yield f"127.0.0.1:{served.port}"


async def test_both_clients_tell_why_a_version_failed(failing_server: str) -> None:
    def listed() -> Any:
        with Client(failing_server) as client:
            return client.models()

    async with AsyncClient(failing_server) as client:
        for models in (await client.models(), await asyncio.to_thread(listed)):
            served, failed = models
            assert (served.version, served.state, served.error) == (1, ModelState.SERVING, None)
            assert (failed.version, failed.state) == (2, ModelState.FAILED)
            assert isinstance(failed.error, BasculeError)
            assert (failed.error.reason, failed.error.message) == ("FILE_DAMAGED", Reason.FILE_DAMAGED.text)


async def test_the_command_prints_why_a_version_failed(failing_server: str) -> None:
    command = [sys.executable, "-m", "bascule", "models", "--server", failing_server]
    environment = {**os.environ, "COLUMNS": "400"}
    run = asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True, env=environment)
    said = (await run).stdout
    assert f"failed: FILE_DAMAGED: {Reason.FILE_DAMAGED.text}" in said


def test_the_definitions_name_every_reason() -> None:
    definitions = Path(__file__).parents[2] / "protos" / "bascule" / "v1" / "model_service.proto"
    named = set(re.findall(r"`([A-Z]+_[A-Z]+)`", definitions.read_text()))
    elsewhere = {Reason.NOT_SIGNED, Reason.SIGNATURE_WRONG, Reason.NO_ROOM, Reason.FILE_CHANGED, Reason.LOAD_FAILED}
    assert {reason.name for reason in {reason for _, reason in CAUSES} | elsewhere} <= named
