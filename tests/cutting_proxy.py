"""A TCP proxy that lets some requests reach their server and cuts the connection instead of giving its answer."""

import socket
import threading
from contextlib import suppress
from typing import Self

_CHUNK = 65_536


class CuttingProxy:
    """Before a port of loopback; of the requests that `marker` stands in, every second one is cut, `cuts` in all."""

    def __init__(self, port: int, marker: bytes, cuts: int) -> None:
        self.cut = 0
        self._to, self._marker, self._cuts = port, marker, cuts
        self._seen = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]

    @property
    def port(self) -> int:
        """Return where it listens."""
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._open:
            _end(each)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._to))
            self._open += [client, server]
            is_cut = threading.Event()
            for side in ((client, server, is_cut, True), (server, client, is_cut, False)):
                self._threads.append(threading.Thread(target=self._relay, args=side))
                self._threads[-1].start()

    def _relay(self, source: socket.socket, to: socket.socket, is_cut: threading.Event, asks: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(_CHUNK):
                if asks and self._marker in chunk and self._is_to_be_cut():
                    is_cut.set()
                if not asks and is_cut.is_set():
                    # The server has done it, and says so in vain.
                    self.cut += 1
                    break
                to.sendall(chunk)
        _end(source)
        _end(to)

    def _is_to_be_cut(self) -> bool:
        with self._lock:
            self._seen += 1
            return self._seen % 2 == 1 and self._seen < 2 * self._cuts


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
