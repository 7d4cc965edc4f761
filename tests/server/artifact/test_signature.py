"""An artifact is served as it was signed, by a publisher who is known, or not at all."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule_server.artifact import file_names
from bascule_server.artifact.reading import ArtifactError
from bascule_server.artifact.signature import check_signature, read_private_key, read_publishers
from bascule_server.commands.inspect import inspect
from bascule_server.commands.sign import sign
from bascule_server.config import ConfigError
from bascule_server.servable import load_servable


class Publisher:
    """One with a key pair in files."""

    def __init__(self, folder: Path, name: str, key: Any = None) -> None:
        key = key or Ed25519PrivateKey.generate()
        self.private, self.public = folder / f"{name}.key", folder / f"{name}.pem"
        self.private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path, "publisher")


@pytest.fixture
def other(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path, "other")


@pytest.fixture
def copied(artifact_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(artifact_folder, tmp_path / "tiny" / "1"))


def run(command: Any, *arguments: object) -> Any:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_what_a_known_publisher_signed_is_loaded_and_what_another_did_is_not(
    copied: Path, publisher: Publisher, other: Publisher
) -> None:
    assert run(sign, copied, "--key", publisher.private).output == f"signed {copied}\n"
    assert load_servable(copied, read_publishers([other.public, publisher.public])).model == "tiny"
    with pytest.raises(ArtifactError, match="the signature of none of the 1 known publishers"):
        load_servable(copied, read_publishers([other.public]))
    assert load_servable(copied).model == "tiny", "whom nobody asks for a signature it is one file more"


def test_without_a_signature_nothing_is_loaded(copied: Path, publisher: Publisher) -> None:
    with pytest.raises(ArtifactError, match=r"no signature \(manifest\.sig\); sign it with `bascule sign`"):
        load_servable(copied, read_publishers([publisher.public]))


def test_a_manifest_that_changed_after_it_was_signed_is_not_even_parsed(copied: Path, publisher: Publisher) -> None:
    run(sign, copied, "--key", publisher.private)
    path = copied / file_names.MANIFEST
    path.write_bytes(path.read_bytes() + b"{")
    with pytest.raises(ArtifactError, match="the signature of none"):
        load_servable(copied, read_publishers([publisher.public]))


def test_files_are_bound_by_the_signed_manifest(copied: Path, publisher: Publisher) -> None:
    run(sign, copied, "--key", publisher.private)
    vectors = copied / file_names.ITEM_VECTORS
    content = bytearray(vectors.read_bytes())
    content[-1] ^= 1
    vectors.write_bytes(content)
    with pytest.raises(ArtifactError, match="damaged"):
        load_servable(copied, read_publishers([publisher.public]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(signature=st.binary(max_size=80))
def test_no_bytes_are_a_signature_by_accident(tmp_path: Path, signature: bytes) -> None:
    publisher = Ed25519PrivateKey.generate().public_key()
    (tmp_path / file_names.SIGNATURE).write_bytes(signature)
    with pytest.raises(ArtifactError):
        check_signature(tmp_path, b"{}", [publisher])


def test_a_damaged_artifact_is_not_signed(copied: Path, publisher: Publisher) -> None:
    (copied / file_names.GOLDEN).unlink()
    result = run(sign, copied, "--key", publisher.private)
    assert (result.exit_code, "golden.npz is missing" in result.output) == (2, True)
    assert not (copied / file_names.SIGNATURE).exists()


def test_a_signature_and_that_of_openssl_are_the_same(copied: Path, publisher: Publisher) -> None:
    by_openssl = copied.parent.parent / "by_openssl.sig"
    manifest = copied / file_names.MANIFEST
    files = {"-inkey": publisher.private, "-in": manifest, "-out": by_openssl}
    options = [text for option, path in files.items() for text in (option, str(path))]
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl")
    subprocess.run(["openssl", "pkeyutl", "-sign", "-rawin", *options], check=True)
    run(sign, copied, "--key", publisher.private)
    assert (copied / file_names.SIGNATURE).read_bytes() == by_openssl.read_bytes()


def test_inspect_checks_the_signature_and_says_so(copied: Path, publisher: Publisher, other: Publisher) -> None:
    run(sign, copied, "--key", publisher.private)
    result = run(inspect, copied, "--publisher", publisher.public)
    assert (result.exit_code, "the signature is one of the publishers'" in result.output) == (0, True)
    assert run(inspect, copied, "--publisher", other.public).exit_code == 1
    assert run(inspect, copied, "--publisher", copied / file_names.MANIFEST).exit_code == 2


def test_keys_of_another_kind_are_refused(tmp_path: Path, publisher: Publisher) -> None:
    elliptic = Publisher(tmp_path, "elliptic", ec.generate_private_key(ec.SECP256R1()))
    for read in (read_private_key, lambda path: read_publishers([path])):
        for path, complaint in (
            (elliptic.private if read is read_private_key else elliptic.public, "of another kind"),
            (publisher.public if read is read_private_key else publisher.private, "Ed25519 key"),
            (tmp_path / "absent", "cannot be read"),
        ):
            with pytest.raises(ConfigError, match=complaint):
                read(path)
