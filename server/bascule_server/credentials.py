"""What the server proves itself with to its callers, and whom it believes: its certificate, its key, an authority."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc

from bascule_server.config import ConfigError, ServerConfig
from bascule_server.rotation import Rotated


@dataclass(frozen=True, eq=False, slots=True)
class Certificate:
    """A certificate with its key, fit for connections."""

    for_grpc: grpc.ServerCertificateConfiguration
    expires: datetime
    """In UTC."""


def server_certificate(config: ServerConfig) -> Rotated[Certificate] | None:
    """The one for TLS, or None where the configuration has none.

    Raises:
        ConfigError: a file cannot be read, is not PEM, or the key is not that of the certificate, or it has expired.
    """
    if config.certificate is None or config.private_key is None:
        return None
    files = [config.certificate, config.private_key]
    if config.client_authority is not None:
        files.append(config.client_authority)
    return Rotated("certificate", files, read_certificate)


def server_credentials(certificate: Rotated[Certificate], config: ServerConfig) -> grpc.ServerCredentials:
    """Those of a port. Each connection is set up with the certificate of that moment, and keeps it."""
    return grpc.dynamic_ssl_server_credentials(
        certificate.value.for_grpc,
        _changes_of(certificate),  # type: ignore[arg-type]  # the stubs do not know that it may return None
        require_client_authentication=config.client_authority is not None,
    )


def read_certificate(certificate: bytes, private_key: bytes, client_authority: bytes | None = None) -> Certificate:
    """Checks what was read of PEM files.

    Raises:
        ConfigError: it cannot be used.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        leaf = x509.load_pem_x509_certificates(certificate)[0]
        public_key, start, end = leaf.public_key(), leaf.not_valid_before_utc, leaf.not_valid_after_utc
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError("certificate: no certificate in the file; expected PEM") from error
    try:
        key = load_pem_private_key(private_key, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError("private_key: no key in the file; expected PEM, without a password") from error
    if public_key != key.public_key():
        raise ConfigError("certificate, private_key: no pair; expected a certificate and the key that it was made for")
    _check_dates(start, end)
    if client_authority is not None:
        try:
            x509.load_pem_x509_certificates(client_authority)
        except ValueError as error:
            raise ConfigError("client_authority: no certificate in the file; expected PEM") from error
    for_grpc = grpc.ssl_server_certificate_configuration([(private_key, certificate)], client_authority)
    return Certificate(for_grpc, end)


def _check_dates(start: datetime, end: datetime) -> None:
    now = datetime.now(UTC)
    if now > end:
        raise ConfigError(f"certificate: it expired at {end:%Y-%m-%d %H:%M} UTC; expected one that is valid now")
    if now < start:
        raise ConfigError(f"certificate: it is valid from {start:%Y-%m-%d %H:%M} UTC; expected one that is valid now")


def _changes_of(certificate: Rotated[Certificate]) -> Callable[[], grpc.ServerCertificateConfiguration | None]:
    """What gRPC asks before it sets up a connection: the certificate where it is another than the last time."""
    last = certificate.value

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal last
        if certificate.value is last:
            return None
        last = certificate.value
        return last.for_grpc

    return changed
