"""A server whose answers misbehave in one way each, for tests of whoever reads them."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
LINE = b'DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-1"} 71\n'

Answer = Callable[[socket.socket, Event], None]


def whole(connection: socket.socket, _: Event) -> None:
    connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(LINE) + LINE)


def half(connection: socket.socket, _: Event) -> None:
    connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n" + LINE + LINE[:-3])


def endless(connection: socket.socket, stop: Event) -> None:
    connection.sendall(HEAD + b"\r\n")
    while not stop.is_set():
        connection.sendall(LINE * 1_000)


def drip_body(connection: socket.socket, stop: Event) -> None:
    connection.sendall(HEAD + b"\r\n" + LINE)
    while not stop.wait(0.02):
        connection.sendall(b"#")


def drip_head(connection: socket.socket, stop: Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while not stop.wait(0.02):
        connection.sendall(b"X: y\r\n")


def silent(_: socket.socket, stop: Event) -> None:
    stop.wait(30)


def redirect(connection: socket.socket, _: Event) -> None:
    connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")


def no_http(connection: socket.socket, _: Event) -> None:
    connection.sendall(b"\x00\x01\x02 what?\n")


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """Give the address of a server that answers every request so."""
    stop = Event()
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket) -> None:
        # Whoever asked may have gone away: that is what the tests are about.
        with connection, suppress(OSError):
            connection.recv(65_536)
            answer(connection, stop)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=handle, args=(connection,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
    finally:
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)
        for thread in threads:
            thread.join(5)
