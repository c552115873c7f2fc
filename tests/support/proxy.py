"""A proxy between a host and its PostgreSQL server that cuts the connection at a chosen moment."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

COMMIT = b"COMMIT\0"


class Proxy:
    """Forwards from a port of its own to the server's.

    ``cut_at``: the number of the commit at which the next connection is cut, counted from 1; None: never. ``answered``:
    the commit reaches the server, and only its answer is lost. ``cut_after``: bytes from the host after which the next
    connection is cut. ``commits``: how many were seen in all.
    """

    def __init__(self, port: int) -> None:
        self.cut_at: int | None = None
        self.answered = True
        self.cut_after: int | None = None
        self.commits = 0
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                host, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(host,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, host: socket.socket) -> None:
        with host, socket.create_connection(("127.0.0.1", self._server_port)) as server:
            with contextlib.suppress(OSError):
                self._forward(host, server)
            for end in (host, server):  # closing alone would wait for the thread that reads
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _forward(self, host: socket.socket, server: socket.socket) -> None:
        lost = threading.Event()
        back = threading.Thread(target=self._answers, args=(server, host, lost), daemon=True)
        back.start()
        seen, left = 0, self.cut_after
        while data := host.recv(65_536):
            for _ in range(data.count(COMMIT)):
                seen += 1
                self.commits += 1
                if seen == self.cut_at:
                    self.cut_at = None
                    lost.set()
                    if self.answered:
                        server.sendall(data)
                        back.join(5)
                    return
            if left is not None and len(data) > left:
                self.cut_after = None
                server.sendall(data[:left])
                return
            left = None if left is None else left - len(data)
            server.sendall(data)

    def _answers(self, server: socket.socket, host: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65_536):
                if lost.is_set():
                    return  # the answer to the commit: it has happened
                host.sendall(data)
            host.shutdown(socket.SHUT_RDWR)
