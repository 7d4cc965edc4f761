"""A server process with workers, certificates, callers and a publisher, and the commands that ask it."""

import hashlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bascule import CatalogueClient, Client, LimitExceededError
from bascule.cli import bascule
from bascule_server.artifact.signature import read_private_key, sign

KEY = "k" * 43


@pytest.fixture
def signed_models(models_root: Path, tmp_path: Path) -> Path:
    """A copy of the models, signed, beside the keys of their publisher."""
    key = Ed25519PrivateKey.generate()
    (tmp_path / "publisher.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "publisher.pem").write_bytes(public)
    models = tmp_path / "models"
    shutil.copytree(models_root / "tiny" / "1", models / "tiny" / "1")
    sign(models / "tiny" / "1", read_private_key(tmp_path / "publisher.key"))
    return models


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of a server that asks callers for certificates and keys, and models for a signature."""
    authority = trustme.CA()
    issued, own = authority.issue_cert("127.0.0.1"), authority.issue_cert("shell.example")
    (tmp_path / "authority.pem").write_bytes(authority.cert_pem.bytes())
    (tmp_path / "certificate.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (tmp_path / "key.pem").write_bytes(issued.private_key_pem.bytes())
    (tmp_path / "own.pem").write_bytes(own.private_key_and_cert_chain_pem.bytes())
    (tmp_path / "token").write_text(f"{KEY}\n")
    (tmp_path / "wrong").write_text("wrong")
    (tmp_path / "callers.toml").write_text(f"""
[key]
keys = ["sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"]
methods = ["RecommendItems", "ListModels", "StreamRecommendItems"]
models = ["tiny"]

[certificate]
certificates = ["shell.example"]
methods = ["ListModels"]
models = ["tiny"]
""")
    path = tmp_path / "server.toml"
    path.write_text(f"""
certificate = "{tmp_path}/certificate.pem"
private_key = "{tmp_path}/key.pem"
client_authority = "{tmp_path}/authority.pem"
publishers = ["{tmp_path}/publisher.pem"]
[authentication]
callers = "{tmp_path}/callers.toml"
""")
    return path


def until(is_so: Callable[[], bool]) -> None:
    """Returns when it is so; fails where it does not come to that."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline


def run(*arguments: object) -> Any:
    return CliRunner().invoke(bascule, [str(argument) for argument in arguments])


@pytest.mark.parametrize("workers", [1, 2])
def test_the_commands_reach_a_server_that_asks_for_everything(
    serve: Any, signed_models: Path, config: Path, tmp_path: Path, workers: int
) -> None:
    serving = serve(models=signed_models, config=config, workers=workers)
    server = ["--server", f"127.0.0.1:{serving.port()}"]
    over_tls = [*server, "--ca", tmp_path / "authority.pem", "--certificate", tmp_path / "own.pem"]
    with_key = [*over_tls, "--token-file", tmp_path / "token"]
    assert run("health", *over_tls).output == "SERVING\n"
    assert run("health", *server, "--ca", tmp_path / "authority.pem").exit_code == 1
    assert "tiny" in run("models", *over_tls).output
    denied = run("recommend", "--user", "u1", *over_tls)
    assert (denied.exit_code, "METHOD_NOT_ALLOWED" in denied.output) == (2, True)
    unknown = run("recommend", "--user", "u1", *over_tls, "--token-file", tmp_path / "wrong")
    assert (unknown.exit_code, "UNAUTHENTICATED" in unknown.output) == (2, True)
    assert run("recommend", "--user", "u1", *with_key).exit_code == 0
    (tmp_path / "users.csv").write_text("user_id\nu1\nu2\n")
    scored = run("score", tmp_path / "users.csv", "--out", tmp_path / "out.csv", *with_key)
    assert (scored.exit_code, len((tmp_path / "out.csv").read_text().splitlines())) == (0, 3)


def test_changes_of_the_catalogue_count_each_item_in_the_quota(
    serve: Any, signed_models: Path, free_port: int, tmp_path: Path
) -> None:
    (tmp_path / "callers.toml").write_text(f"""
[editor]
keys = ["sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"]
methods = ["RetireItems", "GetCatalogue"]
models = ["tiny"]
rows_per_second = 0.001
burst_rows = 4
""")
    path = tmp_path / "plain.toml"
    path.write_text(
        f'catalogue_listen = "127.0.0.1:{free_port}"\n[authentication]\ncallers = "{tmp_path}/callers.toml"\n'
    )
    serve(models=signed_models, config=path).port()
    with CatalogueClient(f"127.0.0.1:{free_port}", token=KEY) as editor:
        assert editor.retire(["a", "b", "c"]).unknown_item_ids == ("a", "b", "c")
        with pytest.raises(LimitExceededError, match="QUOTA_EXCEEDED"):
            editor.retire(["a", "b"])
        assert editor.state().model == "tiny"
        with pytest.raises(LimitExceededError):
            editor.state()


def test_a_server_with_publishers_does_not_start_with_what_none_of_them_signed(
    serve: Any, signed_models: Path, config: Path
) -> None:
    (signed_models / "tiny" / "1" / "manifest.sig").write_bytes(bytes(64))
    serving = serve(models=signed_models, config=config)
    assert serving.ended() == 2
    assert "manifest.sig is the signature of none of the 1 known publishers" in serving.sentences[-1]


def test_a_version_that_comes_later_serves_when_it_is_signed_and_not_before(
    serve: Any, signed_models: Path, tmp_path: Path
) -> None:
    path = tmp_path / "plain.toml"
    path.write_text(f'publishers = ["{tmp_path}/publisher.pem"]\n')
    serving = serve(models=signed_models, config=path)
    with Client(f"127.0.0.1:{serving.port()}") as client:
        newer = shutil.copytree(signed_models / "tiny" / "1", tmp_path / "tiny" / "2")
        manifest = newer / "manifest.json"
        manifest.write_text(manifest.read_text().replace('"version": "1"', '"version": "2"'))
        newer.rename(signed_models / "tiny" / "2")
        until(lambda: serving.count("version failed") == 1)
        assert client.recommend("u1").version == 1
        sign(signed_models / "tiny" / "2", read_private_key(tmp_path / "publisher.key"))
        until(lambda: client.recommend("u1").version == 2)
    (failed,) = (line["why"] for line in serving.log if line["event"] == "version failed")
    assert "manifest.sig is the signature of none of the 1 known publishers" in failed


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_cannot_be_used_stops_the_start_in_one_sentence(
    serve: Any, signed_models: Path, config: Path, tmp_path: Path, workers: int
) -> None:
    (tmp_path / "callers.toml").write_text("[shop]\nmethods = []\n")
    serving = serve(models=signed_models, config=config, workers=workers)
    assert serving.ended() == 2
    assert serving.sentences[-1].startswith("Error: callers: shop.methods: ")


def test_a_token_in_plain_text_leaves_no_machine_from_the_commands_either(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t")
    result = run("health", "--server", "example.org:1", "--token-file", tmp_path / "token")
    assert (result.exit_code, "encrypted connection" in result.output) == (2, True)
