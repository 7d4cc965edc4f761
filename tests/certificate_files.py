"""The files that a server has of its certificate and of whom it believes."""

from pathlib import Path

import grpc
import trustme


class CertificateFiles:
    """They are in one folder, and are there as soon as they are written."""

    def __init__(self, folder: Path) -> None:
        self.certificate = folder / "certificate.pem"
        self.private_key = folder / "key.pem"
        self.client_authority = folder / "clients.pem"

    def hold(self, issued: trustme.LeafCert) -> None:
        self.certificate.write_bytes(chain(issued))
        self.private_key.write_bytes(issued.private_key_pem.bytes())

    @property
    def pair(self) -> dict[str, Path]:
        """The fields of a configuration."""
        return {"certificate": self.certificate, "private_key": self.private_key}


def chain(issued: trustme.LeafCert) -> bytes:
    """A certificate with those that vouch for it, PEM."""
    return b"".join(blob.bytes() for blob in issued.cert_chain_pems)


def credentials(authority: trustme.CA, own: trustme.LeafCert | None = None) -> grpc.ChannelCredentials:
    """Those of a caller who believes an authority, and has a certificate or none."""
    if own is None:
        return grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    return grpc.ssl_channel_credentials(authority.cert_pem.bytes(), own.private_key_pem.bytes(), chain(own))
