"""Who published an artifact: an Ed25519 signature of its manifest, which names every other file by its digest.

The signature is of the bytes of ``manifest.json`` as they are, 64 bytes in ``manifest.sig``, so that any tool makes and
checks it: ``openssl pkeyutl -sign -inkey publisher.key -rawin -in manifest.json -out manifest.sig``.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bascule_server.artifact.file_names import MANIFEST, SIGNATURE
from bascule_server.artifact.reading import ArtifactError, read_bytes
from bascule_server.config import ConfigError
from bascule_server.errors import Reason

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


def read_publishers(paths: Sequence[Path]) -> "list[Ed25519PublicKey]":
    """The keys of those whose artifacts are served.

    Raises:
        ConfigError: a file cannot be read, or is no public Ed25519 key.
    """
    return [_read_publisher(path) for path in paths]


def _read_publisher(path: Path) -> "Ed25519PublicKey":
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"publishers: got {path}, which cannot be read: {error.strerror}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"publishers: got {path}; expected a public Ed25519 key (PEM)") from error
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(f"publishers: got {path}, a key of another kind; expected a public Ed25519 key (PEM)")
    return key


def read_private_key(path: Path) -> "Ed25519PrivateKey":
    """The key that signs.

    Raises:
        ConfigError: the file cannot be read, or is no private Ed25519 key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: expected a private Ed25519 key (PEM), without a password") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: got a key of another kind; expected a private Ed25519 key (PEM)")
    return key


def sign(folder: Path, key: "Ed25519PrivateKey") -> None:
    """Signs the manifest of an artifact; the signature is there whole or not at all.

    Raises:
        ArtifactError: there is no manifest.
    """
    written = folder / f".{SIGNATURE}.part"
    with written.open("wb") as file:
        file.write(key.sign(read_bytes(folder / MANIFEST)))
        file.flush()
        os.fsync(file.fileno())
    written.replace(folder / SIGNATURE)


def check_signature(folder: Path, manifest: bytes, publishers: "Sequence[Ed25519PublicKey]") -> None:
    """Checks that one of the publishers signed these bytes of a manifest, which are used from then on.

    Raises:
        ArtifactError: there is no signature, or none of theirs.
    """
    from cryptography.exceptions import InvalidSignature

    try:
        signature = read_bytes(folder / SIGNATURE)
    except ArtifactError as error:
        raise ArtifactError(
            f"{folder}: no signature ({SIGNATURE}); sign it with `bascule sign`", Reason.NOT_SIGNED
        ) from error
    for publisher in publishers:
        try:
            publisher.verify(signature, manifest)
        except InvalidSignature:
            continue
        return
    raise ArtifactError(
        f"{folder}: {SIGNATURE} is the signature of none of the {len(publishers)} known publishers",
        Reason.SIGNATURE_WRONG,
    )
