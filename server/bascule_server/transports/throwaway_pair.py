"""A certificate that vouches for itself, on both sides of a connection that lasts a moment."""

from datetime import UTC, datetime, timedelta

import grpc

NAME = "self-test.invalid"


class ThrowawayPair:
    """Of a new key, which never leaves the process."""

    def __init__(self) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        self._certificate = certificate.public_bytes(serialization.Encoding.PEM)
        self._key = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def of_server(self) -> grpc.ServerCredentials:
        """For a server that asks its callers for the same."""
        return grpc.ssl_server_credentials([(self._key, self._certificate)], self._certificate, True)

    def of_client(self) -> grpc.ChannelCredentials:
        """For its callers."""
        return grpc.ssl_channel_credentials(self._certificate, self._key, self._certificate)
