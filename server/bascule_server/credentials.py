"""What the server proves itself with to its callers: its certificate and its private key."""

import ssl

import grpc

from bascule_server.config import ConfigError, ServerConfig


def server_credentials(config: ServerConfig) -> grpc.ServerCredentials | None:
    """Those for TLS, or None where the configuration has none.

    Raises:
        ConfigError: a file cannot be read, is not PEM, or the key is not that of the certificate.
    """
    certificate, key = config.certificate, config.private_key
    if certificate is None or key is None:
        return None
    try:
        # gRPC says of a bad pair no more than that it cannot listen; OpenSSL says what is wrong.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        return grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    except ssl.SSLError as error:
        raise ConfigError(
            f"certificate, private_key: got {certificate} and {key}, which are no pair ({error.reason or error}); "
            "expected PEM files of a certificate and of its key, without a password"
        ) from error
    except OSError as error:
        raise ConfigError(f"certificate, private_key: got {certificate} and {key}: {error.strerror}") from error
