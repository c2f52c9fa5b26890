"""The TLS context of our own clients: the SDK, the command line, the collector. Knows nothing of what is sent.

Files are read for each new connection, so that a renewed CA or certificate is taken up without a restart.
"""

import ssl
from pathlib import Path
from typing import Final

from llmtrail.config import ClientConfig

# What ends the first certificate of a file: the server's own, before those of the authorities between.
PEM_END: Final = "-----END CERTIFICATE-----"


class TlsFileError(OSError):
    """A certificate, key or CA that cannot be used; the text says which and what to do."""


def client_context(config: ClientConfig) -> ssl.SSLContext:
    """Return a context that checks certificates and host names, TLS 1.2 at least. Raises TlsFileError.

    Without `ca` the system's authorities count, or those of SSL_CERT_FILE and SSL_CERT_DIR.
    """
    try:
        context = ssl.create_default_context(cafile=config.ca)
    except OSError as cause:
        raise TlsFileError(
            f"client.ca (LLMTRAIL_CA): {config.ca} holds no certificates in PEM that can be read"
        ) from cause
    _show(context, config)
    return context


def pinned_context(certificate: Path, config: ClientConfig) -> ssl.SSLContext:
    """Return a context that takes exactly the certificate of a file, whatever its names: for a server of this machine.

    Raises TlsFileError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _show(context, config)
    try:
        leaf, end, _ = certificate.read_text(encoding="ascii").partition(PEM_END)
        context.load_verify_locations(cadata=leaf + end)
    except (OSError, ValueError) as cause:
        raise TlsFileError(f"{certificate}, the running server's certificate, cannot be read") from cause
    return context


def no_password() -> str:
    """Stand in for OpenSSL's prompt on the terminal: a key with a password is an error. Raises ssl.SSLError."""
    raise ssl.SSLError("the key has a password; remove it: openssl pkey -in KEY -out KEY.plain")


def _show(context: ssl.SSLContext, config: ClientConfig) -> None:
    """Load the client's own certificate, where there is one. Raises TlsFileError."""
    if config.certificate is None:
        if config.key is not None:
            raise TlsFileError("client.key needs client.certificate (LLMTRAIL_CLIENT_CERTIFICATE)")
        return
    try:
        context.load_cert_chain(config.certificate, config.key, no_password)
    except OSError as cause:
        raise TlsFileError(
            f"client.certificate (LLMTRAIL_CLIENT_CERTIFICATE): {config.certificate} and its key "
            f"{config.key or config.certificate} are no pair in PEM that can be read without a password"
        ) from cause
