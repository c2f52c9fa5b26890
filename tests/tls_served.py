"""A port that speaks TLS in this process, and clients of it. Knows nothing of llmtrail's routes."""

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from certificates import Authority, Certificate
from llmtrail.config import ServerConfig
from llmtrail.local.browser_rules import gateway_rules
from llmtrail.local.servers import Listener, Servers
from llmtrail.local.tls import ServerTls


async def _hello(request: Request) -> PlainTextResponse:
    await request.body()
    return PlainTextResponse(request.url.scheme)


@contextmanager
def served(tls: ServerTls) -> Iterator[int]:
    """Give the port of a server that answers with the scheme it was asked by."""
    app = Starlette(routes=[Route("/", _hello, methods=["GET", "POST"])])
    servers = Servers([Listener(app, "127.0.0.1", 0, gateway_rules(ServerConfig()))], tls=tls)
    servers.start()
    try:
        yield servers.ports[0]
    finally:
        servers.stop()


def server_config(served_with: Certificate, client_ca: Path | None = None, **changes: object) -> ServerConfig:
    return ServerConfig(
        tls_certificate=served_with.certificate,
        tls_key=served_with.key,
        tls_client_ca=client_ca,
        **changes,  # type: ignore[arg-type]
    )


def trusting(authority: Authority, shown: Certificate | None = None) -> ssl.SSLContext:
    """Return a client's context that trusts one authority, and shows a certificate where one is given."""
    context = ssl.create_default_context(cafile=authority.ca)
    if shown is not None:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


def get(port: int, context: ssl.SSLContext, host: str = "127.0.0.1") -> str:
    """Return what the server answers; `host` is whom the client believes to ask."""
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname=host) as s,
    ):
        return asked(s)


def asked(connection: ssl.SSLSocket) -> str:
    """Return the answer to one request on a connection that is kept."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    response = http.client.HTTPResponse(connection)
    response.begin()
    return response.read().decode()


def serial(port: int, context: ssl.SSLContext) -> str:
    """Return the serial number of the certificate that a new connection is shown."""
    with socket.create_connection(("127.0.0.1", port), 10) as plain:  # noqa: SIM117
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            shown = connection.getpeercert()
    assert shown
    return str(shown["serialNumber"])
